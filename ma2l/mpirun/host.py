"""A node that is not node 0: offers sshd to node 0, and leaves with node 0's exit code.

usage: host RUN_DIR SECONDS PORT SSHD

A process of the plan, so that whatever it leaves (sshd, mpirun's daemon, ranks) is swept when it has ended. It blocks
in one wait on the words of ``session``, signals and the limit for node 0 to come. After that it lives by node 0's
connection, whose end sshd notices in two minutes whatever became of node 0, and by its last word.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

from ma2l.errors import GaveUpWaiting, Ma2lError, SystemRefused
from ma2l.linux import processes
from ma2l.linux.wait import READABLE, STOP_SIGNALS, Waiter
from ma2l.plan.mpi_nodes import LAST_WORD_S
from ma2l.supervise import killer

_PRIVSEP_DIR = "/run/sshd"
"""Compiled into Debian's sshd, which does not start as root without it; its init script makes it, and so do we."""


def main(words: Sequence[str]) -> int:
    """Run until node 0 has ended; returns its exit code."""
    run_dir, limit, port, sshd = words
    try:
        return _serve(run_dir, int(limit), port, sshd)
    except Ma2lError as error:
        _say(str(error))
        return error.exit_code


def _serve(run_dir: str, limit: int, port: str, sshd: str) -> int:
    waiter = Waiter()
    pipe = _open_pipe(run_dir)
    daemon = _start(sshd, run_dir, port)
    _say(f"offering sshd on port {port} to node 0")
    deadline: float | None = time.monotonic() + limit
    late = f"it did not come within {limit} s"
    sessions: dict[int, int] = {}
    while True:
        wakeup = waiter.wait([(pipe, READABLE)], deadline)
        for word, value in _read(pipe, wakeup.ready):
            if word == "node0":
                deadline = None
            elif word == "session":
                sessions[int(value)] = processes.start_time(int(value))
            elif word == "end":
                _say(f"node 0 has ended with exit code {value}")
                return int(value)
            elif word == "lost":
                deadline = time.monotonic() + LAST_WORD_S
                late = "it is gone, and has not said how it ended"
        stop = next((signum for signum in wakeup.signals if signum in STOP_SIGNALS), None)
        if stop is not None and not _stop(sessions):
            return 128 + stop
        if daemon.poll() is not None:
            raise SystemRefused(f"offer sshd on port {port}", "it has ended, see above", "choose another --ssh-port")
        if deadline is not None and time.monotonic() >= deadline:
            raise GaveUpWaiting("serve node 0", late, "see what node 0 says")


def _open_pipe(run_dir: str) -> int:
    """The pipe that sessions write to; our own end for writing keeps it from hanging up when one of them leaves."""
    os.mkfifo(f"{run_dir}/words", 0o600)
    return os.open(f"{run_dir}/words", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _start(sshd: str, run_dir: str, port: str) -> subprocess.Popen[bytes]:
    with open(os.open(f"{run_dir}/environ", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(b"\0".join(name + b"=" + value for name, value in os.environb.items()))
    try:
        if os.geteuid() == 0:
            os.makedirs(_PRIVSEP_DIR, 0o755, exist_ok=True)
        return subprocess.Popen([sshd, "-D", "-e", "-f", f"{run_dir}/sshd_config"], stdin=subprocess.DEVNULL)
    except OSError as error:
        raise SystemRefused(f"offer sshd on port {port}", f"{error.filename}: {error.strerror}") from None


def _read(pipe: int, ready: Sequence[int]) -> list[tuple[str, str]]:
    """What sessions have said. A line is written at once and fits the pipe's buffer, so it comes whole."""
    lines = os.read(pipe, 65536).decode().splitlines() if pipe in ready else []
    return [(word, value) for word, _, value in (line.partition(" ") for line in lines)]


def _stop(sessions: Mapping[int, int]) -> bool:
    """Ask mpirun's daemons here to end, which ask the ranks; returns whether there is one. mpirun notices, node 0 ends,
    and says so."""
    alive = [pid for pid, started in sessions.items() if started and processes.start_time(pid) == started]
    for pid in alive:
        killer.signal_leader(pid, signal.SIGTERM)
    return bool(alive)


def _say(line: str) -> None:
    os.write(2, f"ma2l: {line}\n".encode())
