"""Files that somebody may read while they are written."""

from __future__ import annotations

import os


def write_whole(text: str, path: str) -> None:
    """Write a file whole or not at all: a reader sees the old content or the new, never a part.

    Args:
        text: bytes that are not UTF-8 (surrogates) are written as backslash escapes.

    Raises:
        OSError: the file system refused; what stood there stays.
    """
    part = f"{path}.{os.urandom(6).hex()}.part"  # in a shared directory a pid is nobody's own
    try:
        with open(part, "x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        os.replace(part, path)
    except OSError:  # a full disk may show only when the file is closed
        if os.path.exists(part):
            os.unlink(part)
        raise
