"""Row 1 of the fault matrix: how workers end, or fail to start, and what ma2l's exit code says of it."""

from __future__ import annotations

import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ma2l.diagnose.outcome import manner
from ma2l.linux import processes
from tests.faults.matrix import AT_ONCE, REPETITIONS, BetweenSpawns, SideBySide, count, outcome, text
from tests.integration.harness import Running, run, until

CODES = 256
HARMLESS = {signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT}
STOPPING = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
DEADLY = sorted(int(signum) for signum in signal.valid_signals() - HARMLESS - STOPPING)


@pytest.mark.parametrize("first", range(0, CODES, AT_ONCE))
def test_every_code_of_a_worker_is_ma2ls(here: str, worker: str, first: int) -> None:
    codes = range(first, first + AT_ONCE)
    with SideBySide() as runs:
        for code in codes:
            runs.start("--mock", "1", worker, "exit", str(code), cwd=here)
        assert [finished.code for finished in runs.finish()] == list(codes)


@pytest.mark.parametrize("first", range(0, len(DEADLY), AT_ONCE))
def test_every_deadly_signal_of_a_worker_is_in_the_code(here: str, worker: str, first: int) -> None:
    signals = DEADLY[first : first + AT_ONCE]
    with SideBySide() as runs:
        for signum in signals:
            runs.start("--mock", "1", worker, "die", str(signum), cwd=here)
        for signum, finished in zip(signals, runs.finish()):
            assert finished.code == 128 + signum
            assert f"rank 0 failed first: {manner(-signum)}" in finished.err


@pytest.mark.parametrize("repetition", range(REPETITIONS))
def test_two_failures_in_the_same_moment(here: str, worker: str, chance: random.Random, repetition: int) -> None:
    """Which of them was first may be unknown; the code, the report and the outcome name the same one."""
    behind = chance.choice(("0", "1"))
    words = ("touch", "ready", "until", "go", "exit", "5" if behind == "0" else "6")
    other = "6" if behind == "0" else "5"
    program = Path(here, "both.sh")
    program.write_text(
        f"#!/bin/sh\n[ $RANK = 2 ] && exec {worker} pause\n[ $RANK = {behind} ] && exec {worker} {' '.join(words)}\n"
        f"exec {worker} touch ready until go exit {other}\n"
    )
    program.chmod(0o755)
    with Running("--mock", "3", "--log-dir", "logs", str(program), cwd=here) as running:
        until(lambda: count(here, "ready.*") == 2)
        Path(here, "go").touch()
        finished = running.finish()
    codes = {behind: int(words[-1]), str(1 - int(behind)): int(other)}
    first = outcome(here)["first"]
    assert finished.code == first["returncode"] == codes[str(first["rank"])]
    assert f"rank {first['rank']} failed first: exit code {finished.code}" in finished.err


def test_a_rank_that_is_done_early_is_waited_with(here: str, worker: str) -> None:
    program = Path(here, "early.sh")
    program.write_text(
        f"#!/bin/sh\n[ $RANK = 0 ] && exec {worker} lines 10 touch done\nexec {worker} touch ready until go\n"
    )
    program.chmod(0o755)
    with Running("--mock", "3", "--log-dir", "logs", str(program), cwd=here) as running:
        until(lambda: (count(here, "ready.*"), count(here, "done.*")) == (2, 1))
        until(lambda: len(processes.children(running.launcher)) == 2)
        Path(here, "go").touch()
        assert running.finish().code == 0
    assert text(here, "logs/worker_0.log").count("\n") == 10


def test_a_failure_while_later_ranks_are_being_started(here: str, worker: str) -> None:
    words = ("--mock", "3", "--log-dir", "logs", worker, "exit", "7")
    with BetweenSpawns(here) as held, Running(*words, cwd=here) as running:
        until(lambda: processes.children(running.launcher))
        rank_0 = processes.children(running.launcher)[0]
        until(lambda: (processes.state(rank_0) or "Z")[0] == "Z")
        held.release()
        assert running.finish().code == 7
    ended = outcome(here)
    assert [process["pid"] is None for process in ended["processes"]][::2] == [False, True]
    assert ended["first"]["rank"] == 0


@pytest.mark.parametrize("first", range(0, REPETITIONS, AT_ONCE))
def test_a_failure_at_any_moment_of_the_start(here: str, worker: str, chance: random.Random, first: int) -> None:
    with SideBySide() as runs:
        for index in range(AT_ONCE):
            program = Path(here, f"failing.{index}.sh")
            program.write_text(
                f"#!/bin/sh\n[ $RANK = {chance.randrange(16)} ] && exec {worker} sleep {chance.randrange(20)} exit 7\n"
                f"exec {worker} pause\n"
            )
            program.chmod(0o755)
            runs.start("--mock", "16", str(program), cwd=here)
        assert [finished.code for finished in runs.finish()] == [7] * AT_ONCE


def unlink(program: Path) -> None:
    program.unlink()


def forbid(program: Path) -> None:
    program.chmod(0o644)


def spoil(program: Path) -> None:
    """It loses its first line."""
    program.write_text("no program")


def mislead(program: Path) -> None:
    program.write_text("#!/no/such/interpreter\n")


@pytest.mark.parametrize(
    ("fault", "code", "why"),
    [
        (unlink, 127, "No such file or directory"),
        (forbid, 126, "Permission denied"),
        (spoil, 126, "it has no #! line and is no binary"),
        (mislead, 126, "the interpreter in its #! line does not exist"),
    ],
)
def test_a_program_that_cannot_be_executed_any_more_on_a_later_rank(
    here: str, worker: str, fault: Callable[[Path], None], code: int, why: str
) -> None:
    program = Path(here, "program.sh")
    program.write_text(f"#!/bin/sh\nexec {worker} save 0\n")
    program.chmod(0o755)
    words = ("--mock", "3", "--log-dir", "logs", str(program))
    with BetweenSpawns(here) as held, Running(*words, cwd=here) as running:
        until(lambda: count(here, "ready.*"))
        fault(program)
        held.release()
        finished = running.finish()
    assert finished.code == code
    assert f"cannot start rank 1: {program}: {why}; " in finished.err
    assert text(here, "saved.0") == "0", "rank 0 was asked to stop"
    assert outcome(here)["cause"] == "not started"


def test_a_program_that_somebody_is_writing_to_on_a_later_rank(here: str, worker: str) -> None:
    program = Path(here, "program.sh")
    program.write_text(f"#!/bin/sh\nexec {worker} save 0\n")
    program.chmod(0o755)
    words = ("--mock", "3", "--log-dir", "logs", "--stop-grace", "60", str(program))
    with BetweenSpawns(here) as held, Running(*words, cwd=here) as running:
        until(lambda: count(here, "ready.*"))
        with program.open("a"):
            refused = subprocess.run(["sh", "-c", f"exec {program}"], capture_output=True, check=False, timeout=60)
            held.release()
            finished = running.finish()
    assert (refused.returncode, finished.code) == (126, 126)
    assert "Text file busy" in finished.err
    assert text(here, "saved.0") == "0"


def test_a_directory_that_one_rank_does_not_have(here: str, worker: str) -> None:
    for rank in (0, 2):
        Path(here, str(rank)).mkdir()
    words = ("--mock", "3", "--chdir", "{local_rank}", worker, "pause")
    finished = run(*words, cwd=here)
    assert finished.code == 78
    assert "there is no directory 1; correct --chdir" in finished.err
