"""Whom a plan has watched, and what a hang means for the outcome."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from ma2l import log
from ma2l.diagnose import watch
from ma2l.diagnose.hang import Suspect
from ma2l.diagnose.outcome import Hang, outcome
from ma2l.diagnose.report import standing, verdict
from ma2l.logs.names import Names
from ma2l.plan.spec import Plan, ProcessSpec
from ma2l.records import replace
from ma2l.settings import Settings
from ma2l.supervise.machine import Cause, Ended, Kind
from ma2l.supervise.sentry import Diagnosis, Sentry, Watched

PRINTED = (Path(__file__).parents[1] / "data" / "stacks" / "faulthandler-3.11.log").read_text()
NAMES = Names("/logs", "node0")


def spec(role: str, place: str | None, rank: int | None = None) -> ProcessSpec:
    return ProcessSpec(role, ("x",), "/x", {}, place, rank=rank)


def plan(*specs: ProcessSpec, rank_logs: tuple[tuple[int, str], ...] = ()) -> Plan:
    return Plan("run", "torch", 0, 1, 2, "host", 1, "/logs", specs, (), ("source",), (), rank_logs=rank_logs)


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(log, "warning", lines.append)
    return lines


def sentry(of: Plan, environ: dict[str, str] | None = None, limit: float = 600.0) -> Sentry:
    return watch.sentry(of, Settings(hang_timeout=limit, hang_action="stop"), environ or {}, NAMES, frozenset())


def test_everybody_is_watched_who_is_expected_to_write(warnings: list[str]) -> None:
    ranks = ((0, "/logs/0"), (1, "/logs/1"))
    made = sentry(plan(spec("scheduler", "/s"), spec("rank", "/0", 0), spec("once", "/o"), spec("launcher", None)))
    mpirun = sentry(plan(spec("mpirun", "/m"), rank_logs=ranks))
    assert made._watched == {
        0: Watched("scheduler", ()),
        1: Watched("rank 0", ("/0",)),
        2: Watched("the command", ("/o",)),
        3: Watched("the launcher of node None", ()),
    }
    assert mpirun._watched == {0: Watched("mpirun", ("/m", "/logs/0", "/logs/1"), listens=False)}
    assert warnings == []


def test_ranks_without_logs_cannot_be_watched_which_is_said(warnings: list[str]) -> None:
    sentry(plan(spec("rank", None, 0)))
    assert warnings == ["--hang-timeout has no effect: the workers write to this console, not to logs"]


@pytest.mark.parametrize(("minutes", "warned"), [("10", True), ("11", False), ("", False), ("ten", False)])
def test_a_platform_that_ends_hanging_jobs_sooner_is_warned_of(warnings: list[str], minutes: str, warned: bool) -> None:
    sentry(plan(spec("rank", "/0", 0)), {"MA_HANG_DETECT_TIME": minutes})
    assert warnings == [("--hang-timeout 600 is not below MA_HANG_DETECT_TIME (600 s): the platform ends a hanging job "
                        "before ma2l looks at it")] * warned  # fmt: skip


def test_the_verdict_of_a_hang_is_one_line(tmp_path: Path) -> None:
    of = plan(*(spec("rank", str(tmp_path / f"{rank}.log"), rank) for rank in range(3)))
    (tmp_path / "0.log").write_text(PRINTED)
    made = sentry(of)
    quiet = {f"rank {rank}": 61.0 for rank in range(3)}
    seen = Suspect("rank 1", "no rank has written for 61 s; all stand in x")
    made.diagnosis = Diagnosis(quiet, 60.0, seen, "/logs/stacks.txt", ("main (a:1)", "x (a:2)"))
    ends = [Ended(rank, -signal.SIGTERM, 63.0) for rank in range(3)]
    cause = Cause(Kind.HANG, signal.SIGTERM, 62.0, 1)
    bare = outcome(of, cause, cause.exit_code, ends, {0: 10, 1: 11, 2: 12}, {0: 0.0, 1: 0.0, 2: 0.0})
    result = watch.explained(bare, made)
    assert (result.cause, result.exit_code, result.first) == ("hang", 252, result.processes[1])
    assert result.hang == Hang("rank 1", seen.sentence, ("main (a:1)", "x (a:2)"), "/logs/stacks.txt")
    assert verdict(result) == "hang: no rank has written for 61 s; all stand in x; exit code 252"
    assert standing(result.hang) == (
        b"--- rank 1 stands in\n    x (a:2)\n    main (a:1)\n--- all stacks are in /logs/stacks.txt\n"
    )
    made.made_print = True
    for rank, function in ((1, "barrier"), (2, "barrier")):
        (tmp_path / f"{rank}.log").write_text(PRINTED.replace("all_reduce", function))
    printed = watch.explained(bare, made)
    assert printed.first == printed.processes[0]
    assert verdict(printed) == (
        "hang: no rank has written for 61 s; rank 0 stands in all_reduce (net.py:5), the others in barrier (net.py:5); "
        "exit code 252"
    )


def test_without_stacks_there_is_nothing_to_show() -> None:
    assert standing(Hang("rank 1", "silent", (), None)) == b""
    assert standing(Hang("rank 1", "silent", (), "/s")) == b"--- where all ranks stand\n--- all stacks are in /s\n"


def test_a_file_of_stacks_can_be_read_on_every_platform() -> None:
    assert NAMES.stacks("20260101-000000") == "/logs/node0.stacks.20260101-000000.txt"
    assert replace(NAMES, attempt=2).stacks("T") == "/logs/node0.stacks.T.attempt2.txt"
