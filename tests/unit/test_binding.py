"""Which CPUs each rank gets: servers as they are, servers cut by a cgroup, and what holds on every server."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ma2l.ascend.topo import Affinity
from ma2l.linux import cpulist
from ma2l.plan.binding import Processors, attach, bind, bind_ranks, split
from ma2l.plan.make import make
from ma2l.plan.show import as_json, as_table
from ma2l.plan.spec import Plan, ProcessSpec, Site
from ma2l.records import replace
from ma2l.settings import Settings
from tests.unit.scenario import TRAIN, find

A2_NEAR = (6, 6, 4, 4, 0, 0, 2, 2)
"""NUMA node of each NPU of an Atlas 800 A2: eight nodes of 24 CPUs, two NPUs on every other one."""


def server(
    near: tuple[int, ...] = (),
    nodes: int = 8,
    per_node: int = 24,
    allowed: str = "",
    devices: tuple[int, ...] = (),
    how: str = "the test",
) -> Processors:
    """``near`` has the NUMA node of each NPU; ``devices`` are those seen, by default those."""
    cpus = {node: tuple(range(node * per_node, (node + 1) * per_node)) for node in range(nodes)}
    usable = cpulist.parse(allowed) if allowed else tuple(range(nodes * per_node))
    places = {device: cpus[node] for device, node in enumerate(near)}
    return Processors(usable, cpus, Affinity(places, devices or tuple(places), how))


def lists(strategy: str, here: Processors, own: tuple[int, ...]) -> list[str]:
    return [cpulist.text(cpus) for cpus in bind(strategy, here, own).cpus]


A2 = server(A2_NEAR)
A3 = server(tuple(device // 2 for device in range(16)), per_node=40)
A2_CORES = ["144-155", "156-167", "96-107", "108-119", "0-11", "12-23", "48-59", "60-71"]


@pytest.mark.parametrize(
    ("strategy", "here", "own", "expected"),
    [
        ("cores", A2, (0, 1, 2, 3, 4, 5, 6, 7), A2_CORES),
        ("cores", A2, (4, 5, 6, 7), A2_CORES[4:]),
        ("cores", A2, (5,), ["12-23"]),  # NPU 4 is beside the same CPUs and may be somebody else's
        ("cores", A2, (7, 6), ["60-71", "48-59"]),  # ranks need not follow the ids
        ("numa", A2, (0, 1, 2, 7), ["144-167", "144-167", "96-119", "48-71"]),
        ("cores", A3, (0, 1, 15), ["0-19", "20-39", "300-319"]),
        ("numa", A3, (14, 15), ["280-319", "280-319"]),
        ("cores", server(A2_NEAR, allowed="0-23,150-160"), (0, 1, 4), ["150-155", "156-160", "0-11"]),
        ("numa", server(A2_NEAR, allowed="0-23,150-160"), (0, 4), ["150-160", "0-23"]),
        ("cores", server(A2_NEAR, allowed="3,5"), (4, 5), ["3", "5"]),
        ("cores", server(A2_NEAR, allowed="3"), (5,), ["3"]),  # no CPU for the neighbour, whoever has it
    ],
)
def test_cpus_beside_the_npu(strategy: str, here: Processors, own: tuple[int, ...], expected: list[str]) -> None:
    binding = bind(strategy, here, own)
    assert [cpulist.text(cpus) for cpus in binding.cpus] == expected
    assert binding.note == f"bind {strategy}: CPUs beside each NPU, from the test"
    assert binding.warnings == ()


@pytest.mark.parametrize(
    ("here", "own", "expected", "why"),
    [
        (server(how="no npu-smi"), (0, 1, 2), ["0-63", "64-127", "128-191"], "no npu-smi"),
        (server(devices=(4, 5, 6, 7), nodes=1), (7,), ["18-23"], "the test"),  # the share of one NPU among four
        (server(devices=tuple(range(8)), nodes=1, per_node=2), (6, 7), ["0", "1"], "the test"),
        (
            server(A2_NEAR, allowed="0-23"),
            (3, 4),
            ["9-11", "12-14"],
            "none of the CPUs beside NPU 3 (96-119) is allowed here",
        ),
        (
            server((0, 0), allowed="0,24-30"),
            (0, 1),
            ["0,24-26", "27-30"],
            "the NPUs 0-1 have only CPU 0 beside them",
        ),
        (server((0, 0)), (1, 2), ["64-127", "128-191"], "the test does not tell which CPUs are beside NPU 2"),
    ],
)
def test_an_even_share_where_the_npus_place_is_of_no_use(
    here: Processors, own: tuple[int, ...], expected: list[str], why: str
) -> None:
    binding = bind("cores", here, own)
    assert [cpulist.text(cpus) for cpus in binding.cpus] == expected
    assert binding.note == f"bind cores: CPUs {cpulist.text(here.allowed)} dealt out evenly, because {why}"


@pytest.mark.parametrize(
    ("here", "own", "expected"),
    [
        (server(), (0, 1), ["0-95", "96-191"]),
        (server(), (0, 1, 2), ["0-47", "48-119", "120-191"]),
        (server(nodes=2), (0, 1, 2, 3), ["0-23", "0-23", "24-47", "24-47"]),
        (server(nodes=4, devices=tuple(range(8))), (6, 7), ["72-95", "72-95"]),
        (server(nodes=2, allowed="30-40"), (0, 1), ["30-40", "30-40"]),  # the other node is not ours
        (Processors((0, 1), {}, Affinity({}, (), "no npu-smi")), (0, 1), ["0-1", "0-1"]),  # a kernel without NUMA
    ],
)
def test_whole_numa_nodes_where_the_npus_place_is_unknown(
    here: Processors, own: tuple[int, ...], expected: list[str]
) -> None:
    assert lists("numa", here, own) == expected
    assert bind("numa", here, own).note.startswith("bind numa: NUMA nodes dealt out evenly, because ")


def test_more_ranks_than_cpus_share_them_and_say_so() -> None:
    binding = bind("cores", server(A2_NEAR, allowed="4,9"), (0, 1, 2, 3, 4))
    assert binding.cpus == ((4,), (9,), (4,), (9,), (4,))
    assert binding.warnings == ("5 ranks share CPUs 4,9: each is bound to one CPU",)


def test_two_jobs_on_a_server_do_not_meet() -> None:
    for here in (A2, A3, server(devices=tuple(range(8)))):
        ids = here.npus.devices
        first, second = bind("cores", here, ids[::2]), bind("cores", here, ids[1::2])
        taken = [cpu for cpus in (*first.cpus, *second.cpus) for cpu in cpus]
        assert len(taken) == len(set(taken))


def test_threads_of_a_core_stay_together() -> None:
    two_threads = tuple(cpu for core in range(4) for cpu in (core, core + 4))
    here = Processors(two_threads, {0: tuple(range(8))}, Affinity({0: tuple(range(8)), 1: tuple(range(8))}, (0, 1), ""))
    assert lists("cores", here, (0, 1)) == ["0-1,4-5", "2-3,6-7"]


@given(st.integers(1, 300), st.integers(1, 20))
def test_a_split_is_a_partition_balanced_within_one(number: int, parts: int) -> None:
    shares = split(range(number), parts)
    assert [cpu for share in shares for cpu in share] == list(range(number))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@st.composite
def hosts(draw: st.DrawFn) -> tuple[Processors, tuple[int, ...]]:
    """Any server with any cut, and the NPUs of a job on it; places may be unknown, wrong or overlapping."""
    nodes = draw(st.integers(1, 8))
    per_node = draw(st.integers(1, 12))
    total = nodes * per_node
    allowed = draw(st.sets(st.integers(0, total - 1), min_size=1))
    devices = draw(st.lists(st.integers(0, 15), min_size=1, max_size=16, unique=True))
    places = st.one_of(
        st.integers(0, nodes - 1).map(lambda node: tuple(range(node * per_node, (node + 1) * per_node))),
        st.sets(st.integers(0, total + 5), min_size=1).map(lambda cpus: tuple(sorted(cpus))),
    )
    near = {device: draw(places) for device in devices if draw(st.integers(0, 9))}
    cpus = {node: tuple(range(node * per_node, (node + 1) * per_node)) for node in range(nodes)}
    own = draw(st.lists(st.sampled_from(devices), min_size=1, unique=True))
    seen = draw(st.sampled_from([tuple(sorted(devices)), ()]))
    return Processors(tuple(draw(st.permutations(sorted(allowed)))), cpus, Affinity(near, seen, "x")), tuple(own)


@given(hosts(), st.sampled_from(["cores", "numa"]))
def test_on_every_server(host: tuple[Processors, tuple[int, ...]], strategy: str) -> None:
    here, own = host
    binding = bind(strategy, here, own)
    assert len(binding.cpus) == len(own)
    for cpus in binding.cpus:
        assert cpus
        assert list(cpus) == sorted(set(cpus))
        assert set(cpus) <= set(here.allowed)
    if strategy == "cores":
        taken = [cpu for cpus in binding.cpus for cpu in cpus]
        assert (len(taken) == len(set(taken))) == (len(own) <= len(here.allowed))
        assert bool(binding.warnings) == (len(own) > len(here.allowed))
        if "evenly" in binding.note:
            sizes = [len(cpus) for cpus in binding.cpus]
            assert max(sizes) - min(sizes) <= 1


SPECS = [ProcessSpec("rank", TRAIN, "/usr/bin/python", {"OMP_NUM_THREADS": "1"}, None, i, i) for i in range(3)]


def test_threads_are_the_ranks_share_of_its_set() -> None:
    bound = attach(SPECS, [(0, 1, 2, 3), (0, 1, 2, 3), (8, 9, 10)], {}, "torch")
    assert [spec.env for spec in bound] == [{"OMP_NUM_THREADS": number} for number in ("2", "2", "3")]
    assert [spec.cpus for spec in bound] == [(0, 1, 2, 3), (0, 1, 2, 3), (8, 9, 10)]


def test_the_users_values_win() -> None:
    environ = {"OMP_NUM_THREADS": "7", "MSRUN_CPU_LIST": "[1]"}
    bound, notes, _ = bind_ranks(SPECS, "numa", A2, (0, 1, 2), environ, "dynamic-cluster")
    assert [spec.env for spec in bound] == [spec.env for spec in SPECS]
    assert notes == ["bind numa: CPUs beside each NPU, from the test"]


def test_mindspore_is_told_its_cpus_and_torch_is_not() -> None:
    for mode, expected in (("ranktable", "[8, 9]"), ("dynamic-cluster", "[8, 9]"), ("torch", None)):
        assert attach(SPECS[:1], [(8, 9)], {}, mode)[0].env.get("MSRUN_CPU_LIST") == expected


def test_what_is_not_bound_stays_as_it_is() -> None:
    assert attach(SPECS[:1], [()], {}, "ranktable") == SPECS[:1]


def planned(here: Processors | None, mode: str = "torch", per_node: bool = False) -> Plan:
    """The plan of a bare server of eight NPUs, of which 2 and 3 are chosen."""
    environ = {"ASCEND_RT_VISIBLE_DEVICES": "2-3"}
    options = Settings(mode=mode, bind="cores" if here else "none", per_node=per_node)
    found = find(environ, shown=tuple(range(8)))
    site = Site(environ, "/usr/bin/python", "RUN", "/tmp/RUN", "/logs", 1, 16, (20001, 20002), "10.0.0.1", here)
    return make(options, found, TRAIN, site)


@pytest.mark.parametrize("mode", ["torch", "ranktable", "dynamic-cluster"])
def test_ranks_are_bound_in_every_mode_and_a_scheduler_is_not(mode: str) -> None:
    plan = planned(A2, mode)
    ranks = [spec for spec in plan.processes if spec.role == "rank"]
    assert [cpulist.text(spec.cpus) for spec in ranks] == A2_CORES[2:4]
    assert {spec.env["OMP_NUM_THREADS"] for spec in ranks} == {"12"}
    assert [spec.cpus for spec in plan.processes if spec.role == "scheduler"] == [()] * (mode == "dynamic-cluster")
    assert plan.notes == (
        "bind cores: CPUs beside each NPU, from the test",
        "OMP_NUM_THREADS=12: each rank's share of the CPUs it is bound to",
    )


def test_a_command_that_runs_once_per_node_is_not_bound() -> None:
    plan = planned(A2, per_node=True)
    assert [spec.cpus for spec in plan.processes] == [()]
    assert "--bind cores has no effect: it binds ranks, and these are started by python" in plan.notes


def test_a_warning_of_binding_is_one_of_the_plan() -> None:
    here = server(A2_NEAR, allowed="4")
    assert planned(here).warnings == ("2 ranks share CPU 4: each is bound to one CPU",)


def test_the_table_and_json_show_the_cpus() -> None:
    plan = planned(A2, "dynamic-cluster")
    rows = [line.split("  ") for line in as_table(plan).splitlines() if line.startswith(("PROCESS", "rank", "sched"))]
    assert [[cell.strip() for cell in row if cell][-2] for row in rows] == ["CPUS", "all", "96-107", "108-119"]
    assert [process["cpus"] for process in json.loads(as_json(plan))["processes"]] == [
        [],
        list(range(96, 108)),
        list(range(108, 120)),
    ]
    strict = replace(plan, processes=tuple(replace(spec, memory=(4,)) for spec in plan.processes))
    assert "  96-107 (memory of node 4)  " in as_table(strict)
    assert "CPUS" not in as_table(planned(None))
