"""The watch for silence with real files and processes, and a clock that the test turns."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ma2l import log
from ma2l.diagnose.stacks import find_py_spy
from ma2l.linux import processes
from ma2l.supervise import sentry as module
from ma2l.supervise.machine import Event, Kind
from ma2l.supervise.sentry import Sentry, Watched

SLEEPER = "import sys, time\nprint('up', flush=True)\ntime.sleep(1000)\n"


@pytest.fixture
def sleeper() -> Iterator[int]:
    """A Python process that has come to its sleep, or is about to."""
    with subprocess.Popen([sys.executable, "-X", "faulthandler", "-c", SLEEPER], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(log, "warning", lines.append)
    monkeypatch.setattr(log, "info", lines.append)
    return lines


def a_sentry(tmp_path: Path, stops: bool = False, ranks: int = 1, place: str = "") -> Sentry:
    watched = {}
    for rank in range(ranks):
        path = tmp_path / f"worker_{rank}.log"
        path.touch()
        os.utime(path, (0, 0))
        watched[rank] = Watched(f"rank {rank}", (str(path),))
    return Sentry(watched, 60.0, stops, lambda stamp: f"{tmp_path}{place}/node0.stacks.txt", frozenset())


def child_of(watch: Sentry) -> int:
    """Wait for the child that takes the stacks, and collect it."""
    assert watch._child
    assert os.waitpid(watch._child, 0)[1] == 0
    return watch._child


def test_a_silence_is_diagnosed_by_a_child_and_then_told(tmp_path: Path, sleeper: int, messages: list[str]) -> None:
    watch = a_sentry(tmp_path)
    alive = {0: sleeper}
    before = watch.deadline
    assert before is None, "nothing runs yet"
    assert watch.service(alive, (), False, 100.0) is None
    assert watch.deadline == 160.0
    assert watch.service(alive, (), False, 159.0) is None
    assert messages == []
    assert watch.service(alive, (), False, 160.0) is None
    assert messages == ["rank 0 has written nothing for 60 s; taking the stacks of all processes of this node"]
    assert watch.deadline == 160.0 + module.PATIENCE
    assert watch.service(alive, (1,), False, 161.0) is None, "another child"
    assert watch.service(alive, (child_of(watch),), False, 162.0) == Event(Kind.HANG, 0, signal.SIGTERM)
    file = f"{tmp_path}/node0.stacks.txt"
    assert messages[1:] == [
        f"rank 0 has written nothing for 60 s; rank 0 stands in <module> (<string>:3); all stacks are in {file}"
    ]
    text = Path(file).read_text()
    assert f"=== rank 0 (pid {sleeper}): has written nothing for 60 s, used 0.0 s of CPU in the last 60 s\n" in text
    assert watch.diagnosis is not None
    assert (watch.diagnosis.stacks, watch.diagnosis.frames) == (file, ("<module> (<string>:3)",))


def test_a_rank_that_writes_while_its_stacks_are_taken_does_not_hang(
    tmp_path: Path, sleeper: int, messages: list[str]
) -> None:
    watch = a_sentry(tmp_path)
    for now in (0.0, 60.0):
        watch.service({0: sleeper}, (), False, now)
    (tmp_path / "worker_0.log").write_text("loss\n")
    assert watch.service({0: sleeper}, (child_of(watch),), False, 61.0) is None
    assert messages[-1] == "the silence is over; the run goes on"


def test_frozen_workers_are_not_silent(tmp_path: Path, messages: list[str]) -> None:
    watch = a_sentry(tmp_path)
    for now, frozen in ((0.0, False), (10.0, True), (5000.0, True), (5059.0, False)):
        assert watch.service({0: os.getpid()}, (), frozen, now) is None
    assert messages == []
    assert watch.deadline == 5060.0


def test_a_child_that_is_stuck_is_not_waited_for(
    tmp_path: Path, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = a_sentry(tmp_path)
    monkeypatch.setattr(module, "program", lambda *_: ("/bin/sleep", "1000"))
    for now in (0.0, 60.0):
        watch.service({0: os.getpid()}, (), False, now)
    stuck = watch._child
    assert stuck
    assert watch.service({0: os.getpid()}, (), False, 60.0 + module.PATIENCE - 0.1) is None
    event = watch.service({0: os.getpid()}, (), False, 60.0 + module.PATIENCE)
    assert os.waitstatus_to_exitcode(os.waitpid(stuck, 0)[1]) == -signal.SIGKILL
    assert event == Event(Kind.HANG, 0, signal.SIGTERM)
    assert messages[1].startswith("the stacks could not be taken within ")


def test_stacks_that_cannot_be_written_leave_the_verdict(tmp_path: Path, sleeper: int, messages: list[str]) -> None:
    watch = a_sentry(tmp_path, place="/none")
    for now in (0.0, 60.0):
        watch.service({0: sleeper}, (), False, now)
    assert watch._child
    assert os.waitstatus_to_exitcode(os.waitpid(watch._child, 0)[1]) == 1
    assert watch.service({0: sleeper}, (watch._child,), False, 61.0) == Event(Kind.HANG, 0, signal.SIGTERM)
    assert messages[-1] == "rank 0 has written nothing for 60 s"


@pytest.mark.parametrize("stops", [True, False])
def test_ranks_print_their_stacks_only_where_nobody_else_can_and_the_run_ends(
    tmp_path: Path, sleeper: int, messages: list[str], monkeypatch: pytest.MonkeyPatch, stops: bool
) -> None:
    watch = a_sentry(tmp_path, stops)
    monkeypatch.setattr(module, "program", lambda *_: ("/bin/true",))
    for now in (0.0, 60.0):
        watch.service({0: sleeper}, (), False, now)
    event = watch.service({0: sleeper}, (child_of(watch),), False, 61.0)
    assert event == Event(Kind.HANG, 0, signal.SIGABRT if stops else signal.SIGTERM)
    assert watch.made_print is stops
    assert any("SIGABRT makes every rank print its own" in line for line in messages) is stops


def test_py_spy_is_installed_where_these_tests_run() -> None:
    assert find_py_spy() is not None


def test_a_sleeper_listens_to_sigabrt(sleeper: int) -> None:
    assert processes.catches(sleeper, signal.SIGABRT)
