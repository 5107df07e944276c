"""What a person reads at the end, from made-up outcomes."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from ma2l.diagnose import report
from ma2l.diagnose.outcome import Outcome, ProcessEnd, as_json, manner, outcome
from ma2l.plan.spec import Plan, ProcessSpec
from ma2l.supervise.machine import Cause, Ended, Kind


def plan(ranks: int) -> Plan:
    processes = tuple(ProcessSpec("rank", ("x",), "/x", {}, f"/logs/{rank}", rank=rank) for rank in range(ranks))
    return Plan("run", "torch", 1, 2, 2 * ranks, "host", 1, "/logs", processes, (), ("source",), ())


def end(log: str | None = None, returncode: int | None = 7, pid: int | None = 100) -> ProcessEnd:
    return ProcessEnd("rank 3", 3, pid, returncode, 1.25, log)


def ended(cause: str, first: ProcessEnd | None, code: int = 7, signum: int | None = None, others: int = 0) -> Outcome:
    rest = tuple(end(pid=200 + number) for number in range(others))
    return Outcome("run", 1, code, cause, first, signum, ((first,) if first else ()) + rest)


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (ended("success", None, 0), ""),
        (ended("not started", end(returncode=None, pid=None), 127), ""),
        (ended("signal", None, 143, signal.SIGTERM), "stopped by SIGTERM; exit code 143"),
        (
            ended("guard died", None, 137),
            "the guard process was killed; all workers were killed; exit code 137",
        ),
        (
            ended("failure", end()),
            "rank 3 failed first: exit code 7 after 1.2 s (pid 100, node 1); exit code 7",
        ),
        (
            ended("failure", end(returncode=-11), 139, others=1),
            "rank 3 failed first: SIGSEGV (signal 11) after 1.2 s (pid 100, node 1); 1 other stopped; exit code 139",
        ),
        (
            ended("failure", end(), others=7),
            "rank 3 failed first: exit code 7 after 1.2 s (pid 100, node 1); 7 others stopped; exit code 7",
        ),
    ],
)
def test_the_verdict_is_one_line(result: Outcome, line: str) -> None:
    assert report.verdict(result) == line


@pytest.mark.parametrize(
    ("returncode", "text"),
    [(0, "exit code 0"), (255, "exit code 255"), (-9, "SIGKILL (signal 9)"), (-37, "signal 37")],
)
def test_the_manner_of_an_end(returncode: int, text: str) -> None:
    assert manner(returncode) == text


def test_the_last_lines_stand_in_a_frame_that_names_the_file(tmp_path: Path) -> None:
    log = tmp_path / "worker_3.log"
    log.write_bytes(b"".join(b"line %d\n" % number for number in range(100)) + b"\xff\x00 unfinished")
    first, *lines, last = report.last_lines(end(str(log))).splitlines()
    assert first == f"--- last lines of {log}".encode()
    assert last == b"---"
    assert (lines[0], lines[-1], len(lines)) == (b"line 86", b"\xff\x00 unfinished", 15)


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_a_silent_worker_is_said_to_be_one(tmp_path: Path, content: bytes) -> None:
    log = tmp_path / "worker_3.log"
    log.write_bytes(content)
    assert report.last_lines(end(str(log))) == f"ma2l: it wrote nothing to {log}\n".encode()


def test_no_more_than_the_end_of_a_large_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "worker_3.log"
    log.write_bytes(b"x" * 1_000_000 + b"\nend\n")
    assert len(report.last_lines(end(str(log)))) < 70_000
    assert report.last_bytes(end(str(log))).endswith(b"\nend\n")


def test_a_log_that_is_gone_or_never_was_breaks_nothing(tmp_path: Path) -> None:
    assert report.last_lines(end(None)) == b""
    assert b"wrote nothing" in report.last_lines(end(str(tmp_path / "gone")))
    assert report.hints(end(str(tmp_path / "gone"))) == []
    assert report.hints(end(None)) == []


def test_a_known_error_is_explained(tmp_path: Path) -> None:
    log = tmp_path / "worker_3.log"
    log.write_text("[ERROR] EJ0001: Failed to initialize the HCCP process.\n")
    assert report.hints(end(str(log))) == [
        "another process still holds the NPU (EJ0001); end it, wait 10 s and start again"
    ]


def test_a_failure_names_the_process_of_the_cause() -> None:
    cause = Cause(Kind.EXITED, 9, 12.5, worker=1)
    result = outcome(plan(3), cause, 9, [Ended(1, 9, 12.5), Ended(0, -15, 13.0)], {0: 10, 1: 11, 2: 12}, {0: 1, 1: 2})
    assert (result.cause, result.exit_code, result.node_rank) == ("failure", 9, 1)
    assert result.first == ProcessEnd("rank 1", 1, 11, 9, 10.5, "/logs/1")
    assert result.processes[2] == ProcessEnd("rank 2", 2, 12, None, None, "/logs/2"), "stuck: never reaped"


def test_a_success_has_no_cause_and_no_first() -> None:
    result = outcome(plan(1), None, 0, [Ended(0, 0, 3.0)], {0: 10}, {0: 1.0})
    assert (result.cause, result.first, result.signum) == ("success", None, None)


def test_what_was_never_started_has_no_pid() -> None:
    cause = Cause(Kind.REFUSED, 199, 1.0, worker=1)
    result = outcome(plan(2), cause, 199, [Ended(0, -15, 1.5)], {0: 10}, {0: 1.0})
    assert (result.cause, result.processes[1].pid, result.processes[1].returncode) == ("not started", None, None)
    assert report.verdict(result) == ""


def test_the_outcome_as_json_can_be_read_back() -> None:
    result = outcome(plan(1), Cause(Kind.SIGNAL, 15, 1.0), 143, [Ended(0, -15, 3.0)], {0: 10}, {0: 1.0})
    data = json.loads(as_json(result))
    assert (data["cause"], data["signum"], data["exit_code"]) == ("signal", 15, 143)
    assert data["processes"][0] == {
        "name": "rank 0", "rank": 0, "pid": 10, "returncode": -15, "seconds": 2.0, "log": "/logs/0"
    }  # fmt: skip
