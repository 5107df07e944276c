"""The console never blocks, never breaks what another writer says, and never overwrites a file."""

from __future__ import annotations

import errno
import os
import pty
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ma2l.logs.sink import Sink


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            continue


def drained(fd: int) -> bytes:
    """What is in the pipe now."""
    os.set_blocking(fd, False)
    found = b""
    try:
        while data := os.read(fd, 65536):
            found += data
    except BlockingIOError:
        return found
    return found


def read_all(sink: Sink, fd: int) -> bytes:
    """Read until the sink has nothing left to say."""
    read = drained(fd)
    while sink.pending:
        sink.flush()
        read += drained(fd)
    return read


def test_a_full_pipe_keeps_the_rest_and_loses_nothing(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sink = Sink(writer)
    data = b"".join(b"line %d\n" % number for number in range(50_000))
    sink.write(data)
    assert sink.pending
    assert read_all(sink, reader) == data


def test_what_comes_while_a_part_is_kept_follows_it(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sink = Sink(writer)
    first, second = b"a" * 99 + b"\n", b"b" * 99 + b"\n"
    sink.write(first * 1_500)
    read = drained(reader)
    sink.flush()
    assert sink.pending
    sink.write(second * 1_500)
    assert read + read_all(sink, reader) == first * 1_500 + second * 1_500


def test_the_given_descriptor_stays_blocking(pipe: tuple[int, int]) -> None:
    Sink(pipe[1]).write(b"x")
    assert os.get_blocking(pipe[1])


def test_whole_lines_of_two_writers_to_one_pipe_do_not_mix(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sinks = {Sink(writer): b"a" * 700 + b"\n", Sink(writer): b"b" * 900 + b"\n"}
    for sink, line in sinks.items():
        sink.write(line * 300)
    read = b""
    while any(sink.pending for sink in sinks):
        read += drained(reader)
        for sink in sinks:
            sink.flush()
    lines = (read + drained(reader)).splitlines(keepends=True)
    assert sorted(lines) == sorted(line for line in sinks.values() for _ in range(300))


def test_a_line_longer_than_a_piece_arrives_whole(pipe: tuple[int, int]) -> None:
    Sink(pipe[1]).write(b"y" * 20_000 + b"\nnext\n")
    assert drained(pipe[0]) == b"y" * 20_000 + b"\nnext\n"


def test_a_slow_reader_gets_the_last_lines_before_the_end(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sink = Sink(writer)
    data = b"".join(b"line %d\n" % number for number in range(50_000))
    sink.write(data)
    read: list[bytes] = []
    thread = threading.Thread(target=lambda: read.extend(iter(lambda: os.read(reader, 4096), b"")), daemon=True)
    thread.start()
    sink.settle(60)
    assert not sink.pending
    os.close(writer)
    os.close(sink.fd)
    thread.join()
    assert b"".join(read) == data


def test_the_end_waits_for_nobody_for_ever(pipe: tuple[int, int]) -> None:
    sink = Sink(pipe[1])
    sink.write(b"z" * 100_000)
    sink.settle(0.01)
    assert sink.pending


def test_a_terminal_of_another_user_does_not_block() -> None:
    """It cannot be reopened by its descriptor; a full one polls writable all the same."""
    pid, master = pty.fork()
    if pid == 0:
        opened = os.open

        def refuse(path: str, flags: int, *more: int) -> int:
            if path.startswith("/proc/self/fd/"):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            return opened(path, flags, *more)

        signal.alarm(30)  # ends this child where it blocks
        os.open = refuse  # type: ignore[assignment]
        sink = Sink(1)
        for length in (1, 99, 999, 4096):
            sink.write((b"x" * length + b"\n") * 1000)
        os._exit(0 if sink.pending else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(master)


def test_a_reader_that_has_gone_closes_the_sink(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.close(reader)
    sink = Sink(writer)
    sink.write(b"nobody hears this\n")
    assert (sink.closed, sink.pending) == (True, False)
    sink.write(b"nor this\n")
    assert not sink.pending


def test_an_abandoned_sink_may_be_read_again(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sink = Sink(writer)
    sink.write(b"z" * 100_000)
    sink.abandon()
    drained(reader)
    sink.resume()
    sink.write(b"again\n")
    assert os.read(reader, 100) == b"again\n"


def test_a_sink_whose_reader_has_gone_stays_closed(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    sink = Sink(writer)
    os.close(reader)
    sink.write(b"x")
    sink.abandon()
    sink.resume()
    assert sink.closed


def test_a_full_disk_closes_the_sink() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    sink = Sink(fd)
    sink.write(b"x\n")
    assert sink.closed
    os.close(fd)


@pytest.mark.parametrize("mode", [os.O_APPEND, 0])
def test_a_regular_file_keeps_what_is_there(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"before\n")
    fd = os.open(path, os.O_WRONLY | mode)
    os.lseek(fd, 0, os.SEEK_END)
    Sink(fd).write(b"ours\n")
    os.write(fd, b"after\n")
    os.close(fd)
    assert path.read_bytes() == b"before\nours\nafter\n"


def test_a_socket_is_written_without_blocking() -> None:
    ours, theirs = socket.socketpair()
    sink = Sink(ours.fileno())
    data = b"0123456\n" * 100_000
    sink.write(data)
    assert sink.pending
    assert read_all(sink, theirs.fileno()) == data
    assert os.get_blocking(ours.fileno())
    ours.close()
    theirs.close()


def test_a_terminal_is_known_as_one() -> None:
    master, slave = pty.openpty()
    sink = Sink(slave)
    sink.write(b"hello\n")
    assert sink.terminal
    seen = b""
    while not seen.endswith(b"\n"):  # a terminal hands out a line in as many pieces as it likes
        seen += os.read(master, 100)
    assert seen == b"hello\r\n"
    os.close(slave)
    os.close(master)
    sink.write(b"hung up\n")
    assert sink.closed


def test_an_abandoned_sink_drops_what_it_kept(pipe: tuple[int, int]) -> None:
    sink = Sink(pipe[1])
    sink.write(b"z" * 100_000)
    sink.abandon()
    assert (sink.closed, sink.pending) == (True, False)
