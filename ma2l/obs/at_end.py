"""The end of a run that is to be sent: in a process of its own, for a bounded time, and never at the run's expense."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence

from ma2l.linux import processes
from ma2l.linux.spawn import spawn
from ma2l.linux.wait import STOP_SIGNALS, Waiter
from ma2l.plan.child import run_module

MARGIN = 3.0
"""Seconds more than the sender gives itself, until it is ended from here."""


def send(
    words: Sequence[str], environ: Mapping[str, str], waiter: Waiter, guard_fd: int | None, patience: float
) -> str:
    """Run ``ma2l upload`` with these words.

    Args:
        environ: with the keys; they are in no command line.
        guard_fd: descriptor that hangs up when the guard dies.
        patience: seconds.

    Returns:
        Why it failed; empty when all is there.
    """
    isolated = ("-I",) if sys.flags.isolated else ()
    argv = (sys.executable, *isolated, *run_module("cli"), "upload", f"--upload-timeout={patience:g}", *words)
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        pid = spawn(sys.executable, argv, environ, output=None, stdin=nothing, mask=waiter.inherited_mask)
    except OSError as error:
        return str(error.strerror)
    finally:
        os.close(nothing)
    deadline = time.monotonic() + patience + MARGIN
    why = ""
    while True:
        for ended, returncode in processes.reap()[0]:
            if ended == pid:
                return why or (f"exit code {returncode}" if returncode else "")
        if why:
            os.kill(pid, signal.SIGKILL)  # not reaped yet, so the pid is certainly its own
        guard = [] if guard_fd is None else [(guard_fd, 0)]
        wakeup = waiter.wait(guard, None if why else deadline)
        if any(signum in STOP_SIGNALS for signum in wakeup.signals) or wakeup.ready:
            why, guard_fd = why or "a stop signal came", None
        elif time.monotonic() >= deadline:
            why = why or f"{patience:g} s were not enough"
