"""Where rank tables are announced, and reading one as soon as it is complete."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable

from ma2l import log
from ma2l.errors import ConfigError, GaveUpWaiting, Stopped
from ma2l.linux import libc
from ma2l.linux.wait import READABLE, STOP_SIGNALS, Waiter
from ma2l.platforms import mindcluster, modelarts
from ma2l.platforms.base import Environ
from ma2l.ranktable import TEXT_LIMIT, Incomplete, RankTable, parse
from ma2l.records import dataclass

VARIABLES = ("RANK_TABLE_FILE_V_1_0", "RANK_TABLE_FILE", "MINDSPORE_HCCL_CONFIG_PATH")
"""Inputs that name a table, the first that is set wins; a directory holds ``jobstart_hccl.json``."""
OPTION = "--rank-table-file"
MOUNTS = ((modelarts.CONFIG_DIR, modelarts.TABLE), (mindcluster.CONFIG_DIR, mindcluster.TABLE))
"""Directories whose mere presence announces a table."""

REPORT_EVERY = 10.0
"""Seconds between two lines about what is missing."""
LOOK_EVERY = 1.0
"""Seconds between two looks: inotify is blind to writes by other hosts on a shared file system."""


@dataclass(frozen=True)
class Announced:
    """A table that exists or is going to."""

    path: str
    """File, or directory that holds ``jobstart_hccl.json``."""
    by: str
    """What announced it."""


def announced(option: str | None, environ: Environ, isdir: Callable[[str], bool] = os.path.isdir) -> Announced | None:
    """Find out whether a rank table is to be expected, and where."""
    if option:
        return Announced(option, OPTION)
    for name in VARIABLES:
        if environ.get(name):
            return Announced(environ[name], name)
    for directory, file in MOUNTS:
        if isdir(directory):
            return Announced(f"{directory}/{file}", f"{directory} is mounted")
    return None


def read_when_complete(table: Announced, timeout: float, waiter: Waiter, guard: int | None) -> RankTable:
    """Wait until the table is there, whole and completed.

    Args:
        table: where to look.
        timeout: seconds.
        waiter: signals end the wait at once.
        guard: descriptor that hangs up when the guard dies.

    Raises:
        GaveUpWaiting: the time is over; the message ends with what the file holds.
        ConfigError: it is complete but wrong, or must not be read.
        Stopped: a stop signal arrived.
    """
    started = time.monotonic()
    found = look(table)
    if isinstance(found, RankTable):
        return found
    log.start()
    log.info(f"waiting up to {timeout:.0f} s for the rank table {file_of(table)} ({table.by}): {found.summary}")
    watch = watch_directory(table.path)
    fds = [(fd, events) for fd, events in ((guard, 0), (watch, READABLE)) if fd is not None]
    next_line = started + REPORT_EVERY
    try:
        while isinstance(found, Incomplete):
            now = time.monotonic()
            if now >= started + timeout:
                raise _gave_up(table, found, timeout)
            if now >= next_line:
                log.info(f"{found.summary}, {now - started:.0f} s")
                next_line = now + REPORT_EVERY  # not "+=": after a suspended laptop that would say it all at once
            log.status(f"{found.summary}, {now - started:.0f} of {timeout:.0f} s")
            wakeup = waiter.wait(fds, min(now + LOOK_EVERY, next_line, started + timeout))
            stop_if_asked(wakeup.signals, guard in wakeup.ready)
            if watch in wakeup.ready:
                os.read(watch, 65536)
            found = look(table)
    finally:
        if watch is not None:
            os.close(watch)
    return found


def look(table: Announced) -> RankTable | Incomplete:
    """Read the table once, or the route plan beside a platform's table where that is complete."""
    path = file_of(table)
    plan = os.path.join(os.path.dirname(path), modelarts.ROUTE_PLAN_TABLE)
    if table.by != OPTION and os.path.exists(plan):
        planned = _read(plan)
        if isinstance(planned, RankTable):
            return planned
    return _read(path)


def file_of(table: Announced) -> str:
    """Its path, where only a directory is known."""
    return os.path.join(table.path, modelarts.TABLE) if os.path.isdir(table.path) else table.path


def content(path: str) -> bytes:
    """What the file holds, no more than a table may hold.

    Raises:
        FileNotFoundError: there is none.
        OSError: with ESTALE, it is being replaced on a shared file system.
        ConfigError: it is no file, or must not be read.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(
                    f"read the rank table {path}", "it is no regular file, and a table is read more than once",
                    "write it to a file",
                )  # fmt: skip
            return file.read(TEXT_LIMIT + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno == errno.ESTALE:
            raise
        raise ConfigError(
            f"read the rank table {path}", str(error.strerror), "make it a file that this user may read"
        ) from None


def _read(path: str) -> RankTable | Incomplete:
    try:
        raw = content(path)
    except FileNotFoundError:
        return Incomplete("no such file yet")
    except OSError:  # another host replaced it on a shared file system while it was open
        return Incomplete("replaced while it was read")
    return parse(raw, path)


def _without_waiting(path: str, flags: int) -> int:
    """Opening a pipe would block, and no signal could end that, until somebody writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def watch_directory(path: str) -> int | None:
    """A ConfigMap is updated by renaming a symlink beside the file, so the directory is what changes."""
    directory = path if os.path.isdir(path) else os.path.dirname(path) or "."
    fd = None
    try:
        fd = libc.inotify_open()
        libc.inotify_watch(fd, directory, libc.IN_CLOSE_WRITE | libc.IN_MOVED_TO | libc.IN_CREATE)
    except OSError:  # no such directory yet, or the limit of watches: the look every second remains
        if fd is not None:
            os.close(fd)
        return None
    return fd


def stop_if_asked(signals: tuple[int, ...], guard_died: bool) -> None:
    """Leave a wait before the start.

    Raises:
        Stopped: a stop signal is among them, or the guard has died.
    """
    for signum in signals:
        if signum in STOP_SIGNALS:
            raise Stopped(signum)
    if guard_died:
        raise Stopped(9)


def _gave_up(table: Announced, found: Incomplete, timeout: float) -> GaveUpWaiting:
    try:
        with open(file_of(table), "rb") as file:
            head = file.read(300).decode("utf-8", "backslashreplace")
        content = f"its content is {' '.join(head.split())!r}" if head.strip() else "it is empty"
    except OSError as error:
        content = str(error.strerror)
    return GaveUpWaiting(
        f"start without the rank table {file_of(table)} ({table.by})",
        f"after {timeout:.0f} s: {found.summary} ({content})",
        "ask the platform why it is not completed, or raise --rank-table-timeout",
    )
