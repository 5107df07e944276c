"""Who holds this node's NPUs: a job that was killed a moment ago, or somebody else's.

A second user of an NPU fails minutes later and far away from the cause: HCCL's helper process says ``EJ0001 ... Maybe
the last training process is running. Solution: Wait for 10s after killing the last training process``, memory is short,
or the resource is busy. Open device files are seen in ``/proc``, of one's own processes and in the own container;
npu-smi also knows those of other users and containers, by the pids of the host.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping

from ma2l import log
from ma2l.ascend import npu_smi
from ma2l.errors import NoUsableDevice, Stopped
from ma2l.linux import cpulist
from ma2l.linux.wait import STOP_SIGNALS, Waiter
from ma2l.records import dataclass
from ma2l.secrets import mask_argv

LOOK_EVERY = 1.0
"""Seconds between two looks: the end of somebody else's process is no event that everybody may wait for."""
_SHOWN = 4
_LONGEST = 80


@dataclass(frozen=True)
class Holder:
    """A process that has NPUs in use."""

    pid: int
    command: str
    npus: tuple[int, ...]
    """Physical ids, ascending."""

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.command}, NPU {cpulist.text(self.npus)})"


def find(
    npus: Iterable[int], environ: Mapping[str, str], *, dev: str = "/dev", proc: str = "/proc"
) -> tuple[Holder, ...]:
    """The holders of these NPUs, by pid.

    Args:
        npus: physical ids.
        environ: environment for npu-smi, which is asked only where ``/proc`` shows nobody.
    """
    wanted = set(npus)
    held = _open_files({f"{dev}/davinci{npu}": npu for npu in wanted}, proc)
    if held:
        return tuple(Holder(pid, _command(pid, proc), tuple(sorted(ids))) for pid, ids in sorted(held.items()))
    names: dict[int, str] = {}
    for npu, pid, name in npu_smi.processes(environ):
        if npu in wanted and pid != os.getpid():
            held.setdefault(pid, set()).add(npu)
            names[pid] = name
    return tuple(Holder(pid, names[pid], tuple(sorted(ids))) for pid, ids in sorted(held.items()))


def wait_until_free(
    npus: tuple[int, ...], seconds: float, environ: Mapping[str, str], waiter: Waiter, guard: int | None,
    *, dev: str = "/dev", proc: str = "/proc",
) -> None:  # fmt: skip
    """Wait until nobody holds these NPUs, naming those who do.

    Args:
        npus: physical ids.
        seconds: the longest wait.
        guard: descriptor that hangs up when the guard dies.

    Raises:
        NoUsableDevice: somebody still does.
        Stopped: a stop signal arrived.
    """
    end = time.monotonic() + seconds
    said = ""
    while held := find(npus, environ, dev=dev, proc=proc):
        by = ", ".join(map(str, held[:_SHOWN])) + (f" and {len(held) - _SHOWN} more" if len(held) > _SHOWN else "")
        now = time.monotonic()
        if now >= end:
            raise NoUsableDevice(
                f"use NPU {cpulist.text(npus)}",
                f"after {seconds:g} s still in use by {by}",
                "end these processes or choose other NPUs; --wait-npu 0 does not look",
            )
        if by != said:
            log.start()
            log.info(f"waiting up to {max(0.0, end - now):.0f} s for NPU {cpulist.text(npus)}, in use by {by}")
            said = by
        log.status(f"NPU {cpulist.text(npus)} in use by {by}, {max(0.0, end - now):.0f} s left")
        wakeup = waiter.wait([] if guard is None else [(guard, 0)], min(now + LOOK_EVERY, end))
        for signum in wakeup.signals:
            if signum in STOP_SIGNALS:
                raise Stopped(signum)
        if wakeup.ready:
            raise Stopped(9)


def _open_files(npu_of: Mapping[str, int], proc: str) -> dict[int, set[int]]:
    """NPUs by the pid of each process that has their device file open, as far as this user may see."""
    held: dict[int, set[int]] = {}
    for pid in (int(name) for name in os.listdir(proc) if name.isdecimal()):
        try:
            files = os.listdir(f"{proc}/{pid}/fd")
        except OSError:  # it has gone, or is another user's
            continue
        for file in files:
            try:
                target = os.readlink(f"{proc}/{pid}/fd/{file}")
            except OSError:  # closed meanwhile
                continue
            if target in npu_of:
                held.setdefault(pid, set()).add(npu_of[target])
    return held


def _command(pid: int, proc: str) -> str:
    """A process's command line, shortened and without secrets; its name where it has none any more."""
    try:
        with open(f"{proc}/{pid}/cmdline", "rb") as file:
            words = file.read().decode(errors="backslashreplace").rstrip("\0").split("\0")
        with open(f"{proc}/{pid}/comm", encoding="utf-8", errors="backslashreplace") as file:
            name = file.read().strip()
    except OSError:
        return "?"
    text = " ".join(mask_argv(words)) or name
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
