"""The ordered list of sources: who takes part, who we are, and where node 0 is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ma2l.errors import Ma2lError, NoUsableDevice
from ma2l.platforms.topology import Topology
from tests.unit.scenario import find, mock_nodes, server_list

JOB = {"VC_TASK_INDEX": "1", "VC_WORKER_HOSTS": "w0,w1", "VC_WORKER_NUM": "2"}
OPERATOR = {
    "MINDX_TASK_ID": "x", "MASTER_ADDR": "m", "MASTER_PORT": "2222", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4",
    "RANK": "1", "LOCAL_RANK": "{0,1,2,3}",
}  # fmt: skip
FOUR = (4, 5, 6, 7)


def ranks(found: Topology) -> list[list[tuple[int, int]]]:
    return [[(device.rank, device.device_id) for device in node.devices] for node in found.cluster.nodes]


def refused(environ: dict[str, str], shown: tuple[int, ...] = (), **options: Any) -> str:
    with pytest.raises(Ma2lError) as error:
        find(environ, shown, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def table(tmp_path: Path) -> dict[str, str]:
    """Two servers with eight devices, as the operator writes them."""
    path = tmp_path / "hccl.json"
    path.write_text(
        server_list(
            {"server_id": "s0", "host_ip": "10.0.0.1", "devices": [(i, i) for i in range(8)]},
            {"server_id": "s1", "host_ip": "10.0.0.2", "container_ip": "c1", "devices": [(i, 8 + i) for i in range(8)]},
        )
    )
    return {"RANK_TABLE_FILE": str(path)}


@pytest.mark.parametrize("platform", ["modelarts", "volcano", "ascendjob"])
@pytest.mark.parametrize("soc", ["910", "910b", "a3"])
def test_every_node_of_a_mock_job_sees_the_same_job(platform: str, soc: str, tmp_path: Path) -> None:
    views = [find(environ) for environ in mock_nodes(platform, "3x4", str(tmp_path), soc)]
    assert [view.cluster.node_rank for view in views] == [0, 1, 2]
    assert all(view.cluster.nodes == views[0].cluster.nodes for view in views)
    assert {view.master for view in views} == {"127.0.0.1"}
    assert [rank for node in ranks(views[0]) for rank, _ in node] == list(range(12))


def test_the_trail_names_the_source_and_how_the_node_was_found(tmp_path: Path) -> None:
    found = find(mock_nodes("modelarts", "2x4", str(tmp_path))[1])
    path = f"{tmp_path}/node1/user-config/jobstart_hccl.json"
    pod = "modelarts-job-00000000-mock-mock-mock-000000000000-worker-1"
    assert found.trail == (f"rank table {path}, template 2 (RANK_TABLE_FILE); this node by pod name {pod}",)
    assert found.warnings == ()


def test_flags_override_fields_and_not_the_source(table: dict[str, str]) -> None:
    found = find(table, node_rank=1, nnodes=2, master_addr="boss")
    assert (found.cluster.node_rank, found.master, len(found.cluster.nodes)) == (1, "boss", 2)


def test_contradictions_to_the_table_are_one_line(table: dict[str, str]) -> None:
    path = table["RANK_TABLE_FILE"]
    assert refused(table, node_rank=0, nnodes=3) == (
        f"cannot start 3 nodes: the rank table {path} has 2; correct or drop --nnodes"
    )
    assert refused(table, node_rank=2) == (
        "cannot be node 2: the job has 2 nodes, numbered from 0; correct the node rank"
    )
    assert refused({**table, "POD_IP": "10.0.0.9"}) == (
        f"cannot find this node in the rank table {path}: address 10.0.0.9 fits none; its nodes are s0, s1; "
        "set MA_CURRENT_INSTANCE_NAME, POD_IP or --node-rank"
    )
    assert refused(table, node_rank=0, nproc_per_node=9) == (
        "cannot start 9 ranks on this node: it has 8 devices; lower --nproc-per-node: one rank per device"
    )
    assert refused({**table, "ASCEND_RT_VISIBLE_DEVICES": "7,8"}, node_rank=0) == (
        "cannot use ASCEND_RT_VISIBLE_DEVICES with device 8: this node has 8 devices, numbered from 0; "
        "name devices that exist"
    )


@pytest.mark.parametrize("node_rank", [0, 1])
def test_fewer_ranks_per_node_cut_all_nodes_alike(table: dict[str, str], node_rank: int) -> None:
    found = find(table, node_rank=node_rank, nproc_per_node=2)
    assert ranks(found) == [[(0, 0), (1, 1)], [(2, 0), (3, 1)]]
    assert found.cluster.node_rank == node_rank


def test_chosen_devices_cut_all_nodes_by_their_places(tmp_path: Path) -> None:
    environ = mock_nodes("modelarts", "2x4", str(tmp_path), ASCEND_RT_VISIBLE_DEVICES="1-2")[1]
    assert ranks(find(environ)) == [[(0, 5), (1, 6)], [(2, 5), (3, 6)]]


def test_a_cut_that_another_node_cannot_make_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    servers = [{"server_id": f"s{n}", "devices": [(i, 4 * n + i) for i in range(4 >> n)]} for n in range(2)]
    path.write_text(server_list(*servers))
    environ = {"RANK_TABLE_FILE": str(path), "ASCEND_RT_VISIBLE_DEVICES": "2,3"}
    assert refused(environ, node_rank=0) == (
        "cannot cut every node to the devices that ASCEND_RT_VISIBLE_DEVICES leaves here: node s1 has only 2 devices; "
        "unset ASCEND_RT_VISIBLE_DEVICES or give every node as many devices"
    )


@pytest.mark.parametrize("how", ["device files", "grant"])
@pytest.mark.parametrize("pod", range(4))
def test_pods_that_share_a_server_own_their_own_devices(table: dict[str, str], pod: int, how: str) -> None:
    own = tuple(range(4)) if pod % 2 == 0 else FOUR
    environ = {**table, "VC_WORKER_NUM": "4", "VC_TASK_INDEX": str(pod), "HOST_IP": f"10.0.0.{pod // 2 + 1}"}
    if how == "grant":
        environ["ASCEND_VISIBLE_DEVICES"] = f"{own[0]}-{own[-1]}"
    found = find(environ, own if how == "device files" else ())
    assert found.cluster.node_rank == pod
    assert ranks(found) == [[(4 * n + i, i + 4 * (n % 2)) for i in range(4)] for n in range(4)]
    assert (found.visible.order, found.warnings) == (own, ())


def test_pods_of_an_ascendjob_that_share_a_server(table: dict[str, str]) -> None:
    environ = {**OPERATOR, **table, "WORLD_SIZE": "16", "HOST_IP": "10.0.0.2", "ASCEND_VISIBLE_DEVICES": "0,1,2,3"}
    assert find(environ).cluster.node_rank == 2


def test_servers_that_cannot_be_shared_out_are_one_line(table: dict[str, str]) -> None:
    pods = {**table, "VC_WORKER_NUM": "3", "VC_TASK_INDEX": "0", "HOST_IP": "10.0.0.1"}
    assert "cannot be split into 3 nodes with 4 devices each" in refused(pods, FOUR)
    assert "nothing tells which of their devices this container was given" in refused(pods)


def test_a_node_of_a_job_with_more_nodes_than_the_table_needs_evidence(tmp_path: Path) -> None:
    environ = mock_nodes("modelarts", "1x4", str(tmp_path))[0]
    both = {**environ, "MA_NUM_HOSTS": "2"}
    assert find(both).warnings == ("the platform speaks of 2 nodes, the rank table has 1",)
    assert "pod name other fits none" in refused({**both, "MA_CURRENT_INSTANCE_NAME": "other", "VC_TASK_INDEX": "1"})


def test_a_table_beside_invisible_devices_is_a_warning(table: dict[str, str]) -> None:
    found = find(table, node_rank=0)
    expected = "no device file of this node's devices (0, 1, 2, 3, 4, 5, 6, 7) is visible; DEVICE_ID counts them from 0"
    assert found.warnings == (expected,)
    assert found.visible.order == tuple(range(8))


def test_route_planning_is_ignored_beside_a_table(tmp_path: Path) -> None:
    nodes = mock_nodes("modelarts", "3x4", str(tmp_path))
    found = find({**nodes[1], "RANK_AFTER_ACC": "0", "MA_MASTER_INDEX": "2"})
    assert (found.cluster.node_rank, found.master) == (1, "127.0.0.1")
    assert found.warnings == ("RANK_AFTER_ACC is ignored: the rank table orders the nodes",)


def test_node_0_of_a_template_2_table_is_looked_up_by_its_pod(tmp_path: Path) -> None:
    environ = mock_nodes("volcano", "2x4", str(tmp_path))[1]
    hosts = "mock-vcjob-worker-1.mock-vcjob, mock-vcjob-worker-0.mock-vcjob"
    assert find({**environ, "VC_WORKER_HOSTS": hosts}).master == "mock-vcjob-worker-0.mock-vcjob"
    assert find({**environ, "VC_WORKER_HOSTS": "a,b", "MA_MASTER_INDEX": "1"}).master == "a"


def test_the_host_name_in_the_place_of_a_pod_name_is_harmless(table: dict[str, str]) -> None:
    job = {**table, "VC_TASK_INDEX": "0", "POD_IP": "c1"}
    assert find({**job, "HOSTNAME": "some-pod-0"}).cluster.node_rank == 1
    assert find({**table, "HOSTNAME": "s1"}).cluster.node_rank == 1


def test_where_node_0_is_with_a_table(table: dict[str, str]) -> None:
    assert find(table, node_rank=1).master == "10.0.0.1"
    hosts = {**table, "VC_WORKER_HOSTS": "w0,w1"}
    assert find(hosts, node_rank=1).master == "w0"
    assert find({**hosts, "MA_MASTER_INDEX": "1"}, node_rank=1).master == "w1"
    assert find({**OPERATOR, **table, "WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"}, node_rank=0).master == "m"
    assert refused({**hosts, "MA_MASTER_INDEX": "2"}, node_rank=1) == (
        "cannot tell ranks where node 0 is: it is number 2 in a host list of 2; "
        "correct MA_MASTER_INDEX or pass --master-addr"
    )


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "localhost.localdomain"])
def test_a_loopback_master_of_several_nodes_is_one_line(table: dict[str, str], name: str) -> None:
    assert refused(table, node_rank=0, master_addr=name) == (
        f"cannot use {name} as the address of node 0: the job has other nodes, which cannot reach it; "
        "pass its name or address with --master-addr"
    )


def test_a_loopback_master_is_fine_for_one_node_and_for_a_mock(tmp_path: Path) -> None:
    assert find({}, (0, 1), master_addr="localhost").master == "localhost"
    assert find(mock_nodes("volcano", "2x4", str(tmp_path))[1], master_addr="localhost").master == "localhost"


def test_job_variables_without_a_table() -> None:
    found = find(JOB, (0, 1))
    assert (found.cluster.node_rank, found.master, found.table) == (1, "w0", None)
    assert ranks(found) == [[(0, 0), (1, 1)], [(2, 0), (3, 1)]]
    assert found.trail == (
        "Volcano variables VC_WORKER_HOSTS and VC_TASK_INDEX",
        "rank table: no variable names one and no platform directory is mounted",
    )


def test_route_planning_without_a_table() -> None:
    found = find({**JOB, "RANK_AFTER_ACC": "0", "MA_MASTER_INDEX": "1"}, (0, 1))
    assert (found.cluster.node_rank, found.master) == (0, "w1")


def test_a_task_of_any_name_counts_and_several_are_never_guessed() -> None:
    job = {"VC_TASK_INDEX": "1", "VC_TRAINER_HOSTS": "t0,t1"}
    assert find(job, (0,)).master == "t0"
    job["VC_PS_HOSTS"] = "p0"
    assert refused(job, (0,)) == (
        "cannot tell which nodes train: the job has several tasks: VC_PS_HOSTS, VC_TRAINER_HOSTS; "
        "pass --nnodes, --node-rank and --master-addr"
    )
    assert find(job, (0,), nnodes=2, node_rank=0, master_addr="t0").master == "t0"


def test_job_variables_that_contradict_each_other() -> None:
    assert refused(JOB, (0,), nnodes=3) == (
        "cannot start 3 nodes: VC_WORKER_HOSTS names 2; correct --nnodes or the number of pods"
    )
    assert refused({**JOB, "VC_TASK_INDEX": ""}, (0,)) == (
        "cannot tell which node this is: VC_TASK_INDEX is not set; set it or pass --node-rank"
    )
    assert refused({**JOB, "VC_TASK_INDEX": "2"}, (0,)) == (
        "cannot be node 2: the job has 2 nodes, numbered from 0; correct the node rank"
    )


def test_the_platforms_number_of_devices() -> None:
    job = {**JOB, "MA_NUM_HOSTS": "2", "MA_NUM_GPUS": "4"}
    assert [len(node) for node in ranks(find(job, FOUR))] == [4, 4]
    assert [len(node) for node in ranks(find({**job, "ASCEND_RT_VISIBLE_DEVICES": "0,1"}, FOUR))] == [2, 2]
    assert [len(node) for node in ranks(find(job, FOUR, nproc_per_node=1))] == [1, 1]
    assert [len(node) for node in ranks(find({**job, "MA_NUM_GPUS": "0"}, FOUR))] == [4, 4]
    blind = find(job)
    assert (ranks(blind)[0][0], len(blind.warnings)) == ((0, 0), 1)
    assert refused(job, (0, 1)) == (
        "cannot use 4 devices on this node: only 2 are here; run on a node that has them all"
    )


def test_operator_variables_without_a_table() -> None:
    found = find(OPERATOR, FOUR)
    assert (found.cluster.node_rank, found.master) == (1, "m")
    assert ranks(found) == [[(i, 4 + i) for i in range(4)], [(4 + i, 4 + i) for i in range(4)]]
    cut = find(OPERATOR, FOUR, nproc_per_node=2)
    assert [len(node) for node in ranks(cut)] == [2, 2]
    assert refused({**OPERATOR, "LOCAL_WORLD_SIZE": "3"}, FOUR) == (
        "cannot split 8 ranks into pods of 3: it does not come out even; check MS_LOCAL_WORKER"
    )


def test_a_bare_server_makes_a_table_only_for_several_devices() -> None:
    assert find({}, (0,)).table is None
    made = find({}, (2, 3))
    assert made.table is not None
    assert (made.table.source, ranks(made)) == ("made from /dev/davinci*", [[(0, 2), (1, 3)]])
    assert made.trail[0] == "this host's NPUs"


def test_bare_servers_need_to_be_told_of_each_other() -> None:
    found = find({}, (0, 1), nnodes=2, node_rank=1, master_addr="boss")
    assert (found.cluster.node_rank, found.master, found.table) == (1, "boss", None)
    expected = (
        "cannot start 2 nodes: no platform tells which node this is and where node 0 is; "
        "pass --node-rank and --master-addr on every node"
    )
    assert refused({}, (0,), nnodes=2) == expected
    assert refused({"BATCH_JOB_ID": "v1", "DLS_TASK_NUMBER": "2", "DLS_TASK_INDEX": "0"}, (0,)) == expected


@pytest.mark.parametrize("count", [None, 2])
def test_without_an_npu_nothing_is_pretended(count: int | None) -> None:
    with pytest.raises(NoUsableDevice) as error:
        find({}, nproc_per_node=count)
    assert str(error.value).startswith("cannot find an NPU to run on: rank table: no variable names one")
    assert str(error.value).endswith("; run on an Ascend node, or try --mock 8")


@settings(deadline=None, max_examples=40)
@given(
    servers=st.integers(1, 3),
    pods=st.integers(1, 2),
    size=st.integers(1, 4),
    count=st.none() | st.integers(1, 4),
)
def test_all_nodes_agree_and_their_ranks_are_a_permutation(
    tmp_path_factory: pytest.TempPathFactory, servers: int, pods: int, size: int, count: int | None
) -> None:
    path = tmp_path_factory.mktemp("t") / "t.json"
    wide = pods * size
    listed = [
        {"server_id": f"s{n}", "host_ip": f"10.0.0.{n}", "devices": [(i, n * wide + i) for i in range(wide)]}
        for n in reversed(range(servers))
    ]
    path.write_text(server_list(*listed))
    views = []
    for n in range(servers):
        for pod in range(pods):
            own = tuple(range(pod * size, pod * size + size))
            environ = {"RANK_TABLE_FILE": str(path), "VC_WORKER_NUM": str(servers * pods), "VC_TASK_INDEX": "0"}
            environ["HOST_IP"] = f"10.0.0.{n}"
            cut = min(count, size) if count else None
            views.append(find(environ, own, nproc_per_node=cut))
    assert all(view.cluster.nodes == views[0].cluster.nodes for view in views)
    assert sorted(view.cluster.node_rank for view in views) == list(range(servers * pods))
    own_ranks = [device.rank for view in views for device in view.cluster.own.devices]
    assert sorted(own_ranks) == list(range(views[0].cluster.world_size))
    assert len({str(view.table.document) for view in views if view.table}) == 1
