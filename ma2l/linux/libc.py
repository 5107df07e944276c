"""The system calls that the standard library lacks, through ctypes: ``prctl`` and ``inotify``."""

from __future__ import annotations

import ctypes
import os

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h

IN_MODIFY = 0x2  # linux/inotify.h
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_CLOSE_WRITE = 0x8
IN_NONBLOCK = os.O_NONBLOCK
IN_CLOEXEC = os.O_CLOEXEC

_libc = ctypes.CDLL(None, use_errno=True)


def become_subreaper() -> None:
    """Make orphaned descendants children of this process instead of PID 1's (Linux >= 3.4).

    The attribute is not inherited by ``fork``: every process that wants it asks for itself.

    Raises:
        OSError: the kernel refused.
    """
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl(PR_SET_CHILD_SUBREAPER)")


def inotify_open() -> int:
    """Open a non-blocking inotify instance.

    Raises:
        OSError: EMFILE when the user's limit of instances (``fs.inotify.max_user_instances``) is reached.
    """
    return _checked(_libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC), "inotify_init1")


def inotify_watch(fd: int, path: str, mask: int) -> int:
    """Watch a file or a directory; returns the watch descriptor that events carry.

    Raises:
        OSError: the path does not exist, is unreadable, or the limit of watches is reached.
    """
    return _checked(_libc.inotify_add_watch(fd, os.fsencode(path), mask), f"inotify_add_watch({path})")


def _checked(result: int, call: str) -> int:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{call}: {os.strerror(errno)}")
    return result
