"""Tells the other nodes of a job how node 0 has ended, so that they end alike."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence

from ma2l import log
from ma2l.linux.wait import STOP_SIGNALS, Waiter
from ma2l.plan.mpi_nodes import END

_PATIENCE_S = 15.0


def tell(code: int, hosts: Sequence[str], config: str, waiter: Waiter) -> None:
    """Log in to each of them with the exit code; whoever cannot be told finds out by the end of our connections.

    Args:
        config: path of the configuration by which they are reached.
    """
    devnull = subprocess.DEVNULL
    words = ("ssh", "-F", config)
    try:
        calls = [
            subprocess.Popen([*words, host, f"{END} {code}"], stdin=devnull, stdout=devnull, stderr=devnull)
            for host in hosts
        ]
    except OSError as error:
        log.warning(f"the other nodes cannot be told of the end: {error.strerror}")
        return
    give_up = time.monotonic() + _PATIENCE_S
    while [call for call in calls if call.poll() is None]:
        wakeup = waiter.wait((), give_up)
        if time.monotonic() >= give_up or any(signum in STOP_SIGNALS for signum in wakeup.signals):
            for call in calls:
                call.kill()
                call.wait()
