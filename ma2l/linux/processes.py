"""Children as the kernel shows them: reap the dead, list the living, tell what they are."""

from __future__ import annotations

import os

_NOT_SEEN = (FileNotFoundError, ProcessLookupError, PermissionError)
"""The process has gone, or is of another user where ``/proc`` hides those (``hidepid``)."""
_PF_FORKNOEXEC = 0x40
_SHELLS = frozenset(("sh", "bash", "dash", "ash", "busybox", "zsh", "ksh", "ksh93", "mksh"))


def reap() -> tuple[list[tuple[int, int]], bool]:
    """Collect every child that has ended, workers and adopted orphans alike, without blocking.

    Returns:
        Pairs of pid and return code (``-N`` for a death by signal N, as in ``subprocess``) in the kernel's order, which
        says nothing about time; and whether a child is left, alive or about to die.
    """
    ended: list[tuple[int, int]] = []
    while True:
        try:
            info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return ended, False
        if info is None:
            return ended, True
        ended.append((info.si_pid, info.si_status if info.si_code == os.CLD_EXITED else -info.si_status))


def exit_code(returncode: int) -> int:
    """The shell's view of a return code: 0..255, or 128 + signal."""
    return returncode if returncode >= 0 else 128 - returncode


def children(pid: int) -> list[int]:
    """Direct children of a process, those of all its threads, zombies included.

    The kernel may leave out a child that appears or dies during the read, so callers that must not miss one repeat
    until ``reap`` says that nobody is left.
    """
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except _NOT_SEEN:
        return []
    found: list[int] = []
    for task in tasks:
        try:
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
        except _NOT_SEEN:
            if not os.path.exists("/proc/thread-self/children"):
                return _children_by_scan(pid)  # a kernel without CONFIG_PROC_CHILDREN
    return found


def descendants(pid: int) -> list[int]:
    """Children, their children and so on, parents before children."""
    found = children(pid)
    for child in found:
        found += children(child)
    return found


def foremost(pid: int) -> list[int]:
    """Children, without those that read what a sibling writes: the rear of a pipeline (``train | tee log``) ends by
    itself when its writer has ended, and ending it first would take the writer's output away."""
    found = children(pid)
    written = {
        (child, target) for child in found for fd in (1, 2) if (target := _target(child, fd)).startswith("pipe:")
    }
    return [child for child in found if not any(t == _target(child, 0) and c != child for c, t in written)]


def _target(pid: int, fd: int) -> str:
    """What a descriptor of a process refers to, such as ``pipe:[4711]``; empty when that cannot be seen."""
    try:
        return os.readlink(f"/proc/{pid}/fd/{fd}")
    except OSError:
        return ""


def has_job_control() -> bool:
    """Whether a shell could continue this process's group after a Ctrl-Z: the leader's parent is of the same session
    and of another group. Elsewhere the kernel discards that SIGTSTP, unless somebody has a handler for it (setpgid(2),
    "orphaned process group")."""
    group = os.getpgrp()
    try:
        with open(f"/proc/{group}/stat", "rb") as file:
            parent = int(file.read().rpartition(b")")[2].split()[1])
        return parent > 0 and os.getsid(parent) == os.getsid(0) and os.getpgid(parent) != group
    except _NOT_SEEN:  # the leader has gone
        return True


def is_shell(pid: int) -> bool:
    """Whether the process is a shell, which acts on a signal only after its foreground child has ended."""
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe")) in _SHELLS
    except OSError:  # gone, or of another user
        return False


def only_forked(pid: int) -> bool:
    """Whether the process is a copy of its parent that has not executed a program (PF_FORKNOEXEC, proc(5), field 9)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return bool(int(file.read().rpartition(b")")[2].split()[6]) & _PF_FORKNOEXEC)
    except _NOT_SEEN:
        return False


def catches(pid: int, signum: int) -> bool:
    """Whether the process has a handler for the signal."""
    return _in_set(b"SigCgt:", pid, signum)


def ignores(pid: int, signum: int) -> bool:
    """Whether the process ignores the signal, as after ``nohup`` or in the background of a shell script."""
    return _in_set(b"SigIgn:", pid, signum)


def state(pid: int) -> tuple[str, int] | None:
    """A process's state (``R``, ``S``, ``T``: stopped, ``Z``: zombie ...) and its start time in clock ticks since boot,
    by which a pid that was given away again is told apart (proc(5), fields 3 and 22 of ``stat``); ``None`` when there
    is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except _NOT_SEEN:
        return None
    return fields[0].decode(), int(fields[19])


def start_time(pid: int) -> int:
    """Start time of a living process in clock ticks since boot; 0 when it cannot be seen."""
    found = state(pid)
    return found[1] if found else 0


def _in_set(label: bytes, pid: int, signum: int) -> bool:
    """Whether a signal is in one of the sets of ``/proc/<pid>/status``."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                if line.startswith(label):
                    return bool(int(line.split()[1], 16) >> (signum - 1) & 1)
    except _NOT_SEEN:
        return False
    return False


def _children_by_scan(parent: int) -> list[int]:
    """The same answer as ``children`` from every process's ``stat``; the command name may hold spaces and brackets."""
    found: list[int] = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except _NOT_SEEN:
                continue
            if int(fields[1]) == parent:
                found.append(int(name))
    return found
