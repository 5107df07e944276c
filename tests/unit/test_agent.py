"""Handing ranks over to an agent, and the four functions it gets."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ma2l.agent.plan import described_ranks, handed_over
from ma2l.agent.workers import NOT_STARTED, Workers
from ma2l.errors import ConfigError
from ma2l.plan.spec import Plan, ProcessSpec
from ma2l.records import replace
from tests.unit.scenario import mock_nodes, plan


@pytest.fixture
def two_ranks(tmp_path: Path) -> Plan:
    (environ,) = mock_nodes("modelarts", "1x2", str(tmp_path))
    return plan(environ, mode="dynamic-cluster")


def test_one_process_stands_for_the_ranks_and_the_scheduler_stays(two_ranks: Plan) -> None:
    changed = handed_over(two_ranks, "taskd", "/usr/bin/python", "/run", "/logs/node0.agent.log")
    assert [spec.role for spec in changed.processes] == ["scheduler", "agent"]
    agent = changed.processes[1]
    assert (agent.program, agent.argv[-3:]) == ("/usr/bin/python", ("taskd", "0", "/run/ranks.json"))
    assert (agent.env["MS_NODE_RANK"], agent.env["MS_ENABLE_RECOVERY"]) == ("0", "1")
    assert agent.env["MS_WORKER_NUM"] == "2"
    assert {"RANK", "RANK_ID", "DEVICE_ID", "LOCAL_RANK", "MS_ROLE"}.isdisjoint(agent.env)
    assert changed.rank_logs == tuple((spec.number, spec.log) for spec in two_ranks.processes[1:])


def test_the_ranks_arrive_as_they_were(two_ranks: Plan) -> None:
    odd = replace(two_ranks.processes[1], argv=("prog", "b\udcff", ""), cpus=(0, 3), cwd="/x")
    given = replace(two_ranks, processes=(odd, two_ranks.processes[2]))
    (file,) = handed_over(given, "a:B", "python", "/run", "log").files
    assert described_ranks(file.content.decode()) == list(given.processes)


def test_a_plan_without_ranks_has_nothing_to_hand_over(two_ranks: Plan) -> None:
    with pytest.raises(ConfigError, match=r"^cannot use the agent taskd: here the command starts the ranks itself"):
        handed_over(replace(two_ranks, processes=two_ranks.processes[:1]), "taskd", "python", "/run", "log")


def shell(text: str, rank: int) -> ProcessSpec:
    return ProcessSpec("rank", ("sh", "-c", text), "/bin/sh", {"RANK": str(rank)}, None, rank, rank - 4)


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers(
        [shell("kill -USR1 $$", 4), shell("exit $((RANK + 2))", 5), shell("exec sleep 1000", 6)], os.environ, 2
    )
    yield made
    made.kill([-1])


def test_before_the_start_nobody_has_a_pid(workers: Workers) -> None:
    assert workers.monitor([-1]) == {
        i: {"pid": None, "status": NOT_STARTED, "global_rank": 4 + i, "local_rank": i, "node_id": 2} for i in range(3)
    }
    assert (workers.failed, workers.exit_code) == (None, 0)


def test_a_status_is_how_a_worker_ended_and_none_while_it_runs(workers: Workers) -> None:
    workers.start([0, 1, 2])
    while any(state["status"] is None for state in workers.monitor([0, 1]).values()):
        os.sched_yield()
    assert [state["status"] for state in workers.monitor([-1]).values()] == [-signal.SIGUSR1, 7, None]
    assert workers.exit_code in (128 + signal.SIGUSR1, 7)  # whichever was seen first
    assert list(workers.monitor([2, 9, -5])) == [2]


def test_a_kill_is_no_failure_and_ends_only_those_named(workers: Workers) -> None:
    workers.start([2])
    pid = workers.monitor([2])[2]["pid"] or 0
    assert workers.kill([1, 2**22]) == 0
    assert workers.monitor([2])[2]["status"] is None
    assert workers.kill([pid]) == 0
    assert workers.monitor([2])[2]["status"] == -signal.SIGKILL
    assert workers.exit_code == 0


def test_a_start_replaces_who_runs(workers: Workers) -> None:
    assert workers.start([2]) == 0
    first = workers.monitor([2])[2]["pid"]
    assert workers.start([2]) == 0
    assert workers.monitor([2])[2]["pid"] != first
    with pytest.raises(ProcessLookupError):
        os.kill(first or 0, 0)


@pytest.mark.parametrize("rank", [-1, 3])
def test_a_rank_that_does_not_exist_cannot_be_started(workers: Workers, rank: int) -> None:
    with pytest.raises(ValueError, match=f"local ranks are 0 to 2, not {rank}"):
        workers.start([0, rank])
    assert workers.monitor([0])[0]["status"] == NOT_STARTED
