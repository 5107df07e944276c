"""What holds for every plan: generated jobs of every table format and platform, each seen from all of its nodes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ma2l.plan.show import as_json
from ma2l.plan.spec import Plan
from tests.rank_tables import FORMS, MAKERS
from tests.unit.scenario import find, mock_nodes, plan

CASES = 30
"""Of each of the four table formats and four platforms."""
SIZES = st.lists(st.integers(1, 8), min_size=1, max_size=5)


def one_job(plans: list[Plan], sizes: list[int]) -> None:
    """All nodes agree, and the ranks of the job are a permutation with one device each, contiguous per node."""
    assert [made.node_rank for made in plans] == list(range(len(sizes)))
    assert {(made.mode, made.nodes, made.world_size) for made in plans} == {(plans[0].mode, len(sizes), sum(sizes))}
    assert len({made.master_addr for made in plans}) == 1
    assert len({file.content for made in plans for file in made.files}) <= 1
    ranks = [[spec.rank for spec in made.processes if spec.role == "rank"] for made in plans]
    assert [rank for own in ranks for rank in own] == list(range(sum(sizes)))
    assert [len(own) for own in ranks] == sizes
    for made in plans:
        own = [spec for spec in made.processes if spec.role == "rank"]
        assert [spec.local_rank for spec in own] == list(range(len(own)))
        assert sorted(int(spec.env.get("DEVICE_ID") or spec.env["LOCAL_RANK"] or "") for spec in own) == list(
            range(len(own))
        )
        assert len({spec.log for spec in own}) == len(own)
    logs = [spec.log for made in plans for spec in made.processes]
    assert len(set(logs)) == len(logs)


@pytest.mark.parametrize("form", FORMS)
@settings(deadline=None, max_examples=CASES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=SIZES, mode=st.sampled_from(["auto", "torch", "dynamic-cluster"]))
def test_tables_of_every_form(tmp_path_factory: pytest.TempPathFactory, form: str, sizes: list[int], mode: str) -> None:
    if form == "template 2":  # there the pods of a server have devices of their own
        sizes = sizes[: len(sizes) // 2 * 2] or [8, 8]
    path = tmp_path_factory.getbasetemp() / "table.json"
    path.write_text(json.dumps(MAKERS[form](sizes)))
    environ = {"RANK_TABLE_FILE": str(path)}
    plans = [plan(environ, mode=mode, node_rank=rank, master_addr="10.1.0.0") for rank in range(len(sizes))]
    one_job(plans, sizes)
    assert {made.mode for made in plans} == {"ranktable" if mode == "auto" else mode}


@pytest.mark.parametrize("platform", ["modelarts", "volcano", "ascendjob", "bare"])
@settings(deadline=None, max_examples=CASES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(nodes=st.integers(1, 4), devices=st.integers(1, 8), mode=st.sampled_from(["auto", "torch", "dynamic-cluster"]))
def test_jobs_of_every_platform(
    tmp_path_factory: pytest.TempPathFactory, platform: str, nodes: int, devices: int, mode: str
) -> None:
    nodes = 1 if platform == "bare" else nodes
    root = tmp_path_factory.mktemp("job")
    environs = mock_nodes(platform, f"{nodes}x{devices}", str(root))
    plans = [plan({**environ, "MA_LOG_DIR": "/shared"}, mode=mode) for environ in environs]
    one_job(plans, [devices] * nodes)
    clusters = [find(environ).cluster for environ in environs]
    assert len({cluster.nodes for cluster in clusters}) == 1
    listed = [json.loads(as_json(made, cluster))["servers"] for made, cluster in zip(plans, clusters)]
    assert all(servers == listed[0] for servers in listed)
    assert [rank for server in listed[0] for rank in server["ranks"]] == list(range(nodes * devices))


def test_no_plan_leaves_files_behind(tmp_path: Path) -> None:
    environ = mock_nodes("modelarts", "1x2", str(tmp_path / "job"))[0]
    before = sorted(tmp_path.rglob("*"))
    plan(environ)
    assert sorted(tmp_path.rglob("*")) == before
