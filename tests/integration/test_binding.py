"""``--bind`` on the real kernel: the worker's first act is to say on which CPUs it may run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ma2l.linux import cpulist, mempolicy, numa
from ma2l.mock import npu_smi
from tests.integration.harness import run

TELL = "exec grep Cpus_allowed_list /proc/self/status"
LOGS = ("worker_0.log", "worker_1.log", "scheduler.log")
Script = Callable[..., str]


@pytest.fixture
def two_cpus() -> Iterator[tuple[int, ...]]:
    """This test and what it starts may use two CPUs, or the one there is, as in a container with a cpuset."""
    before = os.sched_getaffinity(0)
    chosen = tuple(sorted(before)[-2:])
    os.sched_setaffinity(0, chosen)
    yield chosen
    os.sched_setaffinity(0, before)


def told(here: str, *names: str) -> list[str]:
    """The CPUs that processes named, by default two workers."""
    return [Path(here, "logs", name).read_text().split()[-1] for name in names or LOGS[:2]]


def planned(here: str, name: str = "node0.plan.json") -> list[str]:
    plan = json.loads(Path(here, "logs", name).read_text())
    return [cpulist.text(process["cpus"]) for process in plan["processes"]]


def each_its_own(cpus: tuple[int, ...]) -> list[str]:
    return [str(cpus[0]), str(cpus[-1])]


@pytest.mark.parametrize("mode", ["ranktable", "torch", "dynamic-cluster"])
def test_cores_are_disjoint_from_the_first_instruction(
    here: str, script: Script, two_cpus: tuple[int, ...], mode: str
) -> None:
    words = ("--mock", "2", "--mode", mode, "--log-dir", "logs", "--bind", "cores")
    finished = run(*words, script(TELL), cwd=here)
    assert finished.code == 0, finished.err
    assert told(here) == each_its_own(two_cpus)
    if mode == "dynamic-cluster":
        assert told(here, "scheduler.log") == [cpulist.text(two_cpus)]
        assert planned(here) == ["", *each_its_own(two_cpus)]
    else:
        assert planned(here) == each_its_own(two_cpus)


@pytest.mark.parametrize("bind", ["numa", "none"])
def test_numa_and_none_leave_what_is_allowed(here: str, script: Script, two_cpus: tuple[int, ...], bind: str) -> None:
    finished = run("--mock", "2", "--log-dir", "logs", "--bind", bind, script(TELL), cwd=here)
    assert finished.code == 0, finished.err
    together = set(cpulist.parse(",".join(told(here))))
    assert together == set(two_cpus)
    if bind == "none":
        assert told(here) == [cpulist.text(two_cpus)] * 2
        assert planned(here) == ["", ""]
    else:
        assert planned(here) == told(here)


def test_more_ranks_than_cpus_is_a_warning(here: str, script: Script, two_cpus: tuple[int, ...]) -> None:
    finished = run("--mock", "4", "--log-dir", "logs", "--bind", "cores", script(TELL), cwd=here)
    assert finished.code == 0, finished.err
    assert told(here, *(f"worker_{rank}.log" for rank in range(4))) == each_its_own(two_cpus) * 2
    shared = f"CPU{'s' if len(two_cpus) > 1 else ''} {cpulist.text(two_cpus)}"
    assert f"ma2l: warning: 4 ranks share {shared}: each is bound to one CPU" in finished.err.splitlines()


def server(directory: str, cpus: tuple[int, ...]) -> dict[str, str | None]:
    """A server of two NPUs whose driver says that NPU 0 is beside the last CPU and NPU 1 beside the first."""
    rows = [f"NPU0       X          HCCS       {cpus[-1]}", f"NPU1       HCCS       X          {cpus[0]}"]
    texts = {
        "info": npu_smi.info((0, 1), "910b"),
        "info -m": npu_smi.mapping((0, 1), "910b"),
        "info -t topo": "\t   NPU0       NPU1       CPU Affinity\n" + "\n".join(rows) + "\n",
    }
    cases = []
    for number, (arguments, text) in enumerate(texts.items()):
        Path(directory, f"npu-smi.{number}").write_text(text)
        cases.append(f"'{arguments}') exec cat '{directory}/npu-smi.{number}' ;;")
    tool = Path(directory, "npu-smi")
    tool.write_text('#!/bin/sh\ncase "$*" in\n' + "\n".join(cases) + "\nesac\nexit 1\n")
    tool.chmod(0o755)
    return {"PATH": f"{directory}:{os.environ['PATH']}", "MA2L_MOCK": "0"}


@pytest.mark.parametrize("bind", ["cores", "numa"])
def test_each_rank_is_beside_its_npu(here: str, script: Script, two_cpus: tuple[int, ...], bind: str) -> None:
    words = ("--log-dir", "logs", "--mode", "torch", "--bind", bind, script(TELL))
    finished = run(*words, cwd=here, env=server(here, two_cpus))
    assert finished.code == 0, finished.err
    assert told(here) == each_its_own(two_cpus)[::-1]


def test_the_plan_shows_the_cpus(here: str, two_cpus: tuple[int, ...]) -> None:
    env = {**server(here, two_cpus), "MA2L_BIND": "cores"}
    finished = run("plan", "--mode", "torch", "true", cwd=here, env=env)
    rows = [line.split()[:5] for line in finished.out.splitlines() if line.startswith("rank ")]
    first, last = each_its_own(two_cpus)
    assert rows == [["rank", "0", "0", "0", last], ["rank", "1", "1", "1", first]]


def test_a_word_that_is_no_way_of_binding_is_one_line(here: str) -> None:
    finished = run("--bind", "core", "true", cwd=here)
    message = "cannot use --bind = 'core': no such value; did you mean cores? choose one of none, cores, numa"
    assert (finished.code, finished.err) == (2, f"ma2l: error: {message}\n")


MSRUN = ("msrun", "--worker_num=2", "--local_worker_num=2", "--join=True", "--log_dir=logs")


def test_msruns_map_binds_workers_and_scheduler(here: str, script: Script, two_cpus: tuple[int, ...]) -> None:
    first, last = each_its_own(two_cpus)
    places = json.dumps({"device0": [last], "device1": [first], "scheduler": [first]})
    finished = run(*MSRUN, f"--bind_core={places}", script(TELL), cwd=here)
    assert finished.code == 0, finished.err
    assert told(here, *LOGS) == [last, first, first]


def test_msruns_numa_map_is_strict_about_memory(here: str, script: Script) -> None:
    node = numa.memory_allowed()[0]
    places = json.dumps({name: [str(node)] for name in ("device0", "device1", "scheduler")})
    finished = run(*MSRUN, f"--bind_numa={places}", script("exec cat /proc/self/numa_maps"), cwd=here)
    assert finished.code == 0, finished.err
    refusal = mempolicy.refusal((node,))
    maps = [Path(here, "logs", name).read_text().splitlines() for name in LOGS]
    policies = [{line.split()[1] for line in lines} for lines in maps]
    assert all((f"bind:{node}" in seen) == (not refusal) for seen in policies)
    assert (f"memory is not bound to NUMA nodes: {refusal}" in finished.err) == bool(refusal)


@pytest.mark.parametrize(
    ("option", "code"), [("--bind_core=x", 2), ('--bind_core={"device0": ["65535"]}', 78), ("--bind_numa=/no/such", 2)]
)
def test_msruns_wrong_values_are_one_line(here: str, script: Script, option: str, code: int) -> None:
    finished = run(*MSRUN, option, script(TELL), cwd=here)
    assert (finished.code, finished.err.count("\n")) == (code, 1), finished.err
    assert not list(Path(here).glob("logs/worker*"))
