"""Row 2 of the fault matrix: which signal reaches whom, in every phase of a run."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ma2l.linux import processes
from tests.faults.matrix import AT_ONCE, NOTICES, REPETITIONS, STOPS, BetweenSpawns, SideBySide, count, pause, text
from tests.integration.harness import Running, run, until

NOTE_ALL = [word for signum in (*STOPS, *NOTICES) for word in ("note", str(int(signum)))]
LISTEN = (*NOTE_ALL, "touch", "ready", "pause")
"""Writes down every signal, and ends by none of them."""
FOREVER = ("--stop-grace", "3600")
LINES = 20_000
"""More than a pipe takes."""
Named = pytest.mark.parametrize


def got(here: str, rank: int) -> list[int]:
    """The signals that a worker has received, in order."""
    return [int(line) for line in text(here, f"got.{rank}").split()]


def has_ended(running: Running) -> bool:
    return running.process.poll() is not None


def all_got(here: str, ranks: int, *signals: int) -> Callable[[], bool]:
    return lambda: all(got(here, rank) == list(signals) for rank in range(ranks))


@Named("signum", [signal.SIGHUP, signal.SIGQUIT])
def test_a_stop_while_waiting_for_the_table(here: str, signum: int) -> None:
    with Running("true", cwd=here, env={"RANK_TABLE_FILE": f"{here}/none.json"}) as running:
        assert running.process.stderr is not None
        running.process.stderr.readline()
        running.send(signum)
        assert running.finish().code == 128 + signum


@Named("signum", NOTICES)
def test_a_notice_while_waiting_for_the_table_changes_nothing(here: str, signum: int) -> None:
    with Running("true", cwd=here, env={"RANK_TABLE_FILE": f"{here}/none.json"}) as running:
        assert running.process.stderr is not None
        running.process.stderr.readline()
        for _ in range(3):
            running.send(signum)
        running.send(signal.SIGTERM)
        assert running.finish().code == 143


@Named("signum", STOPS)
def test_a_stop_between_two_spawns(here: str, worker: str, signum: int) -> None:
    words = ("--mock", "3", "--log-dir", "logs", *FOREVER, worker, *LISTEN)
    with BetweenSpawns(here) as held, Running(*words, cwd=here) as running:
        until(Path(here, "ready.0").exists)
        running.send(signum)
        until(lambda: not is_pending(running.pid, signum))
        held.release()
        until(all_got(here, 1, signal.SIGTERM))
        running.send(signum)
        assert running.finish().code == 128 + signum
    assert count(here, "ready.2") == 0, "no further rank was started"


def is_pending(pid: int, signum: int) -> bool:
    """Whether the guard has yet to take the signal."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("ShdPnd:"):
            return bool(int(line.split()[1], 16) >> (signum - 1) & 1)
    return False


@Named("signum", NOTICES)
def test_a_notice_between_two_spawns_reaches_who_listens_and_kills_nobody(here: str, worker: str, signum: int) -> None:
    words = ("--mock", "3", "--log-dir", "logs", *FOREVER, worker, *LISTEN)
    with BetweenSpawns(here) as held, Running(*words, cwd=here) as running:
        until(Path(here, "ready.0").exists)
        running.send(signum)
        until(lambda: not is_pending(running.pid, signum))
        held.release()
        until(lambda: count(here, "ready.*") == 3)
        until(all_got(here, 1, signum))
        running.send(signal.SIGTERM)
        until(lambda: all(got(here, rank)[-1:] == [signal.SIGTERM] for rank in range(3)))
        running.send(signal.SIGTERM)
        assert running.finish().code == 143


@Named("signum", NOTICES)
def test_a_notice_while_running_and_in_grace_arrives_as_itself(here: str, worker: str, signum: int) -> None:
    with Running("--mock", "3", *FOREVER, worker, *LISTEN, cwd=here) as running:
        until(lambda: count(here, "ready.*") == 3)
        running.send(signum)
        until(all_got(here, 3, signum))
        running.send(signal.SIGTERM)
        until(all_got(here, 3, signum, signal.SIGTERM))
        running.send(signum)
        until(all_got(here, 3, signum, signal.SIGTERM, signum))
        running.send(signal.SIGTERM)
        assert running.finish().code == 143


@Named("second", STOPS)
@Named("first", STOPS)
def test_the_first_stop_asks_with_sigterm_and_the_second_kills(here: str, worker: str, first: int, second: int) -> None:
    with Running("--mock", "2", *FOREVER, worker, *LISTEN, cwd=here) as running:
        until(lambda: count(here, "ready.*") == 2)
        running.send(first)
        until(all_got(here, 2, signal.SIGTERM))
        running.send(second)
        assert running.finish().code == 128 + first
    assert all_got(here, 2, signal.SIGTERM)()


@Named("signum", [*STOPS, *NOTICES])
@Named("code", [0, 3])
def test_a_signal_in_the_final_drain_changes_no_code(here: str, worker: str, signum: int, code: int) -> None:
    """Everything has ended, and the console takes no more bytes; a stop signal says that nobody will read them."""
    reader, writer = os.pipe()
    words = ("--mock", "1", worker, "lines", str(LINES), "touch", "done", "exit", str(code))
    with open(reader, "rb") as console, Running(*words, cwd=here, stdout=writer) as running:
        os.close(writer)
        until(Path(here, "done.0").exists)
        until(lambda: not processes.children(running.launcher))
        running.send(signum)
        lines = console.read().splitlines() if signum in NOTICES else [b""] * LINES
        assert running.finish().code == code
    assert len(lines) == LINES


def test_a_storm_of_notices_is_survived(here: str, worker: str) -> None:
    with Running("--mock", "2", *FOREVER, worker, *LISTEN, cwd=here) as running:
        until(lambda: count(here, "ready.*") == 2)
        for number in range(1000):
            running.send(NOTICES[number % 3])
            pause(0.001)
        running.send(signal.SIGTERM)
        until(lambda: all(signal.SIGTERM in got(here, rank) for rank in range(2)))
        running.send(signal.SIGTERM)
        assert running.finish().code == 143
    for rank in range(2):
        assert set(got(here, rank)) == {*NOTICES, signal.SIGTERM}
        assert got(here, rank).count(signal.SIGTERM) == 1


def test_a_storm_of_stops_ends_the_run(here: str, worker: str) -> None:
    with Running("--mock", "2", *FOREVER, worker, *LISTEN, cwd=here) as running:
        until(lambda: count(here, "ready.*") == 2)
        while running.process.poll() is None:
            running.send(signal.SIGTERM)
            pause(0.001)
        assert running.finish().code == 143


@Named("first", range(0, REPETITIONS, AT_ONCE))
def test_a_stop_at_any_moment(here: str, worker: str, chance: random.Random, first: int) -> None:
    signals = []
    with SideBySide() as side:
        for index in range(AT_ONCE):
            Path(here, str(index)).mkdir()
            env = {"TMPDIR": f"{here}/{index}"}
            side.start("--mock", "8", worker, "lines", "9", "pause", cwd=here, env=env)
        until(lambda: all(processes.children(running.pid) or has_ended(running) for running in side.runs))
        for running in side.runs:
            pause(chance.random() * 0.1)
            signals.append(chance.choice(STOPS))
            running.send(signals[-1])
        assert [finished.code for finished in side.finish()] == [128 + signum for signum in signals]
    assert count(here, "*/ma2l-*-*") == 0, "and no temporary files"
    for log in Path(here).glob("ma2l-log/*/*rank*"):
        assert log.read_text().count("\n") in (0, 9), "a stop may come before the lines or after them"


@Named("victim", ["guard", "launcher"])
@Named("first", range(0, REPETITIONS, AT_ONCE))
def test_a_sigkill_at_any_moment(here: str, worker: str, chance: random.Random, first: int, victim: str) -> None:
    with SideBySide() as side:
        for _ in range(AT_ONCE):
            side.start("--mock", "8", worker, "fork", "session", "pause", cwd=here, env={"TMPDIR": here})
        launchers = [running.launcher for running in side.runs]
        for running, launcher in zip(side.runs, launchers):
            pause(chance.random() * 0.05)
            os.kill(running.pid if victim == "guard" else launcher, signal.SIGKILL)
        assert [finished.code for finished in side.finish()] == [137] * AT_ONCE


@Named("signum", [signal.SIGUSR1, signal.SIGUSR2])
@Named("first", range(0, REPETITIONS, AT_ONCE))
def test_a_notice_in_a_workers_first_moments_kills_nobody(
    here: str, worker: str, chance: random.Random, first: int, signum: int
) -> None:
    listen = ("sleep", "1", "note", "10", "note", "12", "touch", "up", "pause")
    with SideBySide() as side:
        for index in range(AT_ONCE):
            Path(here, str(index)).mkdir()
            side.start("--mock", "4", worker, *listen, cwd=f"{here}/{index}")
        for running in side.runs:
            assert running.launcher
            running.send(signum)  # it has no handlers yet either
        for _ in range(10):
            pause(chance.random() * 0.02)
            for running in side.runs:
                running.send(signum)
        until(lambda: count(here, "*/up.*") == 4 * AT_ONCE or any(map(has_ended, side.runs)))
        for running in side.runs:
            running.send(signal.SIGTERM)
        ended = side.finish()
    assert [finished.code for finished in ended] == [143] * AT_ONCE, [finished.err for finished in ended]


def test_signals_that_were_inherited_as_ignored_stay_so_in_workers(here: str) -> None:
    ignored = [signal.SIGHUP, signal.SIGUSR1, signal.SIGWINCH]

    def ignore() -> None:
        for signum in ignored:
            signal.signal(signum, signal.SIG_IGN)

    words = ("--mock", "1", "--log-dir", "logs", "grep", "SigIgn", "/proc/self/status")
    assert run(*words, cwd=here, preexec_fn=ignore).code == 0
    found = int(text(here, "logs/worker_0.log").split()[1], 16)
    assert [signum for signum in range(1, 32) if found >> (signum - 1) & 1] == sorted(ignored)


def test_without_descriptors_and_without_a_terminal(here: str, worker: str) -> None:
    """As a daemon's child: a stop works, and the logs hold everything."""
    words = ("--mock", "2", "--log-dir", "logs", "--console-ranks", "all", worker, "lines", "1000", "save", "0")
    with Running(*words, cwd=here, preexec_fn=lambda: os.closerange(0, 3)) as running:
        until(lambda: count(here, "ready.*") == 2)
        running.send(signal.SIGTERM)
        assert running.finish().code == 143
    assert [text(here, f"logs/worker_{rank}.log").count("\n") for rank in range(2)] == [1000, 1000]
    assert count(here, "saved.*") == 2
