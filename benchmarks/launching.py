"""Rows about launching itself: start, failure, stop, faults, idle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.bar import PYTHON
from benchmarks.peers import Peer
from benchmarks.readings import Reading
from benchmarks.runs import Run, Stuck, started

LOADED = "python -I -c import ctypes, json, select, signal"
"""Tables are JSON, orphans are adopted by a call of the kernel, signals and descriptors are waited for."""
RANKS = 8
IDLE = 10.0
"""Seconds for which a run at rest is watched."""
SETTLED = 1.0
"""Seconds after which a launcher has done what it does once all workers are up."""
TICKS = os.sysconf("SC_CLK_TCK")


def interpreters() -> Iterator[Reading]:
    """The floors of everything in Python: an interpreter that does nothing, and one that loads what launchers need."""
    for name, words in ((PYTHON, ("-I", "-S", "-c", "pass")), (LOADED, ("-I", "-c", LOADED.partition("-c ")[2]))):
        begun = time.monotonic()
        subprocess.run([sys.executable, *words], check=True)
        yield Reading("start", "", name, "no-op run (ms)", (time.monotonic() - begun) * 1e3)


def case_of(ranks: int) -> str:
    """How the report calls it."""
    return f"{ranks} worker{'s' if ranks > 1 else ''}"


def start(peer: Peer, directory: str, worker: str, ranks: int) -> Iterator[Reading]:
    """When the first and the last worker were up, and how long it all took."""
    case = case_of(ranks)
    with started(peer, ranks, directory, [worker]) as run:
        total = run.until_gone() - run.started
        ups = run.notes("up")
        if len(ups) != ranks:
            raise Stuck(f"{len(ups)} of {ranks} workers came up")
    yield Reading("start", case, peer.name, "first up (ms)", (ups[0] - run.started) * 1e3)
    yield Reading("start", case, peer.name, "last up (ms)", (ups[-1] - run.started) * 1e3)
    yield Reading("start", case, peer.name, "no-op run (ms)", total * 1e3)


def failure(peer: Peer, directory: str, worker: str, seconds: float) -> Iterator[Reading]:
    """From a worker's exit with 7, so long after all were up, to the launcher's end."""
    with started(peer, RANKS, directory, [worker, "fail", "7", f"{seconds * 1e3:.0f}"]) as run:
        gone = run.until_gone()
        failed = run.notes("fail")
        if not failed:
            raise Stuck("no worker failed")
    yield Reading("failure", f"{seconds:g} s after the start", peer.name, "gone after (ms)", (gone - failed[0]) * 1e3)


def stop(peer: Peer, directory: str, worker: str, milliseconds: int) -> Iterator[Reading]:
    """From SIGTERM to a run that has come up to the launcher's end, and how many workers could save."""
    case = f"workers need {milliseconds / 1e3:g} s"
    with started(peer, RANKS, directory, [worker, "save", str(milliseconds)]) as run:
        run.until_up()
        time.sleep(SETTLED)
        begun = time.monotonic()
        run.process.send_signal(signal.SIGTERM)
        gone = run.until_gone()
        saved = len(run.notes("saved"))
    yield Reading("stop", case, peer.name, "gone after (ms)", (gone - begun) * 1e3)
    yield Reading("stop", case, peer.name, "saved", float(saved))


FAULTS = {
    "worker: exit 7": (["fail", "7"], None, 7),
    "worker: SIGKILL": (["fail", "-9"], None, 137),
    "worker: SIGSEGV": (["fail", "-11"], None, 139),
    "worker: exit 7, leaves a child in a session of its own": (["leave"], None, 7),
    "launcher: SIGTERM": (["wait"], signal.SIGTERM, 143),
    "launcher: SIGINT": (["wait"], signal.SIGINT, 130),
    "launcher: SIGHUP": (["wait"], signal.SIGHUP, 129),
    "launcher: SIGKILL": (["wait"], signal.SIGKILL, 137),
}
"""What happens, and which exit code is right: the worker's own, or 128 + signal."""


def fault(peer: Peer, directory: str, worker: str, name: str) -> Iterator[Reading]:
    """The exit code, as a shell sees it, and the processes that are left when the launcher has ended."""
    mode, signum, right = FAULTS[name]
    with started(peer, RANKS, directory, [worker, *mode]) as run:
        if signum is not None:
            run.until_up()
            run.process.send_signal(signum)
        run.until_gone()
        left = _left(run)
        code = run.process.returncode
    seen = code if code >= 0 else 128 - code
    yield Reading("faults", name, peer.name, "exit code", float(seen))
    yield Reading("faults", name, peer.name, "right", float(right))
    yield Reading("faults", name, peer.name, "left", float(left))


def _left(run: Run) -> int:
    """After a second for those that are ending by themselves."""
    end = time.monotonic() + 1
    while (left := len(run.alive())) and time.monotonic() < end:
        time.sleep(0.02)
    return left


def idle(peer: Peer, directory: str, worker: str) -> Iterator[Reading]:
    """What a run costs in which nothing happens."""
    with started(peer, RANKS, directory, [worker, "wait"]) as run:
        run.until_up()
        time.sleep(2)  # what is loaded after the start is a part of the memory and not of the rest
        pids = run.launcher(worker)
        before = [_usage(pid) for pid in pids]
        time.sleep(IDLE)
        after = [_usage(pid) for pid in pids]
        memory = sum(_status(pid, "VmRSS") for pid in pids) / 1024
    cpu = sum(a[0] - b[0] for a, b in zip(after, before)) / TICKS
    woken = sum(a[1] - b[1] for a, b in zip(after, before))
    yield Reading("idle", "8 workers", peer.name, "processes", float(len(pids)))
    yield Reading("idle", "8 workers", peer.name, "memory (MiB)", memory)
    yield Reading("idle", "8 workers", peer.name, "CPU (s per minute)", cpu * 60 / IDLE)
    yield Reading("idle", "8 workers", peer.name, "wake-ups per minute", woken * 60 / IDLE)


def _usage(pid: int) -> tuple[int, int]:
    """CPU time in ticks, and how often all of its threads went to sleep and came back."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    threads = os.listdir(f"/proc/{pid}/task")
    woken = sum(_status(f"{pid}/task/{thread}", "voluntary_ctxt_switches") for thread in threads)
    return int(fields[11]) + int(fields[12]), woken


def _status(process: int | str, name: str) -> int:
    """A number from ``/proc/<pid>/status``."""
    with open(f"/proc/{process}/status", encoding="ascii", errors="replace") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name + ":"))
