"""Runs the real ma2l and proves that it leaves nothing behind.

The test process is a subreaper: whatever outlives a run, in another session, double-forked or with an empty
environment, becomes its descendant and is found.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ma2l.linux import processes

PATIENCE = 60.0
"""Seconds until a wait counts as a hang: far above anything expected; it only ends a broken run."""
Value = TypeVar("Value")
BYSTANDERS: set[int] = set()
"""Pids of servers that tests keep for longer than one run; they have no children."""
MA2L = (sys.executable, "-m", "ma2l")


@dataclass
class Finished:
    """A run that has ended."""

    code: int
    """As a shell sees it: 128 + N for a death by signal N."""
    out: str
    err: str


class Running:
    """A ma2l that was started; use as a context manager."""

    def __init__(
        self,
        *words: str,
        cwd: str,
        env: Mapping[str, str | None] | None = None,
        before: Sequence[str] = (),
        **popen: object,
    ) -> None:
        full = {**os.environ, **{k: v for k, v in (env or {}).items() if v is not None}}
        for name, value in (env or {}).items():
            if value is None:
                full.pop(name, None)
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **popen}
        self.process: subprocess.Popen[str] = subprocess.Popen(  # type: ignore[call-overload]
            [*before, *MA2L, *words],
            cwd=cwd,
            env=full,
            text=True,
            errors="surrogateescape",
            start_new_session=True,
            **options,
        )

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    @property
    def pid(self) -> int:
        """The pid that the user knows: the guard's."""
        return self.process.pid

    @property
    def launcher(self) -> int:
        """The pid of the launcher inside the guard."""
        return until(lambda: next(iter(processes.children(self.pid)), None))

    def send(self, signum: int) -> None:
        """Send a signal as a user or a platform would."""
        os.kill(self.pid, signum)

    def finish(self) -> Finished:
        """Wait for the end and check that nothing is left."""
        out, err = self.process.communicate(timeout=PATIENCE)
        assert_nothing_left()
        return Finished(processes.exit_code(self.process.returncode), out or "", err or "")


def run(*words: str, cwd: str, env: Mapping[str, str | None] | None = None, **popen: Any) -> Finished:
    """Run ma2l to its end."""
    with Running(*words, cwd=cwd, env=env, **popen) as running:
        return running.finish()


def complaints(finished: Finished) -> list[str]:
    """The lines that say why it ended."""
    return [line for line in finished.err.splitlines() if line.startswith("ma2l: error: ")]


def assert_nothing_left() -> None:
    """No descendant is alive one second after the end, the time that a kernel may take to carry a SIGKILL out."""
    deadline = time.monotonic() + 1.0
    while alive := [pid for pid in processes.descendants(os.getpid()) if pid not in BYSTANDERS and _alive(pid)]:
        if time.monotonic() > deadline:
            names = {pid: _command(pid) for pid in alive}
            for pid in alive:
                os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"left behind: {names}")
        os.sched_yield()


def until(condition: Callable[[], Value | None]) -> Value:
    """The condition's value as soon as it is true."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        os.sched_yield()
    return value


def _alive(pid: int) -> bool:
    """Not a zombie: those are waiting for this test process to look."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "?"
