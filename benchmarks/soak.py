"""Row about a long life, compressed: many restarts and many lines, and whether memory and open files stay flat."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator

from benchmarks.launching import RANKS
from benchmarks.peers import Peer
from benchmarks.readings import Reading
from benchmarks.runs import Run, started


def restarts(peer: Peer, directory: str, worker: str, times: int) -> Iterator[Reading]:
    """A run whose rank 3 fails again and again: launcher and guard after a tenth of the restarts and near the end."""
    options = ("--max-restarts", str(times), "--restart-on", "7", "--quiet")
    with started(peer, RANKS, directory, [worker, "fail", "7"], options) as run:
        early = _at(run, times // 10)
        late = _at(run, times * 9 // 10)
        run.until_gone()
    case = f"{times} restarts"
    yield from _both(case, peer, early, late)


def lines(peer: Peer, directory: str, worker: str, millions: int) -> Iterator[Reading]:
    """A run that shows so many lines, read slowly enough to look at it in between."""
    each = millions * 1_000_000 // RANKS
    options = peer.shows or ()
    with started(peer, RANKS, directory, [worker, "write", str(each)], options, stdout=subprocess.PIPE) as run:
        assert run.process.stdout is not None
        seen, marks, total = 0, [], each * RANKS
        for part in (total // 10, total * 9 // 10):
            while seen < part:
                seen += run.process.stdout.read(1 << 16).count(b"\n")
            marks.append(_size(run))
        rest = threading.Thread(target=run.process.stdout.read)
        rest.start()
        run.until_gone()
        rest.join()
    yield from _both(f"{millions} million lines", peer, *marks)


def _at(run: Run, failures: int) -> tuple[float, float]:
    while len(run.notes("fail")) < failures and run.process.poll() is None:
        os.sched_yield()
    return _size(run)


def _size(run: Run) -> tuple[float, float]:
    """Memory (MB) and open files of the launcher and its guard, which live as long as the run."""
    with open(f"/proc/{run.process.pid}/task/{run.process.pid}/children", encoding="ascii") as file:
        pids = [run.process.pid, *map(int, file.read().split())]
    memory = files = 0.0
    for pid in pids:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            memory += int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        files += len(os.listdir(f"/proc/{pid}/fd"))
    return memory, files


def _both(case: str, peer: Peer, early: tuple[float, float], late: tuple[float, float]) -> Iterator[Reading]:
    for what, before, after in zip(("memory (MB)", "open files"), early, late):
        yield Reading("soak", case, peer.name, f"{what}, early", before)
        yield Reading("soak", case, peer.name, f"{what}, late", after)
