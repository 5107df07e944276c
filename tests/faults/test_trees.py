"""Row 3 of the fault matrix: whatever workers start, and however it hides, nothing of it outlives ma2l."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from ma2l.linux import processes
from tests.faults.matrix import AT_ONCE, REPETITIONS, SideBySide, count, pause
from tests.integration.harness import MA2L, Running, run, until
from tests.integration.test_supervision import NEW_PID_NAMESPACE

KINDS = ("same", "session", "daemon", "bare", "deaf", "chain", "runaway")
ORPHANS = 10_000
Named = pytest.mark.parametrize


@Named("kind", KINDS)
@Named("end", ["a worker that fails", "SIGTERM", "SIGKILL of the guard", "SIGKILL of the launcher"])
def test_a_tree_of_every_kind_is_gone_with_the_run(here: str, worker: str, kind: str, end: str) -> None:
    fails = end == "a worker that fails"
    last = ("touch", "ready", "until", "go", "exit", "7") if fails else ("touch", "ready", "pause")
    words = ("--mock", "2", "--stop-grace", "0.2", worker, "fork", kind, *last)
    with Running(*words, cwd=here, env={"TMPDIR": here}) as running:
        until(lambda: count(here, "ready.*") == 2)
        if fails:
            Path(here, "go").touch()
        elif end == "SIGTERM":
            running.send(signal.SIGTERM)
        else:
            os.kill(running.pid if end.endswith("guard") else running.launcher, signal.SIGKILL)
        assert running.finish().code == {"a worker that fails": 7, "SIGTERM": 143}.get(end, 137)


@Named("first", range(0, REPETITIONS, AT_ONCE))
def test_a_tree_that_grows_while_it_is_killed(here: str, worker: str, chance: random.Random, first: int) -> None:
    kinds = [chance.choice(("chain", "runaway")) for _ in range(AT_ONCE)]
    with SideBySide() as side:
        for kind in kinds:
            side.start("--mock", "1", "--stop-grace", "0", worker, "fork", kind, "fork", "daemon", "pause", cwd=here)
        for running in side.runs:
            launcher = running.launcher
            until(lambda launcher=launcher: len(processes.children(launcher)) > 1)  # type: ignore[misc]
        pause(chance.random() * 0.05)
        for running in side.runs:
            running.send(signal.SIGTERM)
        assert [finished.code for finished in side.finish()] == [143] * AT_ONCE


def test_a_frozen_worker_is_killed_after_the_grace(here: str, worker: str) -> None:
    with Running("--mock", "2", "--stop-grace", "0.2", worker, "touch", "ready", "pause", cwd=here) as running:
        until(lambda: count(here, "ready.*") == 2)
        frozen = processes.children(running.launcher)[0]
        os.kill(frozen, signal.SIGSTOP)
        until(lambda: (processes.state(frozen) or "?")[0] == "T")
        running.send(signal.SIGTERM)
        assert running.finish().code == 143


def test_a_frozen_worker_does_not_hide_the_failure_of_another(here: str, worker: str) -> None:
    words = ("--mock", "3", "--stop-grace", "0.2", worker, "touch", "ready", "@0", "until", "go", "exit", "5")
    with Running(*words, cwd=here, env={"TMPDIR": here}) as running:
        until(lambda: count(here, "ready.*") == 3)
        for pid in processes.children(running.launcher)[1:]:
            os.kill(pid, signal.SIGSTOP)
        Path(here, "go").touch()
        assert running.finish().code == 5


@Named("end", ["SIGTERM", "SIGKILL"])
def test_nested_launchers_are_one_tree(here: str, worker: str, end: str) -> None:
    """The inner one becomes the worker; one that was told to forget what it is part of makes a tree of its own."""
    inner = ("env", "-u", "RANK_ID", "-u", "RANK", "-u", "MA2L_RUN_ID", *MA2L, "--mock", "2")
    words = ("--mock", "2", "--stop-grace", "60", *inner, worker, "fork", "session", "touch", "ready", "pause")
    with Running(*words, cwd=here, env={"TMPDIR": here}) as running:
        until(lambda: count(here, "ready.*") == 2 and len(processes.descendants(running.pid)) >= 9)
        if end == "SIGTERM":
            running.send(signal.SIGTERM)
            assert running.finish().code == 143
        else:
            os.kill(running.launcher, signal.SIGKILL)
            assert running.finish().code == 137


def test_10_000_adopted_zombies(here: str, worker: str) -> None:
    assert run("--mock", "1", worker, "orphans", str(ORPHANS), "exit", "5", cwd=here).code == 5


def test_runs_of_several_containers_that_start_at_once(here: str, worker: str) -> None:
    """They all are PID 1, and may share a directory for temporary files and one for logs."""
    with SideBySide() as side:
        for _ in range(AT_ONCE):
            words = ("--mock", "1", worker, "touch", "ready", "until", "go")
            side.start(*words, cwd=here, before=NEW_PID_NAMESPACE, env={"TMPDIR": here})
        until(lambda: count(here, "ma2l-log/*/node0.plan.*") == AT_ONCE)
        assert count(here, "ma2l-[0-9]*") == AT_ONCE
        Path(here, "go").touch()
        assert [finished.code for finished in side.finish()] == [0] * AT_ONCE


def test_10_000_adopted_zombies_of_pid_1(here: str, worker: str) -> None:
    words = ("--mock", "1", worker, "orphans", str(ORPHANS), "exit", "5")
    with Running(*words, cwd=here, before=NEW_PID_NAMESPACE, env={"TMPDIR": here}) as running:
        assert running.finish().code == 5


@Named("kind", KINDS)
def test_as_pid_1_everything_ends_with_ma2l(here: str, worker: str, kind: str) -> None:
    words = ("--mock", "2", worker, "fork", kind, "touch", "ready", "pause")
    with Running(*words, cwd=here, before=NEW_PID_NAMESPACE, env={"TMPDIR": here}) as running:
        until(lambda: count(here, "ready.*") == 2)
        os.kill(processes.children(running.pid)[0], signal.SIGKILL)
        running.finish()  # the code is that of unshare, which dies in its own way
