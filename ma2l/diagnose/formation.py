"""How far a MindSpore dynamic cluster got, as its scheduler's log tells.

Source: what ``meta_server_node.cc`` of MindSpore 2.10 writes; samples are in ``tests/data/mindspore``. Those lines are
warnings, so nothing is known where ``GLOG_v`` is 3 or more. Much of the log is read, because the lines stand before as
many others as there are half seconds in the timeout.
"""

from __future__ import annotations

import re

from ma2l.diagnose.ends import last_bytes

_LIMIT = 8 * 1024 * 1024
_BEGINS = b"] Begin to Initialize MetaServerNode."
_LISTENS = b"] Finish to Initialize MetaServerNode."
_CAME = re.compile(
    rb"The new node: (\S{1,300})\(role: MS_WORKER\).{0,300} is registered successfully\."
    rb" Currently registered node number: (\d{1,7}), expected node number: (\d{1,7})\b"
)


def shortfall(log: str | None) -> str:
    """What to say of a cluster that did not form; empty where the log does not tell that workers were missing.

    Args:
        log: path of the scheduler's log.
    """
    listens, came, expected = False, 0, 0
    ids: set[bytes] = set()
    for line in _lines(log):
        match = _CAME.search(line)
        if _BEGINS in line:  # an earlier scheduler wrote to the same file
            listens, came, expected = False, 0, 0
            ids.clear()
        elif _LISTENS in line:
            listens = True
        elif match:
            ids.add(match[1])
            came, expected = int(match[2]), int(match[3])
    if not listens or (came > 0 and came >= expected):
        return ""
    number = f"{came} of {expected} workers" if came else "no worker"
    return (
        f"the dynamic cluster did not form: {number} came in time{_missing(ids, expected)}; "
        "see why the others did not start or cannot reach the scheduler, or give them more time"
    )


def _missing(ids: set[bytes], expected: int) -> str:
    """Which ranks did not come, where workers registered under their ranks."""
    if not ids or not all(node.isdigit() for node in ids):
        return ""
    ranks = [str(rank) for rank in range(expected) if b"%d" % rank not in ids]
    shown = ", ".join(ranks[:8]) + (", ..." if len(ranks) > 8 else "")
    return f" (without rank{'s'[: len(ranks) > 1]} {shown})"


def _lines(path: str | None) -> list[bytes]:
    return last_bytes(path, _LIMIT).split(b"\n")
