"""Row about rank tables: time and memory by the number of servers, each measured in an interpreter of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence

from benchmarks.readings import Reading
from benchmarks.table_forms import FORMS

DEVICES = 16
_TASK = os.path.join(os.path.dirname(__file__), "table_task.py")
_PROBE = """
import resource, subprocess, sys, time
begun = time.monotonic()
subprocess.run(sys.argv[1:], check=True)
print(time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
"""
"""Runs a command and says its seconds and peak (KiB). A peak begins with the memory of the process that was forked, so
a small one has to stand between it and us."""


def tables(directory: str, servers: int, form: str) -> Iterator[Reading]:
    """Read, check and write a table; plan a job of it."""
    source, target = os.path.join(directory, "source.json"), os.path.join(directory, "target.json")
    with open(source, "w", encoding="ascii") as file:
        json.dump(FORMS[form](servers, DEVICES), file)
    case = f"{servers} servers"
    answer, _, memory = _used([sys.executable, _TASK, source, target])
    yield Reading("rank tables", case, form, "read, check, write (s)", float(answer))
    yield Reading("rank tables", case, form, "memory (MiB)", memory)
    if form in ("1.0", "1.2"):
        ma2l = os.path.join(os.path.dirname(sys.executable), "ma2l")
        _, took, memory = _used([ma2l, "plan", "--rank-table-file", source, "--node-rank", "0", "true"])
        yield Reading("rank tables", case, form, "ma2l plan (s)", took)
        yield Reading("rank tables", case, form, "memory of ma2l plan (MiB)", memory)


def _used(command: Sequence[str]) -> tuple[bytes, float, float]:
    """A command's output, its seconds, and its peak in MiB."""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", _PROBE, *command], check=True, capture_output=True)
    took, memory = map(float, done.stderr.split(b"\n")[-2].split())
    return done.stdout, took, memory / 1024
