"""What ``--bind_core`` and ``--bind_numa`` of msrun ask for, and the plan bound so."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from ma2l.ascend.topo import Affinity
from ma2l.errors import ConfigError, UsageError
from ma2l.linux import cpulist, mempolicy, numa
from ma2l.msrun.bind import bound, worker_ids
from ma2l.msrun.bind_value import Wish, parse_core, parse_numa
from ma2l.plan.binding import Processors
from ma2l.plan.spec import Plan, ProcessSpec

NODES = {0: (0, 1, 2, 3), 1: (4, 5, 6, 7)}
HERE = Processors(tuple(range(8)), NODES, Affinity({0: NODES[1], 1: NODES[0]}, (0, 1), "the test"))
NO_NPU = Processors(tuple(range(8)), NODES, Affinity({}, (), "no npu-smi"))


def plan(workers: int = 2) -> Plan:
    env = {"OMP_NUM_THREADS": "4"}
    scheduler = ProcessSpec("scheduler", ("x",), "/x", env, None)
    ranks = [ProcessSpec("rank", ("x",), "/x", env, None, i, i) for i in range(workers)]
    notes = ("another", "OMP_NUM_THREADS=4: 8 CPUs for 2 ranks")
    return Plan("R", "dynamic-cluster", 0, 1, workers, "h", 1, "/l", (scheduler, *ranks), (), ("t",), notes, ("old",))


def made(
    core: str = "False", by_node: str = "False", here: Processors = HERE, environ: Mapping[str, str] | None = None
) -> Plan:
    return bound(plan(), parse_core(core), parse_numa(by_node), here, environ or {})


def cpus(made_plan: Plan) -> list[str]:
    """Of the scheduler and the two workers."""
    return [cpulist.text(spec.cpus) for spec in made_plan.processes]


def test_true_and_false_as_msrun_reads_them() -> None:
    for parse in (parse_core, parse_numa):
        assert not any(parse(text) for text in ("False", "false", "{}"))
        assert parse("TRUE") == Wish(automatic=True)


@pytest.mark.parametrize(
    ("core", "by_node", "expected"),
    [
        ("True", "False", ["", "4-7", "0-3"]),
        ("False", "True", ["", "4-7", "0-3"]),
        ('{"device0": ["0-1", "6"], "device1": ["2,3"], "scheduler": ["7"]}', "False", ["7", "0-1,6", "2-3"]),
        ('{"device_0": ["0"], "device1": ["1"]}', "False", ["", "0", "1"]),
        ('{"device0": ["0"]}', "True", ["", "0", "0-3"]),  # the other worker as --bind_numa says
        ('{"device0": [], "device1": ["1"]}', "False", ["", "", "1"]),
    ],
)
def test_who_is_bound_where(core: str, by_node: str, expected: list[str]) -> None:
    assert cpus(made(core, by_node)) == expected


def test_numa_nodes_of_a_map_are_for_cpus_and_memory() -> None:
    bound_plan = made(by_node='{"device0": ["0"], "scheduler": ["0"]}')
    assert cpus(bound_plan) == ["0-3", "0-3", ""]
    refusal = mempolicy.refusal((0,))
    assert [spec.memory for spec in bound_plan.processes] == ([()] * 3 if refusal else [(0,), (0,), ()])
    told = [f"memory is not bound to NUMA nodes: {refusal}"] if refusal else []
    assert list(bound_plan.warnings) == ["old", "no CPUs are named for device 1: not bound", *told]


def test_refused_memory_is_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mempolicy, "refusal", lambda nodes: "Operation not permitted" if nodes else "")
    bound_plan = made(by_node='{"device0": ["0"], "device1": ["0"]}')
    assert [spec.memory for spec in bound_plan.processes] == [()] * 3
    assert cpus(bound_plan) == ["", "0-3", "0-3"]
    assert bound_plan.warnings == ("old", "memory is not bound to NUMA nodes: Operation not permitted")


def test_cores_are_bind_cores_and_memory_is_bind_numas() -> None:
    assert cpus(made('{"device0": ["6"], "device1": ["7"]}', '{"device0": ["0"], "device1": ["0"]}')) == ["", "6", "7"]
    assert cpus(made("True", '{"device0": ["0"], "device1": ["0"]}')) == ["", "4-7", "0-3"]


def test_devices_are_those_that_were_chosen() -> None:
    assert worker_ids({"ASCEND_RT_VISIBLE_DEVICES": "2,3"}, 2) == [2, 3]
    assert worker_ids({"ASCEND_RT_VISIBLE_DEVICES": "5"}, 3) == [5, 1, 2]
    assert worker_ids({}, 3) == [0, 1, 2]
    core = '{"device2": ["2"], "device3": ["3"]}'
    assert cpus(made(core, here=NO_NPU, environ={"ASCEND_RT_VISIBLE_DEVICES": "2,3"})) == ["", "2", "3"]


def test_ids_count_the_npus_that_a_container_sees() -> None:
    here = Processors(tuple(range(8)), NODES, Affinity({6: NODES[1], 7: NODES[0]}, (6, 7), "the test"))
    assert cpus(made("True", here=here)) == ["", "4-7", "0-3"]


def test_variables_and_notes_follow() -> None:
    bound_plan = made("True")
    assert [spec.env for spec in bound_plan.processes] == [
        {"OMP_NUM_THREADS": "4"},
        {"OMP_NUM_THREADS": "4", "MSRUN_CPU_LIST": "[4, 5, 6, 7]"},
        {"OMP_NUM_THREADS": "4", "MSRUN_CPU_LIST": "[0, 1, 2, 3]"},
    ]
    assert bound_plan.notes == (
        "another",
        "bind cores: CPUs beside each NPU, from the test",
        "OMP_NUM_THREADS=4: each rank's share of the CPUs it is bound to",
    )


def config(cpu: str, memory: str, bind_cpu: object = None, bind_memory: object = None) -> dict[str, object]:
    modes = {"bind_cpu_mode": cpu, "bind_memory_mode": memory}
    return {"bind_config": modes, "bind_cpu": bind_cpu or {}, "bind_memory": bind_memory or {}}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            config("cpu", "none", {"device0": {"main": "0-1, 6", "runtime": "3"}, "device1": None}),
            Wish(cpus={"0": (0, 1, 6)}, alone=True),
        ),
        (
            config("NUMA", "numa", {"device_0": 1, "scheduler": "0"}, {"device0": "0,1"}),
            Wish(nodes={"0": (1,), "scheduler": (0,)}, memory={"0": (0, 1)}, alone=True),
        ),
        (config("none", "numa", {"device0": 7}, {"device1": 0}), Wish(memory={"1": (0,)}, alone=True)),
        ({"bind_config": {}}, Wish(alone=True)),
    ],
)
def test_files_and_text_with_bind_config(tmp_path: Path, content: dict[str, object], expected: Wish) -> None:
    assert parse_numa(json.dumps(content)) == expected
    path = tmp_path / "bind"
    path.write_text(json.dumps(content))
    wish = parse_numa(str(path))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert wish.env == {"MSRUN_BIND_FILE": str(path), "MSRUN_BIND_FILE_HASH": sha256}
    assert (wish.cpus, wish.nodes, wish.memory, wish.alone) == (
        expected.cpus,
        expected.nodes,
        expected.memory,
        True,
    )


def test_a_file_decides_alone_and_workers_know_it(tmp_path: Path) -> None:
    path = tmp_path / "bind.json"
    path.write_text(json.dumps(config("cpu", "none", {"device0": {"main": "3"}, "device1": {"main": "4"}})))
    bound_plan = made("True", str(path))
    assert cpus(bound_plan) == ["", "3", "4"]
    assert {spec.env["MSRUN_BIND_FILE"] for spec in bound_plan.processes} == {str(path)}
    assert bound_plan.warnings == ("old", "--bind_core has no effect: bind_config of --bind_numa decides")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("yes", "it is no JSON"),
        ("{", "it is no JSON"),
        ("[1]", "it is no JSON object"),
        ('{"npu0": ["1"]}', "'npu0' is neither deviceN nor scheduler"),
        ('{"device0": ["a"]}', "device0 has ['a']"),
        ('{"device0": [[1]]}', "device0 has [[1]]"),
        ('{"device0": true}', "device0 has True"),
        ('{"device0": ["3-1"]}', "device0 has ['3-1']"),
        ('{"device0": {"main": "1"}}', "device0 has {'main': '1'}"),
        ('{"bind_config": {}}', "bind_config belongs to the other option"),
    ],
)
def test_a_wrong_map_is_one_line(value: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_core(value)
    assert str(caught.value).startswith(f"cannot use --bind_core={value}: {why}; ")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"bind_config": {"bind_cpu_mode": "core"}}, "bind_cpu_mode is 'core'; write one of cpu, numa, none"),
        ({"bind_config": {"bind_memory_mode": "cpu"}}, "bind_memory_mode is 'cpu'; write one of numa, none"),
        ({"bind_config": []}, "bind_config is no JSON object; write {...}"),
        ({"bind_config": {}, "bind_cpu": 1}, "bind_cpu is no JSON object; write {...}"),
        (config("cpu", "none", {"device0": "1"}), 'device0 in bind_cpu is no JSON object; write {"main": "0-3"}'),
        (config("cpu", "none", {"x": {"main": "1"}}), "'x' is neither deviceN nor scheduler; name devices as"),
        ("[]", "it is no JSON; correct the file"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, content: object, why: str) -> None:
    path = tmp_path / "bind.json"
    path.write_text("{" if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ConfigError) as caught:
        parse_numa(str(path))
    assert str(caught.value).startswith(f"cannot read the binding file {path}: {why}")


def test_a_file_that_is_not_there_and_one_of_bytes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither True, False nor JSON, and as a file: No such file or directory"):
        parse_numa(str(tmp_path / "missing.json"))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        parse_numa(str(tmp_path / "bytes"))


@pytest.mark.parametrize(
    ("core", "by_node", "message"),
    [
        (
            '{"device0": ["7-9"]}', "False",
            "cannot bind device0 as --bind_core says: CPUs 8-9 cannot be used here; choose from 0-7",
        ),
        (
            '{"scheduler": ["8"]}', "False",
            "cannot bind scheduler as --bind_core says: CPU 8 cannot be used here; choose from 0-7",
        ),
        (
            "False", '{"device1": ["2"]}',
            "cannot bind device1 as --bind_numa says: NUMA node 2 cannot be used here; choose from 0-1",
        ),
        (
            '{"device2": ["1"]}', "False",
            "cannot bind device2: the last NPU here is 1; name devices that exist",
        ),
    ],
)  # fmt: skip
def test_what_is_not_here_is_one_line(core: str, by_node: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(core, by_node)
    assert str(caught.value) == message


def test_memory_that_is_not_here_is_one_line() -> None:
    beyond = max(numa.memory_allowed()) + 1
    wish = Wish(memory={"0": (beyond,)}, alone=True)
    with pytest.raises(ConfigError, match=f"memory of NUMA node {beyond} cannot be used here"):
        bound(plan(), Wish(), wish, HERE, {})
