"""The guard: a process around the launcher that cleans up when the launcher is killed.

``start`` splits the process in two. The parent, whose pid the user and the platform know, becomes the guard: it passes
signals on and waits. The child goes on as the launcher, in a process group of its own, so that a terminal's Ctrl-C
reaches it once (through the guard) and a ``kill -9`` of the terminal's whole group spares it. Both are subreapers:

- the launcher dies: everything it left becomes the guard's child, is killed, and the guard exits with 128 + signal;
- the guard dies: its end of a pipe closes, and the launcher, which has that pipe in its wait, kills the workers.

As PID 1 there is no guard: when PID 1 dies the kernel ends the whole PID namespace.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable

from ma2l.errors import SystemRefused
from ma2l.linux import libc, processes
from ma2l.linux.wait import PASSED_SIGNALS, STOP_SIGNALS
from ma2l.supervise import killer
from ma2l.supervise.machine import KILL_PATIENCE

_SI_KERNEL = 0x80
"""Of a signal that a terminal sent, not a process (sigaction(2))."""
_TRY_AGAIN = 0.1
"""Seconds until a look at what is left that the system refused."""


def start(
    clean_up: Callable[[], None], say: Callable[[str], None] | None = None
) -> tuple[int | None, set[signal.Signals | int] | None]:
    """Put a guard around this process and return in the launcher.

    Args:
        clean_up: what the launcher does last, for the guard to do when the launcher is killed.
        say: shows a line about the launcher's end; ``None`` writes it to standard error.

    Returns:
        A descriptor that hangs up when the guard dies, and the signal mask from before, for ``Waiter``: what the guard
        passes on stays blocked until that has handlers, or a SIGUSR1 in the launcher's first moments would kill it.
        Both are ``None`` as PID 1, where no guard is needed.

    Raises:
        SystemRefused: the kernel refused a process or the subreaper attribute.
    """
    if os.getpid() == 1:
        return None, None
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # inherited as ignored, the kernel would reap the launcher unseen
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # both may be in the background of a terminal that stops writers
    forwarded = [s for s in STOP_SIGNALS + PASSED_SIGNALS if signal.getsignal(s) is not signal.SIG_IGN]
    alive, held = os.pipe()
    try:
        libc.become_subreaper()  # before the fork: an orphan of a launcher that dies at once must come here
        inherited_mask = signal.pthread_sigmask(signal.SIG_BLOCK, [*forwarded, signal.SIGCHLD])
        launcher = os.fork()
    except OSError as error:
        raise SystemRefused("start the guard process", str(error.strerror), "raise the limit of processes") from error
    if launcher:
        os.close(alive)
        _guard(launcher, [*forwarded, signal.SIGCHLD], clean_up, say or _say)
    os.close(held)
    os.setpgid(0, 0)
    libc.become_subreaper()
    return alive, inherited_mask


def _guard(
    launcher: int, waited: list[signal.Signals], clean_up: Callable[[], None], say: Callable[[str], None]
) -> None:
    """Pass signals to the launcher until it ends, then end what it left and exit like it. Never returns."""
    code = 70
    try:
        returncode = None
        while returncode is None:
            info = signal.sigwaitinfo(waited)
            signum = info.si_signo
            if signum == signal.SIGCHLD:
                returncode = dict(processes.reap()[0]).get(launcher)
            elif signum == signal.SIGTSTP and info.si_code == _SI_KERNEL and not processes.has_job_control():
                continue  # Ctrl-Z of a terminal without a shell (ssh -t): nobody could continue what stops now
            else:
                os.kill(launcher, signum)  # a zombie at worst: only this process can reap it
                if signum == signal.SIGTSTP:
                    os.kill(os.getpid(), signal.SIGSTOP)  # the terminal's shell waits for this process to stop
        code = processes.exit_code(returncode)
        killed = _end_descendants()
        try:
            if returncode < 0 and (killed or -returncode not in STOP_SIGNALS):
                name = signal.Signals(-returncode).name
                say(f"ma2l: the launcher was ended by {name}; {killed} processes that it left were killed\n")
        finally:
            if returncode < 0:
                clean_up()
    finally:
        os._exit(code)


def _end_descendants() -> int:
    """Kill until nobody is left, or only processes stuck in the kernel; returns how many were reaped."""
    count = 0
    give_up = time.monotonic() + KILL_PATIENCE
    while True:
        ended, left = processes.reap()
        count += len(ended)
        patience = give_up - time.monotonic()
        if not left or patience <= 0:
            return count
        try:
            killer.kill_everything()
        except OSError:  # no descriptor left for /proc; others give some back
            patience = min(patience, _TRY_AGAIN)
        signal.sigtimedwait([signal.SIGCHLD], patience)


def _say(line: str) -> None:
    """Write to standard error unless that would block: nobody may be reading it any more."""
    poll = select.poll()
    poll.register(2, select.POLLOUT)
    if poll.poll(0):
        os.write(2, line.encode())
