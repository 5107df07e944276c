"""What the rows of the fault matrix share."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ma2l.linux import processes
from tests.integration.harness import PATIENCE, Finished, Running, assert_nothing_left

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
NOTICES = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT)
REPETITIONS = 50
"""Of a race, with random delays."""
AT_ONCE = 4
"""Runs side by side where they are many: starting and ending leaves a core idle now and then."""


def count(here: str, pattern: str) -> int:
    """How many files there are of that name."""
    return len(list(Path(here).glob(pattern)))


def text(here: str, name: str) -> str:
    """The content of a file; empty where there is none."""
    path = Path(here, name)
    return path.read_text() if path.exists() else ""


def outcome(here: str) -> Any:
    """What ma2l wrote about the end of the run with ``--log-dir logs``."""
    return json.loads(Path(here, "logs/node0.outcome.json").read_text())


class SideBySide(ExitStack):
    """Runs that go on at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Running] = []

    def start(self, *words: str, cwd: str, **options: Any) -> Running:
        """Start one more."""
        self.runs.append(self.enter_context(Running(*words, cwd=cwd, **options)))
        return self.runs[-1]

    def finish(self) -> list[Finished]:
        """Wait for all; together they have left nothing."""
        finished = []
        for run in self.runs:
            out, err = run.process.communicate(timeout=PATIENCE)
            finished.append(Finished(processes.exit_code(run.process.returncode), out, err))
        assert_nothing_left()
        return finished


class BetweenSpawns:
    """Holds the launcher while it starts one rank: that rank's log is a pipe that nobody reads yet.

    The run needs ``--log-dir logs`` and a rank after this one, so that the console does not follow the pipe.
    """

    def __init__(self, here: str, rank: int = 1) -> None:
        self._log = Path(here, "logs", f"worker_{rank}.log")
        self._log.parent.mkdir()
        os.mkfifo(self._log)
        self._reader: int | None = None

    def __enter__(self) -> BetweenSpawns:
        return self

    def release(self) -> None:
        """Let it go on."""
        self._reader = os.open(self._log, os.O_RDONLY | os.O_NONBLOCK)

    def __exit__(self, *_: object) -> None:
        if self._reader is not None:
            os.close(self._reader)


def pause(seconds: float) -> None:
    """Part of a race: any moment may be the wrong one."""
    time.sleep(seconds)
