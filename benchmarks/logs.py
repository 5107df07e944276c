"""Rows about logs: what they cost the workers, and what arrives on the console."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.peers import Peer
from benchmarks.readings import Reading
from benchmarks.runs import Stuck, started

LINE = 96
"""Bytes."""
PIPE = 1 << 16
"""Bytes that a pipe holds. Who reads with a larger buffer makes a mapping of its own for it each time, and then the
reader is what was measured."""
LOOP = "read, prefix, write"
_TASK = os.path.join(os.path.dirname(__file__), "follow_task.py")
_WHOLE = re.compile(rb"\d{10} 0{84}")


def _case(ranks: int, megabytes: int) -> str:
    return f"{ranks} ranks, {megabytes} MB"


def lines_of(ranks: int, megabytes: int) -> int:
    """Lines that each rank writes."""
    return megabytes * 1_000_000 // LINE // ranks


def hidden(peer: Peer, directory: str, worker: str, ranks: int, megabytes: int) -> Iterator[Reading]:
    """How long the workers write, where the console shows nothing of it; the floor's go to a plain file."""
    lines = lines_of(ranks, megabytes)
    words = [worker, "write", str(lines)]
    with open(os.path.join(directory, "plain"), "wb") as plain:
        with started(peer, ranks, directory, words, peer.hides, stdout=plain.fileno()) as run:
            run.until_gone()
            wrote = run.notes("wrote")
        if len(wrote) != ranks:
            raise Stuck(f"{len(wrote)} of {ranks} workers wrote all")
    yield Reading("logs, hidden", _case(ranks, megabytes), peer.name, "workers write (s)", wrote[-1])


def shown(peer: Peer, directory: str, worker: str, ranks: int, megabytes: int) -> Iterator[Reading]:
    """How fast lines of all ranks with the rank in front reach the console, and how many are whole."""
    lines = lines_of(ranks, megabytes)
    with started(
        peer, ranks, directory, [worker, "write", str(lines)], peer.shows or (), stdout=subprocess.PIPE
    ) as run:
        assert run.process.stdout is not None
        chunks: list[bytes] = []
        begun = time.monotonic()
        while chunk := os.read(run.process.stdout.fileno(), PIPE):
            if not chunks:
                begun = time.monotonic()
            chunks.append(chunk)
        took = time.monotonic() - begun
        run.until_gone()
    text = b"".join(chunks)
    whole = sum(1 for line in text.split(b"\n") if _WHOLE.search(line) and len(_WHOLE.findall(line)) == 1)
    case = _case(ranks, megabytes)
    yield Reading("logs, shown", case, peer.name, "console (MB/s)", len(text) / 1e6 / took)
    yield Reading("logs, shown", case, peer.name, "lines lost or broken", float(ranks * lines - whole))


def followed(directory: str, ranks: int, megabytes: int) -> Iterator[Reading]:
    """What ma2l's follower needs alone, beside the least that a loop in Python needs, for files that are written."""
    for name, how in (("ma2l", "ma2l"), (LOOP, "loop")):
        command = [sys.executable, _TASK, how, directory, str(ranks), str(lines_of(ranks, megabytes))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as task:
            assert task.stdout is not None
            assert task.stderr is not None
            while os.read(task.stdout.fileno(), PIPE):
                pass
            written, took, used = map(float, task.stderr.read().split())
        case = _case(ranks, megabytes)
        yield Reading("logs, followed", case, name, "console (MB/s)", written / 1e6 / took)
        yield Reading("logs, followed", case, name, "CPU (s per GB)", used / written * 1e9)
