"""One wait for everything: file descriptors, signals and a deadline.

Signals arrive through Python's wake-up descriptor: the C-level handler writes the signal number into a pipe that is
part of the same ``poll``, so no signal can slip in between "checked" and "blocked" (the self-pipe trick). The pipe
keeps their order. When a storm fills it the kernel drops numbers, which is harmless: a waiter that wakes looks at
everything it cares about, and a stop signal is only ever lost behind 64 KiB of others of its kind.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable

from ma2l.records import dataclass

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
PASSED_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP, signal.SIGCONT)

_LONGEST_MS = 2**31 - 1
"""What ``poll`` takes, 24 days; a wait that ends earlier than its deadline is one more look at the clock."""

READABLE = select.POLLIN
WRITABLE = select.POLLOUT


@dataclass(frozen=True)
class Wakeup:
    """Why a wait ended; all fields empty means the deadline passed."""

    signals: tuple[int, ...] = ()
    """Signals in the order of arrival."""
    ready: tuple[int, ...] = ()
    """Descriptors that are ready or hung up."""


_mask_before: frozenset[int] | None = None


def hold_signals() -> None:
    """As PID 1, keep stop signals pending until a ``Waiter`` has handlers for them, or ``release_signals``.

    The kernel discards what PID 1 has no handler for: ``docker stop`` in the first moments would be lost.
    """
    global _mask_before
    if os.getpid() == 1 and _mask_before is None:
        _mask_before = frozenset(signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS))


def release_signals() -> None:
    """Take that back: nothing is going to be started, or the command is about to take this process's place."""
    global _mask_before
    if _mask_before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _mask_before)
        _mask_before = None


class Waiter:
    """Owns the process's signal handling and blocks in one place.

    Signals that were inherited as ignored (``nohup``) stay ignored. A signal mask inherited from the parent is lifted
    for the signals handled here; ``inherited_mask`` is what workers must get back.

    Args:
        inherited_mask: the mask from before this process blocked signals until now; ``None`` where it did not, or did
            so by ``hold_signals``.
    """

    def __init__(self, inherited_mask: Iterable[int] | None = None) -> None:
        self._pipe, writer = os.pipe()
        os.set_blocking(self._pipe, False)
        os.set_blocking(writer, False)
        handled = [s for s in STOP_SIGNALS + PASSED_SIGNALS if signal.getsignal(s) is not signal.SIG_IGN]
        if os.getpid() == 1 and os.isatty(0) and signal.SIGTSTP in handled:
            handled.remove(signal.SIGTSTP)  # a container's terminal has no shell to continue what Ctrl-Z stopped
        handled.append(signal.SIGCHLD)  # even if inherited as ignored: the kernel would reap workers before we look
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for signum in handled:
            signal.signal(signum, _noted_in_pipe)
        mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, handled)
        if inherited_mask is None:
            inherited_mask = mask if _mask_before is None else _mask_before
        self.inherited_mask = frozenset(inherited_mask)

    def wait(self, fds: Iterable[tuple[int, int]] = (), deadline: float | None = None) -> Wakeup:
        """Block until a signal arrives, a descriptor is ready or the deadline passes.

        Args:
            fds: pairs of descriptor and poll events (``READABLE``, ``WRITABLE``).
            deadline: ``time.monotonic()`` seconds; ``None`` waits without limit.
        """
        poll = select.poll()
        poll.register(self._pipe, READABLE)
        for fd, events in fds:
            poll.register(fd, events)
        timeout_ms = None
        if deadline is not None:
            timeout_ms = min(max(0.0, deadline - time.monotonic()) * 1000, _LONGEST_MS)
        ready = [fd for fd, _ in poll.poll(timeout_ms)]
        signals: tuple[int, ...] = ()
        if self._pipe in ready:
            ready.remove(self._pipe)
            signals = tuple(os.read(self._pipe, 65536))
        return Wakeup(signals, tuple(ready))

    def release(self) -> None:
        """Give the stop signals their default action: from now on nothing needs cleaning up."""
        for signum in STOP_SIGNALS:
            if signal.getsignal(signum) is _noted_in_pipe:
                signal.signal(signum, signal.SIG_DFL)


def _noted_in_pipe(_signum: int, _frame: object) -> None:
    """The number is in the wake-up pipe already; a Python handler must exist for the C-level one to be installed."""
