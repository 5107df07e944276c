"""Reads no more of a log than its end, whatever the file is and however large."""

from __future__ import annotations

import os
import stat

LIMIT = 64 * 1024
"""Bytes of a log that are looked at: some hundred lines, more than any traceback has."""


def last_bytes(path: str | None, limit: int = LIMIT) -> bytes:
    """The end of a file from the beginning of a line on; empty when it cannot be read or is no regular file."""
    if path is None:
        return b""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO of that name must not block
    except (OSError, ValueError):  # ValueError: a NUL in a name that somebody wrote into an outcome file
        return b""
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return b""
        start = max(0, status.st_size - limit)
        return _whole_lines(os.pread(fd, limit, start), torn=start > 0)
    except OSError:
        return b""
    finally:
        os.close(fd)


def _whole_lines(data: bytes, torn: bool) -> bytes:
    """Without the rest of a line whose beginning was not read, unless there is nothing else."""
    _, newline, rest = data.partition(b"\n")
    return rest if torn and newline and rest.strip() else data
