"""The measured part of the row about following: ``follow_task.py ma2l|loop DIRECTORY RANKS LINES``.

Copies finished log files to standard output, a pipe, with the rank in front of each line, alone in its interpreter:
ma2l's follower, or a loop that cares for nothing and blocks. Says on standard error the bytes, seconds and CPU seconds.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Sequence

from ma2l.logs.follow import Follower
from ma2l.logs.sink import Sink

CHUNK = 1 << 18
PIECE = 1 << 12


def follower(paths: Sequence[str]) -> Callable[[], int]:
    """ma2l's, as in a run whose workers write all at once and end; made before they do, for it shows what is new."""
    console = Sink(1)
    made = Follower([(path, f"[{rank}] ") for rank, path in enumerate(paths)], console)
    room = select.poll()
    room.register(console.fd, select.POLLOUT)

    def follow() -> int:
        while not made.finish():
            room.poll()
        return console.taken

    return follow


def loop(paths: Sequence[str]) -> Callable[[], int]:
    """The least that Python can do about it."""

    def follow() -> int:
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

    return follow


def main() -> None:
    """Write the files, follow them."""
    how, directory, ranks, lines = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    paths = [os.path.join(directory, f"{how}.rank{rank}.log") for rank in range(ranks)]
    follow = (follower if how == "ma2l" else loop)(paths)
    text = b"".join(b"%010d " % number + b"0" * 84 + b"\n" for number in range(lines))
    for path in paths:
        with open(path, "ab") as file:
            file.write(text)
    begun, used = time.monotonic(), time.process_time()
    total = follow()
    print(total, time.monotonic() - begun, time.process_time() - used, file=sys.stderr)
    for path in paths:
        os.unlink(path)


if __name__ == "__main__":
    main()
