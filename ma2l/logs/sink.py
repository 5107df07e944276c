"""A console that never blocks us.

Nobody may be reading our standard output: a pager, a paused ``docker attach``, a dead log collector. A blocking write
would stop the launcher, and with it the reaction to a failure. The flag ``O_NONBLOCK`` belongs to the open file
description, which we share with our parent, so it must not be set on the descriptor we were given.
"""

from __future__ import annotations

import os
import select
import stat
import time

_PIECE = 4096
"""Bytes (``PIPE_BUF``). A pipe takes that many whole or not at all, so lines never mix with those of another writer to
the same pipe: our own messages after ``2>&1``, the other launchers of a mock. And a pipe that polls writable takes them
without blocking."""


class Sink:
    """Standard output or error, written as far as it takes bytes; what it does not take is kept."""

    def __init__(self, fd: int) -> None:
        self._kept = b""
        self._written = 0
        """How much of what is kept has been written: to cut that off every time would copy the rest for every piece."""
        self.closed = False
        self._abandoned = False
        self.taken = 0
        """Bytes that were to be shown so far."""
        self.terminal = os.isatty(fd)
        self._blocks = False
        self.fd = fd
        self._regular = stat.S_ISREG(os.fstat(fd).st_mode)
        if self._regular:
            return  # never blocks; reopened it would start at offset 0 and overwrite what is there
        try:
            # A description of our own. Sockets cannot be reopened, nor can another user's terminal.
            self.fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_APPEND)
        except OSError:
            self._reopen_terminal(fd)

    @property
    def pending(self) -> bool:
        """Whether bytes wait for the descriptor to become writable."""
        return bool(self._kept)

    def write(self, data: bytes) -> None:
        """Take bytes; write what the descriptor accepts now and keep the rest."""
        if not self.closed:
            self.taken += len(data)
            self._kept = self._kept[self._written :] + data if self._kept else data
            self._written = 0
            self.flush()

    def flush(self) -> None:
        """Write what was kept, as far as the descriptor takes it."""
        view = memoryview(self._kept)
        try:
            while self._written < len(view) and self._writable():
                self._written += os.write(self.fd, view[self._written : self._end_of_piece()])
        except BlockingIOError:
            return  # full: what is left is kept, and the wait watches for room
        except OSError:
            self.closed = True  # the reader has gone (EPIPE) or the disk behind it is full; the files hold everything
            self._written = len(view)
        if self._written == len(view):
            self._drop()

    def settle(self, seconds: float) -> None:
        """Write what was kept, waiting for room so long at most: this process is about to end."""
        end = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        while self.pending and (left := end - time.monotonic()) > 0:
            poll.poll(left * 1000)
            self.flush()

    def abandon(self) -> None:
        """Drop what is kept and take no more: nobody reads it."""
        self._abandoned = not self.closed
        self.closed = True
        self._drop()

    def resume(self) -> None:
        """Take bytes again: whoever did not read may do so by now."""
        if self._abandoned:
            self._abandoned = self.closed = False

    def _reopen_terminal(self, fd: int) -> None:
        """Another way to a description of our own, where the terminal is another user's (after ``su``): a terminal that
        polls writable may have less room than a piece, and the write would block."""
        try:
            os.tcgetpgrp(fd)  # only of the controlling terminal
            self.fd = os.open("/dev/tty", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            self._blocks = True

    def _drop(self) -> None:
        self._kept, self._written = b"", 0

    def _end_of_piece(self) -> int:
        """As many whole lines as fit into one piece; a longer line goes in several."""
        end = self._written + _PIECE
        if self._regular or end >= len(self._kept):
            return len(self._kept)
        return self._kept.rfind(b"\n", self._written, end) + 1 or end

    def _writable(self) -> bool:
        if not self._blocks:
            return True
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        return bool(poll.poll(0))
