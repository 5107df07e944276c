"""MindSpore's dynamic cluster on the platforms: it forms without any option, and a wrong number of workers is told.

Every cluster has an address of its own in 127.0.0.0/8, so that all of them can use the default port.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.harness import PATIENCE, Running, run
from tests.integration.test_training import ONLY_LOOPBACK, PYTHON, train

Script = Callable[..., str]
NODES = [f"127.{os.getpid() // 256 % 256}.{os.getpid() % 256}.{node + 1}" for node in range(2)]
PATIENT = "120"
"""Seconds for a cluster that forms; none of it is waited for."""

MEET = """\
#!/usr/bin/env python3
import os, sys, time
import mindspore.communication
if os.environ["MS_ROLE"] == "MS_WORKER":
    open("imported." + os.environ["MS_NODE_ID"], "w").close()
for worker in sys.argv[1:]:  # the time to import MindSpore is not the cluster's
    while not os.path.exists("imported." + worker):
        time.sleep(0.05)
mindspore.communication.init()
if os.environ["MS_ROLE"] == "MS_WORKER":
    print("met: rank", mindspore.communication.get_rank(), "of", mindspore.communication.get_group_size(), flush=True)
"""

SMALLER = """\
case "${MS_NODE_ID-}" in 0) exec sleep 3600 ;; "") export MS_WORKER_NUM=1 ;; esac
exec "$@"
"""
"""The scheduler of a job of one worker, and two workers, of which the first is not there yet."""


@pytest.fixture
def python() -> str:
    """The interpreter that has the frameworks."""
    if not PYTHON.exists():
        pytest.skip("run `make frameworks`")
    return str(PYTHON)


def pod(node: int, **env: str) -> dict[str, str]:
    """A pod of a Volcano job of two nodes with an NPU each."""
    return {"VC_WORKER_HOSTS": ",".join(NODES), "VC_TASK_INDEX": str(node), "ASCEND_VISIBLE_DEVICES": "0", **env}


def operators(role: str) -> dict[str, str]:
    """One of the two pods of a MindSpore AscendJob: one runs the scheduler alone, one has two NPUs."""
    common = {"MINDX_TASK_ID": "job", "MS_ROLE": role, "MS_SCHED_HOST": NODES[0], "MS_SCHED_PORT": "8118"}
    workers = {"MS_WORKER_NUM": "2", "MS_LOCAL_WORKER": "2", "MS_NODE_RANK": "0"}
    return {**common, **workers, "ASCEND_VISIBLE_DEVICES": "0,1"}


@pytest.mark.mindspore
@pytest.mark.parametrize("platform", ["volcano", "ascendjob"])
def test_two_nodes_of_any_platform_meet_without_an_option(
    here: str, python: str, script: Script, platform: str
) -> None:
    words = ("--mock", "2x1", "--mock-platform", platform, "--mode", "dynamic-cluster", "--cluster-timeout", PATIENT)
    finished = train(here, *words, script(ONLY_LOOPBACK), python, script(MEET, "meet.py"))
    assert finished.code == 0
    for rank in range(2):
        assert f"met: rank {rank} of 2" in Path(here, f"logs/worker_{rank}.log").read_text()


@pytest.mark.mindspore
def test_an_ascendjob_with_a_pod_for_the_scheduler_needs_no_mode_either(here: str, python: str, script: Script) -> None:
    words = ("--cluster-timeout", PATIENT, "--console-ranks", "all", python, script(MEET, "meet.py"))
    pods = [("s", "MS_SCHED"), ("w", "MS_WORKER")]
    with contextlib.ExitStack() as both:
        started = [
            both.enter_context(Running("--log-dir", logs, *words, cwd=here, env={"TMPDIR": here, **operators(role)}))
            for logs, role in pods
        ]
        ended = [running.process.communicate(timeout=PATIENCE) for running in started]
        print(ended)
    assert [running.process.returncode for running in started] == [0, 0]
    assert sorted(name for name in os.listdir(f"{here}/w") if name.endswith(".log")) == [
        "node0.launcher.log", "worker_0.log", "worker_1.log"
    ]  # fmt: skip
    assert Path(here, "s/scheduler.log").exists()
    for rank in range(2):
        assert f"met: rank {rank} of 2" in Path(here, f"w/worker_{rank}.log").read_text()


@pytest.mark.mindspore
def test_a_node_that_does_not_come_is_told(here: str, python: str, script: Script) -> None:
    command = (script(ONLY_LOOPBACK), python, script(MEET, "meet.py"), "0")
    for timeout in ("4", "12", "40"):  # on a busy machine MindSpore needs many attempts to connect
        logs = f"logs.{timeout}"
        words = ("--mode", "dynamic-cluster", "--cluster-timeout", timeout, "--log-dir", logs)
        finished = run(*words, *command, cwd=here, env={"TMPDIR": here, **pod(0)})
        print(finished.out, finished.err)
        assert finished.code == 1
        if "is registered successfully" in Path(here, logs, "scheduler.log").read_text():
            break
        os.unlink(f"{here}/imported.0")
    told = [line for line in finished.err.splitlines() if "the dynamic cluster did not form" in line]
    assert len(told) == 1
    assert "1 of 2 workers came in time (without rank 1)" in told[0]


@pytest.mark.mindspore
def test_a_scheduler_that_nobody_comes_to_is_told(here: str, python: str, script: Script) -> None:
    words = ("--cluster-timeout", "1", python, script(MEET, "meet.py"))
    finished = train(here, *words, env=operators("MS_SCHED"))
    assert finished.code == 1
    assert "no worker came in time" in finished.err


@pytest.mark.mindspore
def test_a_worker_that_the_scheduler_does_not_expect_is_told_so(here: str, python: str, script: Script) -> None:
    words = ("--mock", "2", "--mode", "dynamic-cluster", "--cluster-timeout", PATIENT, script(SMALLER, "smaller.sh"))
    finished = train(here, *words, script(ONLY_LOOPBACK), python, script(MEET, "meet.py"))
    assert finished.code == 1
    assert "rank 1 failed first" in finished.err
    assert "the scheduler refused this worker, because the job has its workers already or is smaller" in finished.err


def test_a_node_too_many_is_refused_before_anything_starts(here: str, script: Script) -> None:
    finished = run("--mode", "dynamic-cluster", script("touch started"), cwd=here, env=pod(2))
    assert finished.code == 78
    line = "cannot be node 2: the job has 2 nodes, numbered from 0; correct the node rank"
    assert line in finished.err
    assert not Path(here, "started").exists()


def test_a_prepared_cluster_is_not_started_in_another_size(here: str, script: Script) -> None:
    env = {**operators("MS_WORKER"), "ASCEND_RT_VISIBLE_DEVICES": "1"}
    finished = run(script("touch started"), cwd=here, env=env)
    assert finished.code == 78
    assert "cannot start a cluster of 1: the job's scheduler waits for 2 (MS_WORKER_NUM)" in finished.err
    assert not Path(here, "started").exists()
