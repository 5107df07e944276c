"""The console: follows the log files of selected ranks and copies whole lines, each with its rank in front.

Workers write straight to their files; this only reads them. When the console does not take more bytes we stop reading:
the backlog stays in the files, not in memory, and no worker notices. inotify says which file has grown.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

from ma2l import log
from ma2l.linux import libc
from ma2l.linux.wait import READABLE, WRITABLE
from ma2l.logs.sink import Sink

CONSOLE_BUDGET = 900 * 2**20
"""Bytes; ModelArts goes silent after 1 GiB of container output, and the verdict must still get through."""
_CHUNK = 256 * 1024
_CHUNKS_AT_ONCE = 16
"""Then the loop looks after signals and workers again, however fast these write."""
_LONGEST_LINE = 64 * 1024
_BATCH = 0.02
"""Seconds in which writes of all workers are gathered into one look, so that chatty workers do not wake us per line."""
_LOOK_WITHOUT_INOTIFY = 0.25
_EVENT = struct.Struct("iIII")
_OVERFLOW = -1
"""Instead of a watch: events were lost because nobody read them in time."""


class _Stream:
    """One log file, how far it has been copied, and the line that its writer has begun, as it will be shown."""

    def __init__(self, path: str, prefix: bytes) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        os.lseek(self.fd, 0, os.SEEK_END)  # what an earlier run left there has been shown
        self.path = path
        self._next = b"\n" + prefix
        self._begun = self._empty = prefix

    def lines(self) -> bytes | None:
        """The next whole lines with prefixes, maybe empty; ``None`` at the end of the file."""
        data = os.read(self.fd, _CHUNK)
        if not data:
            return self._restarted()
        shown = (self._begun + data).replace(b"\n", self._next)
        end = shown.rfind(b"\n") + 1
        if len(shown) - end > _LONGEST_LINE:  # broken here, so that the console's memory stays bounded
            self._begun = self._empty
            return shown + b"\n"
        self._begun = shown[end:]
        return shown[:end]

    def rest(self) -> bytes:
        """An unfinished last line, once its writer is gone."""
        last, self._begun = self._begun, self._empty
        return last + b"\n" if last != self._empty else b""

    def _restarted(self) -> bytes | None:
        """What a file still owes that has been truncated, and is read from its beginning next; ``None`` otherwise."""
        if os.fstat(self.fd).st_size >= os.lseek(self.fd, 0, os.SEEK_CUR):
            return None
        os.lseek(self.fd, 0, os.SEEK_SET)
        return self.rest()


class Follower:
    """Copies the files of the followed processes to the console, whenever the console has room.

    Args:
        files: pairs of log path and line prefix; the files are created where they do not exist.
        console: where lines go.
        others: further sinks whose kept bytes share the wait (the launcher's messages).

    Raises:
        OSError: a file cannot be opened.
    """

    def __init__(self, files: Sequence[tuple[str, str]], console: Sink, others: Sequence[Sink] = ()) -> None:
        self._console = console
        self._sinks = (console, *others)
        self._budget = CONSOLE_BUDGET - console.taken
        self._quiet_until: float | None = None
        self._by_watch: dict[int, _Stream] = {}
        self._inotify: int | None = None
        self._streams: list[_Stream] = []
        try:
            for path, prefix in files:
                self._streams.append(_Stream(path, prefix.encode()))
        except OSError:
            self._stop()
            raise
        self._grown = list(self._streams)
        self._inotify = self._watch()

    def interests(self) -> list[tuple[int, int]]:
        """What to wait for: room on the console while something is kept, else growth of a file."""
        wanted = [(sink.fd, WRITABLE) for sink in self._sinks if sink.pending]
        if self._inotify is not None and self._quiet_until is None and not self._console.pending:
            wanted.append((self._inotify, READABLE))
        return wanted

    @property
    def deadline(self) -> float | None:
        """When to look again without being told."""
        return None if self._console.pending else self._quiet_until

    def service(self, ready: Sequence[int], now: float) -> None:
        """Copy what has been written since, as far as the console takes it."""
        for sink in self._sinks:
            if sink.pending and sink.fd in ready:
                sink.flush()
        due = self._quiet_until is not None and now >= self._quiet_until
        if due or self._inotify in ready:
            self._quiet_until = None
            self._note_growth()
        if self._grown and not self._console.pending:
            self._copy()
            if self._grown:
                self._quiet_until = now
            elif self._streams:
                self._quiet_until = now + (_BATCH if self._inotify is not None else _LOOK_WITHOUT_INOTIFY)

    def finish(self) -> bool:
        """Copy the rest, unfinished last lines too; False while the console takes no more."""
        for sink in self._sinks:
            if sink.pending:
                sink.flush()
        self._grown = list(self._streams)
        while self._grown and not self._console.pending:
            self._copy()
        if self._console.pending:
            return False
        for stream in self._streams:
            self._emit(stream.rest())
        return not any(sink.pending for sink in self._sinks)

    def close(self) -> None:
        """Let go of the files."""
        self._stop()

    def _watch(self) -> int | None:
        """Watch the files; without inotify (the user's limit is reached) look every quarter of a second."""
        if not self._streams:
            return None
        fd = None
        try:
            fd = libc.inotify_open()
            for stream in self._streams:
                self._by_watch[libc.inotify_watch(fd, stream.path, libc.IN_MODIFY)] = stream
        except OSError:
            if fd is not None:
                os.close(fd)
            return None
        return fd

    def _note_growth(self) -> None:
        if self._inotify is None:
            self._grown = list(self._streams)
            return
        try:
            events = os.read(self._inotify, 65536)
        except BlockingIOError:
            return
        grown = dict.fromkeys(self._grown)
        for watch, _mask, _cookie, _length in _EVENT.iter_unpack(events):  # files, not directories: no name follows
            if watch in self._by_watch:
                grown[self._by_watch[watch]] = None
            elif watch == _OVERFLOW:
                grown.update(dict.fromkeys(self._streams))  # look everywhere
        self._grown = list(grown)

    def _copy(self) -> None:
        """One chunk of each file in turn until all are read, the console is full or others must have their turn."""
        for _ in range(_CHUNKS_AT_ONCE):
            if not self._grown or self._console.pending:
                return
            stream = self._grown.pop(0)
            try:
                lines = stream.lines()
            except OSError as error:  # a network file system lets its files go stale
                log.warning(f"the console follows {stream.path} no more: {error.strerror}")
                self._forget(stream)
                continue
            if lines is not None:
                self._grown.append(stream)
                self._emit(lines)

    def _emit(self, lines: bytes) -> None:
        if not self._streams:
            return
        self._budget -= len(lines)
        if self._budget < 0:
            lines = b"ma2l: the console has had its 900 MiB; the log files go on\n"
        log.clear_status()
        self._console.write(lines)
        if self._budget < 0 or self._console.closed:
            self._stop()

    def _forget(self, stream: _Stream) -> None:
        self._streams.remove(stream)
        self._by_watch = {watch: other for watch, other in self._by_watch.items() if other is not stream}
        os.close(stream.fd)

    def _stop(self) -> None:
        """Follow nothing any more, so that no file that grows wakes us."""
        for stream in self._streams:
            os.close(stream.fd)
        if self._inotify is not None:
            os.close(self._inotify)
        self._streams, self._grown, self._by_watch = [], [], {}
        self._inotify = self._quiet_until = None
