"""Every server is a job of its own: what is cut, what ranks see, and which files nobody else has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ma2l.cluster import Cluster, Device, Node, Part, of_own_server
from ma2l.logs.names import Names
from ma2l.plan.spec import Plan
from ma2l.platforms.aisbench import asked_for
from ma2l.records import replace
from ma2l.settings import Settings
from tests.unit.scenario import find, mock_nodes, plan, server_list

PLATFORMS = ("modelarts", "volcano", "ascendjob")


def own_table(made: Plan) -> Any:
    (file,) = made.files
    return json.loads(file.content)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("devices", [1, 3, 8, 16])
def test_each_server_counts_from_0_whatever_it_has(tmp_path: Path, platform: str, devices: int) -> None:
    soc = "a3" if devices == 16 else "910b"
    for node, environ in enumerate(mock_nodes(platform, f"3x{devices}", str(tmp_path), soc)):
        made = plan(environ, single_server=True)
        assert (made.nodes, made.node_rank, made.world_size) == (1, 0, devices)
        assert made.part == Part(node, 3, node)
        env = [spec.env for spec in made.processes]
        ranks = [str(rank) for rank in range(devices)]
        assert [one["RANK_ID"] for one in env] == [one["RANK"] for one in env] == ranks
        assert {(one["RANK_SIZE"], one["WORLD_SIZE"], one["NNODES"], one["NODE_RANK"]) for one in env} == {
            (str(devices), str(devices), "1", "0")
        }
        assert {one["MA2L_SERVER"] for one in env} == {str(node)}
        assert {one["MASTER_ADDR"] for one in env} == {"127.0.0.1"}
        table = own_table(made)
        assert (table["server_count"], len(table["server_list"])) == ("1", 1)
        assert [device["rank_id"] for device in table["server_list"][0]["device"]] == ranks
        whole = own_table(plan(environ))["server_list"][node]
        assert table["server_list"][0]["server_id"] == whole["server_id"]
        assert made.trail[-2] == f"--single-server: server {node} of 3, a job of its own"


def test_the_variable_of_ais_bench_asks_for_it() -> None:
    assert asked_for(Settings(), {"SINGLESERVER_MODE": "True"}) == "SINGLESERVER_MODE=True"
    assert asked_for(Settings(single_server=True), {}) == "--single-server"
    for no in ({}, {"SINGLESERVER_MODE": ""}, {"SINGLESERVER_MODE": "False"}):
        assert asked_for(Settings(), no) == ""


def test_without_a_table_each_pod_is_a_server(tmp_path: Path) -> None:
    environ = {"VC_WORKER_HOSTS": "pod-0,pod-1", "VC_TASK_INDEX": "1", "VC_WORKER_NUM": "2", "MA_NUM_GPUS": "4"}
    found = find({**environ, "MA_JOB_DIR": "/x", "SINGLESERVER_MODE": "True"}, shown=(0, 1, 2, 3))
    assert (len(found.cluster.nodes), found.cluster.world_size, found.master) == (1, 4, "")
    assert found.cluster.part == Part(1, 2, 1)


def test_two_pods_on_one_server_are_two_nodes_of_its_job(tmp_path: Path) -> None:
    table = tmp_path / "table.json"
    halves = [{"server_id": f"10.0.0.{s}", "devices": [(i, 8 * s + i) for i in range(8)]} for s in range(2)]
    table.write_text(server_list(*halves))
    environ = {"RANK_TABLE_FILE": str(table), "ASCEND_VISIBLE_DEVICES": "4-7", "SINGLESERVER_MODE": "True"}
    made = plan(environ, (*("python", "train.py"),), (4, 5, 6, 7), nnodes=4, node_rank=3)
    assert (made.nodes, made.node_rank, made.world_size) == (2, 1, 8)
    assert [spec.env["RANK_ID"] for spec in made.processes] == ["4", "5", "6", "7"]
    assert made.part == Part(1, 2, 3)
    assert made.master_addr == "10.0.0.1"
    assert [device["rank_id"] for device in own_table(made)["server_list"][0]["device"]] == [*"01234567"]


@pytest.mark.parametrize("log_dir", [None, "/own"])
def test_files_of_servers_never_meet(tmp_path: Path, log_dir: str | None) -> None:
    seen: set[str] = set()
    for environ in mock_nodes("modelarts", "2x8", str(tmp_path)):
        environ["MA_LOG_DIR"] = "/shared"
        made = plan(environ, single_server=True, log_dir=log_dir)
        files = {str(spec.log) for spec in made.processes}
        files |= {str(spec.env["ASCEND_PROCESS_LOG_PATH"]) for spec in made.processes}
        assert len(files) == 16
        assert not files & seen
        seen |= files
    if log_dir:
        assert "/own/node1.worker_0.log" in seen
        assert "/own/node1.ascend/process_log/rank_0" in seen
    else:
        assert "/shared/modelarts-job-00000000-mock-mock-mock-000000000000-node1-proc-rank-0-device-0.txt" in seen


def test_files_of_a_usual_job_are_called_as_ever() -> None:
    assert Names("/d", "node1").rank(3, 3) == "/d/worker_3.log"
    assert Names("/d", "node1").device_logs(3) == "/d/ascend/process_log/rank_3"


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    """Servers with one or two pods each, which have devices of their own."""
    nodes: list[Node] = []
    first = 0
    for server in range(draw(st.integers(1, 4))):
        for _ in range(draw(st.integers(1, 2))):
            size = draw(st.integers(1, 8))
            devices = tuple(Device(first + i, i) for i in range(size))
            nodes.append(Node(len(nodes), f"n{len(nodes)}", f"s{server}", devices))
            first += size
    return Cluster(tuple(nodes), draw(st.integers(0, len(nodes) - 1)))


@given(clusters())
def test_the_own_server_is_a_complete_job(whole: Cluster) -> None:
    cut = of_own_server(whole)
    own = [node for node in whole.nodes if node.server_id == whole.own.server_id]
    assert [node.name for node in cut.nodes] == [node.name for node in own]
    assert [node.rank for node in cut.nodes] == list(range(len(own)))
    assert [device.rank for node in cut.nodes for device in node.devices] == list(range(cut.world_size))
    assert cut.own.name == whole.own.name
    assert [replace(d, rank=0) for d in cut.own.devices] == [replace(d, rank=0) for d in whole.own.devices]
    assert cut.part is not None
    assert cut.node_number == whole.node_rank
