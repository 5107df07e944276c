"""Row 4 of the fault matrix: a stop lets every worker finish its checkpoint, and nobody waits longer than needed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.faults.matrix import count, outcome, text
from tests.integration.harness import Running, until

RANKS = 8
LOADERS = ("fork", "same", "fork", "same", "fork", "session")
"""Children of a worker as its data loaders are: they die of SIGTERM at once."""
SAVING_MS = "1500"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_8_of_8_save_with_their_loaders_alive(here: str, worker: str, signum: int) -> None:
    words = ("--mock", str(RANKS), "--stop-grace", "3600", worker, *LOADERS, "save", SAVING_MS)
    with Running(*words, cwd=here) as running:
        until(lambda: count(here, "ready.*") == RANKS)
        running.send(signum)
        assert running.finish().code == 128 + signum
    assert [text(here, f"saved.{rank}") for rank in range(RANKS)] == ["3"] * RANKS


def test_7_of_7_save_after_the_failure_of_one(here: str, worker: str) -> None:
    program = Path(here, "train.sh")
    program.write_text(
        f"#!/bin/sh\n[ $RANK = 3 ] && exec {worker} until go exit 9\nexec {worker} {' '.join(LOADERS)} save 500\n"
    )
    program.chmod(0o755)
    with Running("--mock", str(RANKS), "--stop-grace", "3600", str(program), cwd=here) as running:
        until(lambda: count(here, "ready.*") == RANKS - 1)
        Path(here, "go").touch()
        assert running.finish().code == 9
    assert [text(here, f"saved.{rank}") for rank in range(RANKS)] == ["3"] * 3 + [""] + ["3"] * 4


def test_one_slow_rank_costs_the_others_nothing(here: str, worker: str) -> None:
    """Rank 0 never ends by itself; the others have the whole grace beside it, and all of them use most of it."""
    program = Path(here, "train.sh")
    program.write_text(
        f"#!/bin/sh\n[ $RANK = 0 ] && exec {worker} ignore 15 touch ready pause\nexec {worker} save 1000\n"
    )
    program.chmod(0o755)
    words = ("--mock", str(RANKS), "--log-dir", "logs", "--stop-grace", "4", str(program))
    with Running(*words, cwd=here) as running:
        until(lambda: count(here, "ready.*") == RANKS)
        running.send(signal.SIGTERM)
        assert running.finish().code == 143
    ended = [process["returncode"] for process in outcome(here)["processes"]]
    assert ended == [-signal.SIGKILL] + [0] * (RANKS - 1)
    assert count(here, "saved.*") == RANKS - 1


DYING = [
    {"MS_ENABLE_TFT": "{TTP:1,UCE:1,ARF:1}"},
    {"MS_ENABLE_TFT": "{ARF:1}"},
    {"TASKD_PROCESS_ENABLE": "on"},
    {"TTP_PORT": "8000"},
    {"MA2L_FAILURE_GRACE": "3600"},
]


def survivors(here: str, worker: str) -> str:
    """A job whose rank 1 fails; the others write down a stop, and save when the test says so."""
    program = Path(here, "train.sh")
    program.write_text(
        f"#!/bin/sh\n[ $RANK = 1 ] && exec {worker} touch ready until fail exit 9\n"
        f"exec {worker} note 15 touch ready until save touch dump\n"
    )
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize("environ", DYING, ids=lambda environ: "-".join(environ))
def test_survivors_save_a_dying_checkpoint_before_anybody_is_asked_to_stop(
    here: str, worker: str, environ: dict[str, str]
) -> None:
    with Running("--mock", "3", survivors(here, worker), cwd=here, env=environ) as running:
        until(lambda: count(here, "ready.*") == 3)
        Path(here, "fail").touch()
        assert running.process.stderr is not None
        said = next(line for line in running.process.stderr if "failed: " in line)
        assert "rank 1 failed: exit code 9; the others have " in said
        Path(here, "save").touch()
        assert running.finish().code == 9
    assert (count(here, "dump.*"), count(here, "got.*")) == (2, 0)


@pytest.mark.parametrize("end", ["the time is over", "a stop signal"])
def test_survivors_that_do_not_end_are_stopped(here: str, worker: str, end: str) -> None:
    seconds = "0.2" if end == "the time is over" else "3600"
    words = ("--mock", "3", "--failure-grace", seconds, "--stop-grace", "3600", survivors(here, worker))
    with Running(*words, cwd=here, env={"TTP_PORT": "8000"}) as running:
        until(lambda: count(here, "ready.*") == 3)
        Path(here, "fail").touch()
        assert running.process.stderr is not None
        assert any(f"the others have {seconds} s" in line for line in running.process.stderr)
        if end == "a stop signal":
            running.send(signal.SIGINT)
        until(lambda: (text(here, "got.0"), text(here, "got.2")) == ("15\n", "15\n"))
        Path(here, "save").touch()
        assert running.finish().code == 9


def test_without_a_dying_checkpoint_the_survivors_are_asked_at_once(here: str, worker: str) -> None:
    words = ("--mock", "3", "--stop-grace", "3600", survivors(here, worker))
    with Running(*words, cwd=here, env={"MS_ENABLE_TFT": "{TRE:1}"}) as running:
        until(lambda: count(here, "ready.*") == 3)
        Path(here, "fail").touch()
        until(lambda: (text(here, "got.0"), text(here, "got.2")) == ("15\n", "15\n"))
        Path(here, "save").touch()
        assert running.finish().code == 9


def test_a_killed_launcher_gives_no_grace(here: str, worker: str) -> None:
    """What holds is only that nothing is left: the guard does not know who may still be saving."""
    with Running("--mock", "2", worker, *LOADERS, "save", "1000000", cwd=here) as running:
        until(lambda: count(here, "ready.*") == 2)
        os.kill(running.launcher, signal.SIGKILL)
        assert running.finish().code == 137
    assert count(here, "saved.*") == 0
