"""One run of one launcher: started, watched, ended, and everything of it found again by a mark in its environment."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.peers import Peer, Place

PATIENCE = 90.0
"""Seconds after which a run is given up: a launcher that takes longer has hung."""
MARK = "BENCHMARK_RUN"


class Stuck(Exception):
    """The launcher did not do in PATIENCE what was waited for."""


@dataclass
class Run:
    """A launcher that runs."""

    peer: Peer
    ranks: int
    directory: str
    process: subprocess.Popen[bytes]
    mark: str
    started: float

    @property
    def stamps(self) -> str:
        """Where workers note what happened to them."""
        return os.path.join(self.directory, "stamps")

    def notes(self, what: str) -> list[float]:
        """The times that workers noted, in order."""
        if not os.path.exists(self.stamps):
            return []
        with open(self.stamps, encoding="ascii") as file:
            words = [line.split() for line in file if line.endswith("\n")]
        return sorted(float(time_) for name, time_ in words if name == what)

    def until_up(self) -> None:
        """Wait for all workers."""
        end = time.monotonic() + PATIENCE
        while len(self.notes("up")) < self.ranks:
            if time.monotonic() > end or self.process.poll() is not None:
                raise Stuck(f"{len(self.notes('up'))} of {self.ranks} workers came up")
            time.sleep(0.005)

    def until_gone(self) -> float:
        """Wait for the launcher's end; the time of it."""
        ended = os.pidfd_open(self.process.pid)  # Popen.wait() with a limit looks every 50 ms, too coarse here
        try:
            if not select.select([ended], [], [], PATIENCE)[0]:
                raise Stuck("it did not end")
            gone = time.monotonic()
        finally:
            os.close(ended)
        self.process.wait()
        return gone

    def alive(self) -> list[int]:
        """Everything that runs of it."""
        mark = f"{MARK}={self.mark}".encode()
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and mark in environment_of(int(name)):
                found.append(int(name))
        return found

    def launcher(self, worker: str) -> list[int]:
        """The launcher and its helpers, without the workers."""
        return [pid for pid in self.alive() if executable_of(pid) != worker]


def environment_of(pid: int) -> list[bytes]:
    """Variables of a process, none where it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []


def executable_of(pid: int) -> str:
    """Path of a process' program, empty where it is gone."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except (FileNotFoundError, PermissionError):
        return ""


@contextlib.contextmanager
def started(
    peer: Peer,
    ranks: int,
    directory: str,
    words: Sequence[str],
    options: Sequence[str] = (),
    stdout: int = subprocess.DEVNULL,
) -> Iterator[Run]:
    """Start a launcher in a directory of its own; whatever is left of it afterwards is ended.

    Args:
        words: of the worker: its program, and what follows the file of stamps and the number of ranks.
    """
    own = os.path.join(directory, "run")
    os.mkdir(own)
    worker, *mode = words
    place = Place(own, ranks)
    command = peer.command(place, [worker, os.path.join(own, "stamps"), str(ranks), *mode], options)
    mark = uuid.uuid4().hex
    variables = {**os.environ, **peer.environment(place), MARK: mark}
    begun = time.monotonic()
    with open(os.path.join(own, "stderr"), "wb") as stderr:
        process = subprocess.Popen(
            command, cwd=own, env=variables, stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    run = Run(peer, ranks, own, process, mark, begun)
    try:
        yield run
    finally:
        end(run)
        shutil.rmtree(own)


def end(run: Run) -> None:
    """Kill what is left, by process id, until nothing is."""
    while left := run.alive():
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if run.process.pid in left:
            run.process.wait()
    run.process.wait()
    if run.process.stdout:
        run.process.stdout.close()
