"""Sends signals to workers and to what they leave behind. The only place in ma2l that ends a worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable

from ma2l.linux import processes

_NOTICES = (signal.SIGUSR1, signal.SIGUSR2)
_TO_GROUP = (signal.SIGSTOP, signal.SIGCONT)


def signal_leader(pid: int, signum: int) -> dict[int, bool]:
    """Signal a worker that has not been reaped, so that its pid is certainly still its own.

    A notice (SIGUSR1, SIGUSR2) goes only to a worker that has a handler: in its first moments the default action would
    kill it. Freezing and thawing is for the whole group. Everything else is for the leader alone; but where the leader
    is a shell, also for what it runs: with a trap it acts only after its foreground child has ended, without one it
    dies at once and tells nobody.

    Returns:
        What a shell was running and was signalled too: the heirs, which may outlive it. False marks those that may not
        have heard it: between its fork and its exec a shell's child has the shell's handlers, which note the signal for
        a shell that is about to vanish. To ask such a one twice does no harm: no program has handlers that early.
    """
    if signum in _TO_GROUP:
        _send_group(pid, signum)
    elif signum == signal.SIGABRT:
        _abort(pid)
    elif signum not in _NOTICES or processes.catches(pid, signum):
        running = processes.foremost(pid) if processes.is_shell(pid) else []  # before its trap starts further ones
        _send(pid, signum)
        heirs: dict[int, bool] = {}
        for child in running:
            heirs[child] = not processes.only_forked(child)
            heirs.update(signal_leader(child, signum))
        return heirs
    return {}


def _abort(pid: int) -> None:
    """SIGABRT to the nearest of a worker's processes that listen to it, as Python's faulthandler does: a shell would
    die of it in silence, and what a rank has started itself would print into the same lines."""
    if processes.catches(pid, signal.SIGABRT):
        _send(pid, signal.SIGABRT)
    else:
        for child in processes.children(pid):
            _abort(child)


def ask_again(pids: Iterable[int]) -> set[int]:
    """SIGTERM to those that have become a program since they were asked first; returns those that have not."""
    ours = set(pids).intersection(processes.descendants(os.getpid()))  # a pid may have been given away again since
    waiting = {pid for pid in ours if processes.only_forked(pid)}
    for pid in ours:
        if pid not in waiting:
            _send(pid, signal.SIGTERM)
    return waiting


def signal_strays(signum: int, leaders: Iterable[int] = ()) -> None:
    """Signal every descendant of this process that is not a leader or below one."""
    spared = set(leaders)
    for child in processes.children(os.getpid()):
        if child not in spared:
            for pid in (child, *processes.descendants(child)):
                _send(pid, signum)


def kill_everything(leaders: Iterable[int] = ()) -> None:
    """SIGKILL to the groups of living leaders and to every descendant.

    One round is not proof: a process that forks while it is killed leaves a child, which becomes ours when its parent
    is reaped. Callers repeat after each reaping until no child is left.
    """
    for leader in leaders:
        _send_group(leader, signal.SIGKILL)
    for pid in processes.descendants(os.getpid()):
        _send(pid, signal.SIGKILL)


def _send(pid: int, signum: int) -> None:
    try:
        os.kill(pid, signum)
    except (ProcessLookupError, PermissionError):  # it ended meanwhile; or it took another user's id (sudo, ping)
        return


def _send_group(leader: int, signum: int) -> None:
    try:
        os.killpg(leader, signum)
    except (ProcessLookupError, PermissionError):
        return
