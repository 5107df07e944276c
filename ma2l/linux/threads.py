"""What the kernel shows of a process's threads: state, where in the kernel they wait, CPU time. Source: proc(5)."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ma2l.records import dataclass

_HIDDEN = ("", "0")
"""``wchan`` of a thread that runs, and of one that we may not look into."""


@dataclass(frozen=True)
class Thread:
    """One thread; fields are empty where the kernel does not show them to us."""

    tid: int
    name: str
    state: str
    """``S (sleeping)``, as in ``status``."""
    wchan: str
    """Kernel function that it sleeps in."""
    syscall: str
    """Number of the system call, or ``running``."""
    switches: str
    """``voluntary + involuntary`` context switches: two looks tell whether it did anything."""
    stack: tuple[str, ...]
    """Kernel functions, innermost first; root sees them only."""


def threads(pid: int) -> list[Thread]:
    """All threads of a process, the main one first; empty when it has gone."""
    try:
        tids = sorted(map(int, os.listdir(f"/proc/{pid}/task")), key=lambda tid: (tid != pid, tid))
    except OSError:
        return []
    return [_thread(f"/proc/{pid}/task/{tid}", tid) for tid in tids]


def _thread(path: str, tid: int) -> Thread:
    status = fields(f"{path}/status")
    wchan = _read(f"{path}/wchan").strip()
    frames = [line.partition(" ")[2].partition("+")[0] for line in _read(f"{path}/stack").splitlines()]
    return Thread(
        tid=tid,
        name=status.get("Name", ""),
        state=status.get("State", ""),
        wchan="" if wchan in _HIDDEN else wchan,
        syscall=_read(f"{path}/syscall").partition(" ")[0].strip(),
        switches=f"{status.get('voluntary_ctxt_switches', '?')} + {status.get('nonvoluntary_ctxt_switches', '?')}",
        stack=tuple(frames),
    )


def fields(path: str) -> dict[str, str]:
    """The lines ``Name: value`` of a ``status`` file; empty when the process has gone."""
    pairs = (line.partition(":") for line in _read(path).splitlines())
    return {name: value.strip() for name, _, value in pairs}


def is_closed(pid: int) -> bool:
    """Whether the kernel refuses to let us read the memory of a living process: it is of another user, has made itself
    private, or ``kernel.yama.ptrace_scope`` keeps all but its ancestors out (ptrace(2), "Ptrace access mode
    checking")."""
    try:
        os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY))
    except PermissionError:
        return True
    except OSError:  # it has gone
        return False
    return False


def command(pid: int) -> list[str]:
    """A process's command line; empty when it has gone or is a zombie."""
    words = _read(f"/proc/{pid}/cmdline").split("\0")
    return words[:-1]


def environ(pid: int) -> dict[str, str]:
    """The environment that a process was started with; empty when it has gone or is of another user."""
    pairs = (entry.partition("=") for entry in _read(f"/proc/{pid}/environ").split("\0"))
    return {name: value for name, equals, value in pairs if equals}


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU time that living processes have used so far, in user and kernel mode (``stat``, fields 14 and 15)."""
    ticks = 0
    for pid in pids:
        found = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        ticks += sum(map(int, found[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "backslashreplace")
    except OSError:  # it has gone, or the kernel does not show it to us
        return ""
