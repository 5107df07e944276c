"""Node 0 before mpirun: waits until every other node lets it in by ssh, then becomes mpirun.

usage: head RUN_DIR SECONDS HOST... -- MPIRUN...

The connections by which that was seen stay open as long as mpirun lives, which has their other ends: so the nodes see
it when node 0 dies. How it ended they are told by the launcher (``farewell``), which knows it best.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence

from ma2l.become import become
from ma2l.errors import GaveUpWaiting, Ma2lError, Stopped, SystemRefused
from ma2l.linux.wait import READABLE, STOP_SIGNALS, Waiter
from ma2l.mpirun.session import READY
from ma2l.plan.mpi_nodes import WATCH

_AGAIN_S = 1.0
"""Seconds between two attempts: sshd that is not there yet cannot announce itself."""


class Peer:
    """One other node and the connection to it."""

    def __init__(self, rank: int, host: str, run_dir: str) -> None:
        self.name = f"node {rank} ({host})"
        self.ready = False
        self.problem = "no answer"
        self.next_attempt = 0.0
        self._ssh = ("ssh", "-F", f"{run_dir}/ssh_config", host, WATCH)
        self._errors = f"{run_dir}/ssh.{rank}"
        self._process: subprocess.Popen[bytes] | None = None
        self._heard = b""

    @property
    def answer(self) -> int | None:
        """The descriptor on which it will say that it is ready, while it is being asked."""
        if self._process is None or self._process.stdout is None or self.ready:
            return None
        return self._process.stdout.fileno()

    def ask(self) -> None:
        """Connect.

        Raises:
            SystemRefused: no process or file can be made.
        """
        pipe = subprocess.PIPE
        self._heard = b""
        try:
            with open(self._errors, "wb") as errors:
                self._process = subprocess.Popen(self._ssh, stdin=pipe, stdout=pipe, stderr=errors, bufsize=0)
        except OSError as error:
            raise SystemRefused(f"connect to {self.name}", str(error.strerror)) from None

    def listen(self, now: float) -> None:
        """Take the answer, or note why there is none."""
        assert self._process is not None
        assert self._process.stdout is not None
        words = os.read(self._process.stdout.fileno(), 1024)
        self._heard += words  # a login shell may print something of its own first
        self.ready = self._heard.endswith(READY)
        if words:
            return
        self._process.terminate()  # most likely it has ended already
        self._process.communicate()
        with open(self._errors, encoding="utf-8", errors="replace") as errors:
            self.problem = (errors.read().strip().splitlines() or [self.problem])[-1]
        self._process = None
        self.next_attempt = now + _AGAIN_S

    def hold(self) -> None:
        """Let the connection live as long as the program that this process is going to be."""
        assert self._process is not None
        assert self._process.stdin is not None
        os.set_inheritable(self._process.stdin.fileno(), True)


def main(words: Sequence[str]) -> int:
    """Become mpirun; returns an exit code only where that is impossible."""
    run_dir, limit, *rest = words
    hosts, command = rest[: rest.index("--")], rest[rest.index("--") + 1 :]
    peers = [Peer(rank, host, run_dir) for rank, host in enumerate(hosts, 1)]
    waiter = Waiter()
    try:
        _meet(peers, int(limit), waiter)
        for peer in peers:
            peer.hold()
        signal.pthread_sigmask(signal.SIG_SETMASK, waiter.inherited_mask)
        become(command, os.environb)
    except Ma2lError as error:
        _say(str(error))
        return error.exit_code
    except Stopped as stop:
        return 128 + stop.signum


def _meet(peers: Sequence[Peer], limit: int, waiter: Waiter) -> None:
    """Wait until all are ready.

    Raises:
        GaveUpWaiting: not all were within the limit.
        Stopped: a stop signal arrived.
    """
    now = time.monotonic()
    give_up = now + limit
    said = ""
    while missing := [peer for peer in peers if not peer.ready]:
        if now >= give_up:
            why = f"after {limit} s it cannot log in to {_reasons(missing)}"
            raise GaveUpWaiting("start mpirun", why, "see what they say")
        for peer in missing:
            if peer.answer is None and peer.next_attempt <= now:
                peer.ask()
        answers = [(peer.answer, READABLE) for peer in missing if peer.answer is not None]
        attempts = [peer.next_attempt for peer in missing if peer.answer is None]
        wakeup = waiter.wait(answers, min([give_up, *attempts]))
        now = time.monotonic()
        for peer in missing:
            if peer.answer in wakeup.ready:
                peer.listen(now)
        for signum in wakeup.signals:
            if signum in STOP_SIGNALS:
                raise Stopped(signum)
        reasons = _reasons(missing)
        if reasons not in (said, "") and any(peer.next_attempt for peer in missing):
            _say(f"waiting up to {limit} s for {reasons}")
            said = reasons


def _reasons(peers: Sequence[Peer]) -> str:
    return ", ".join(f"{peer.name}: {peer.problem}" for peer in peers if not peer.ready)


def _say(line: str) -> None:
    os.write(2, f"ma2l: {line}\n".encode())
