"""Following log files: whole lines with prefixes, a bounded share of the loop, and no wake-ups for nothing."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ma2l import log
from ma2l.linux import libc
from ma2l.logs import follow
from ma2l.logs.follow import Follower
from ma2l.logs.sink import Sink


class Console:
    """A console file and its content."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.sink = Sink(self._fd)

    @property
    def text(self) -> bytes:
        return self._path.read_bytes()

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    opened = Console(tmp_path / "console")
    yield opened
    opened.close()


@pytest.fixture(params=["inotify", "no inotify"])
def watching(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With inotify and where the user's limit of instances is reached."""

    def refused() -> int:
        raise OSError(24, "Too many open files")

    if request.param == "no inotify":
        monkeypatch.setattr(libc, "inotify_open", refused)
    return str(request.param)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def turn(follower: Follower, now: float) -> None:
    """One turn of the loop at that time, with whatever is ready."""
    poll = select.poll()
    for fd, events in follower.interests():
        poll.register(fd, events)
    follower.service([fd for fd, _ in poll.poll(0)], now)


def test_lines_get_their_prefix_and_an_unfinished_one_waits(console: Console, tmp_path: Path, watching: str) -> None:
    path = tmp_path / "worker_3.log"
    follower = Follower([(str(path), "[3] ")], console.sink)
    turn(follower, 0.0)
    append(path, b"one\ntwo\nthr")
    turn(follower, 10.0)
    turn(follower, 20.0)
    assert console.text == b"[3] one\n[3] two\n"
    append(path, b"ee\n")
    turn(follower, 30.0)
    turn(follower, 40.0)
    assert console.text == b"[3] one\n[3] two\n[3] three\n"


def test_the_unfinished_last_line_is_shown_at_the_end(console: Console, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    follower = Follower([(str(path), "[0] ")], console.sink)
    append(path, b"done\nnot quite")
    assert follower.finish()
    assert console.text == b"[0] done\n[0] not quite\n"
    assert follower.finish()
    assert console.text.count(b"quite") == 1


def test_nul_bytes_and_invalid_utf8_pass_unchanged(console: Console, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    follower = Follower([(str(path), "")], console.sink)
    append(path, b"\x00\xff\xfe\r50%\n")
    follower.finish()
    assert console.text == b"\x00\xff\xfe\r50%\n"


def test_a_very_long_line_is_broken_and_complete(console: Console, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    follower = Follower([(str(path), "[0] ")], console.sink)
    line = bytes(range(97, 123)) * 100_000
    append(path, b"before\n" + line + b"\nafter\n")
    follower.finish()
    first, *pieces, last = console.text.splitlines()
    assert (first, last) == (b"[0] before", b"[0] after")
    assert all(piece.startswith(b"[0] ") for piece in pieces)
    assert b"".join(piece[4:] for piece in pieces) == line


def test_what_an_earlier_run_left_in_the_file_is_not_shown(console: Console, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    append(path, b"old\n")
    follower = Follower([(str(path), "")], console.sink)
    append(path, b"new\n")
    follower.finish()
    assert console.text == b"new\n"


def test_a_truncated_file_is_followed_from_its_beginning(console: Console, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    follower = Follower([(str(path), "")], console.sink)
    append(path, b"a long first line\n")
    turn(follower, 0.0)
    os.truncate(path, 0)
    turn(follower, 1.0)
    append(path, b"again\n")
    turn(follower, 2.0)
    turn(follower, 3.0)
    follower.finish()
    assert console.text == b"a long first line\nagain\n"


def test_what_was_written_right_after_a_truncation_is_shown_at_once(console: Console, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    follower = Follower([(str(path), "[0] ")], console.sink)
    append(path, b"a long first line\nbegun but not ended")
    turn(follower, 0.0)
    os.truncate(path, 0)
    append(path, b"again\n")
    turn(follower, 1.0)
    assert console.text == b"[0] a long first line\n[0] begun but not ended\n[0] again\n"


def test_nothing_is_wanted_while_nothing_happens(console: Console, tmp_path: Path) -> None:
    follower = Follower([(str(tmp_path / "a.log"), "")], console.sink)
    turn(follower, 0.0)
    turn(follower, 1.0)
    assert follower.deadline is None
    assert [events for _, events in follower.interests()] == [select.POLLIN]


def test_one_turn_is_bounded_however_much_there_is(
    console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "_CHUNK", 1000)
    path = tmp_path / "a.log"
    follower = Follower([(str(path), "")], console.sink)
    append(path, b"0123456\n" * 10_000)
    turn(follower, 5.0)
    assert len(console.text) <= 16 * 1000
    assert follower.deadline == 5.0, "the rest is due at once"


def test_a_closed_console_is_never_waited_for_again(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    path = tmp_path / "a.log"
    follower = Follower([(str(path), "")], Sink(writer))
    os.close(writer)
    append(path, b"x\n")
    turn(follower, 0.0)
    append(path, b"y\n")
    assert (follower.interests(), follower.deadline) == ([], None)
    turn(follower, 1.0)
    assert follower.finish()


def test_a_spent_budget_is_said_once_and_ends_the_following(
    console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "CONSOLE_BUDGET", 100)
    paths = [tmp_path / f"{number}.log" for number in range(3)]
    follower = Follower([(str(path), "") for path in paths], console.sink)
    for path in paths:
        append(path, b"x" * 60)
    assert follower.finish()
    assert console.text.count(b"900 MiB") == 1
    assert follower.interests() == []


def test_a_full_console_stops_the_reading(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    sink = Sink(writer)
    path = tmp_path / "a.log"
    follower = Follower([(str(path), "")], sink)
    append(path, b"0123456\n" * 100_000)
    turn(follower, 0.0)
    assert follower.interests() == [(sink.fd, select.POLLOUT)]
    assert follower.deadline is None
    assert not follower.finish()
    os.set_blocking(reader, False)
    read = b""
    while not follower.finish():
        read += os.read(reader, 65536)
    os.close(writer)
    os.close(sink.fd)
    while data := os.read(reader, 65536):
        read += data
    assert read == b"0123456\n" * 100_000
    os.close(reader)


def test_a_file_that_cannot_be_read_any_more_is_one_warning(
    console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(log, "warning", warnings.append)
    stale, fine = tmp_path / "stale.log", tmp_path / "fine.log"
    follower = Follower([(str(stale), ""), (str(fine), "")], console.sink)
    original: Callable[..., bytes | None] = follow._Stream.lines

    def lines(stream: follow._Stream) -> bytes | None:
        if stream.path == str(stale):
            raise OSError(116, "Stale file handle")
        return original(stream)

    monkeypatch.setattr(follow._Stream, "lines", lines)
    append(stale, b"lost\n")
    append(fine, b"kept\n")
    turn(follower, 0.0)
    assert follower.finish()
    assert console.text == b"kept\n"
    assert warnings == [f"the console follows {stale} no more: Stale file handle"]


def test_files_that_cannot_be_opened_cost_no_descriptors(console: Console, tmp_path: Path) -> None:
    files = [(str(tmp_path / "a.log"), ""), (str(tmp_path / "no" / "b.log"), "")]
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        Follower(files, console.sink)
    assert os.listdir("/proc/self/fd") == before


def test_a_lost_event_makes_it_look_everywhere(
    console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr(libc, "inotify_open", lambda: reader)
    monkeypatch.setattr(libc, "inotify_watch", lambda _fd, path, _mask: len(path))
    path = tmp_path / "a.log"
    follower = Follower([(str(path), "")], console.sink)
    os.write(writer, follow._EVENT.pack(999, 2, 0, 0))
    turn(follower, 0.0)
    append(path, b"unseen\n")
    os.write(writer, follow._EVENT.pack(-1, 0x4000, 0, 0))
    turn(follower, 1.0)
    assert console.text == b"unseen\n"
    os.close(reader)
    os.close(writer)
