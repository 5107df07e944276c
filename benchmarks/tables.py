"""Row about rank tables: time and memory by the number of servers, each measured in an interpreter of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks import ranktable_scale
from benchmarks.readings import Reading

DEVICES = 16


def tables(directory: str, servers: int, form: str) -> Iterator[Reading]:
    """Read, check and write a table; plan a job of it."""
    source, target = os.path.join(directory, "source.json"), os.path.join(directory, "target.json")
    with open(source, "w", encoding="ascii") as file:
        json.dump(ranktable_scale.FORMS[form](servers, DEVICES), file)
    case = f"{servers} servers"
    command = [sys.executable, ranktable_scale.__file__, "--handle", source, target]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    *stages, _, memory = json.loads(answer)
    yield Reading("rank tables", case, form, "read, check, write (s)", sum(stages))
    yield Reading("rank tables", case, form, "memory (MiB)", memory)
    if form in ("1.0", "1.2"):
        yield from _plan(source, case, form)


def _plan(source: str, case: str, form: str) -> Iterator[Reading]:
    ma2l = os.path.join(os.path.dirname(sys.executable), "ma2l")
    command = [ma2l, "plan", "--rank-table-file", source, "--node-rank", "0", "true"]
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        raise subprocess.CalledProcessError(status, command)
    yield Reading("rank tables", case, form, "ma2l plan (s)", time.monotonic() - begun)
    yield Reading("rank tables", case, form, "memory of ma2l plan (MiB)", used.ru_maxrss / 1024)
