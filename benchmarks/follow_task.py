"""The measured part of the row about following: ``follow_task.py ma2l|loop FILE...``.

Copies finished log files to standard output, a pipe, with the rank in front of each line, alone in its interpreter:
ma2l's follower, or a loop that cares for nothing and blocks. Says on standard error the bytes, seconds and CPU seconds.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Sequence

from ma2l.logs.follow import Follower
from ma2l.logs.sink import Sink

CHUNK = 1 << 18
PIECE = 1 << 12


def followed(paths: Sequence[str]) -> int:
    """By ma2l, as in a run whose workers have just ended."""
    console = Sink(1)
    follower = Follower([(path, f"[{rank}] ") for rank, path in enumerate(paths)], console)
    for stream in follower._streams:
        os.lseek(stream.fd, 0, os.SEEK_SET)  # it begins at the end of what it finds
    room = select.poll()
    room.register(console.fd, select.POLLOUT)
    while not follower.finish():
        room.poll()
    return console.taken


def looped(paths: Sequence[str]) -> int:
    """By the least that Python can do about it."""
    written = 0
    for rank, path in enumerate(paths):
        prefix = b"[%d] " % rank
        with open(path, "rb", buffering=0) as file:
            while data := file.read(CHUNK):
                shown = memoryview(prefix + data.replace(b"\n", b"\n" + prefix))
                for start in range(0, len(shown), PIECE):
                    os.write(1, shown[start : start + PIECE])
                written += len(shown)
    return written


begun, used = time.monotonic(), time.process_time()
total = (followed if sys.argv[1] == "ma2l" else looped)(sys.argv[2:])
print(total, time.monotonic() - begun, time.process_time() - used, file=sys.stderr)
