"""Waiting for a rank table, with a clock that only moves when it is told to."""

from __future__ import annotations

import errno
import io
import os
import select
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ma2l import log
from ma2l.errors import ConfigError, GaveUpWaiting, Stopped
from ma2l.linux import libc
from ma2l.linux.wait import READABLE, Waiter, Wakeup
from ma2l.mock.publish import configmap
from ma2l.platforms import tables
from ma2l.platforms.tables import OPTION, Announced, announced, read_when_complete
from ma2l.ranktable import RankTable

NAME = "jobstart_hccl.json"
INITIALIZING = '{"status":"initializing"}'
HALF = """{"status":"initializing","group_count":"1","group_list":[{"group_name":"g","device_count":"16",
"instance_count":"2","instance_list":[{"pod_name":"p-0","server_id":"s","devices":[
{"device_id":"0","device_ip":"192.1.1.1"},{"device_id":"1","device_ip":"192.1.1.2"}]}]}]}"""
COMPLETE = """{"status":"completed","version":"1.0","server_count":"1","server_list":[{"server_id":"s",
"device":[{"device_id":"0","device_ip":"192.1.1.1","rank_id":"0"}]}]}"""

LONG_AGO = 5000.0


class Scripted(Waiter):
    """A waiter and a clock: each wait jumps to its deadline, unless the script has something for that moment."""

    def __init__(self, script: dict[float, Callable[[Scripted], Wakeup]] | None = None) -> None:
        self.now = LONG_AGO
        self.waits: list[float] = []
        self.fds: list[tuple[int, int]] = []
        self._script = script or {}

    def monotonic(self) -> float:
        return self.now

    def wait(self, fds: Iterable[tuple[int, int]] = (), deadline: float | None = None) -> Wakeup:
        assert deadline is not None, "this wait must look again by itself"
        assert deadline > self.now, "this wait would spin"
        self.fds = list(fds)
        self.waits.append(deadline - self.now)
        due = [at for at in self._script if self.now < LONG_AGO + at <= deadline]
        if not due:
            self.now = deadline
            return Wakeup()
        self.now = LONG_AGO + min(due)
        return self._script[min(due)](self)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was said to the user."""
    lines: list[str] = []
    monkeypatch.setattr(log, "info", lines.append)
    monkeypatch.setattr(log, "start", lambda: None)
    return lines


def wait_with(waiter: Scripted, path: object, monkeypatch: pytest.MonkeyPatch, timeout: float = 1800.0) -> RankTable:
    monkeypatch.setattr(tables, "time", SimpleNamespace(monotonic=waiter.monotonic))
    return read_when_complete(Announced(str(path), "RANK_TABLE_FILE"), timeout, waiter, None)


def then(action: Callable[[], object]) -> Callable[[Scripted], Wakeup]:
    """Something happens that no descriptor tells of."""

    def do(_: Scripted) -> Wakeup:
        action()
        return Wakeup()

    return do


def test_a_line_every_ten_seconds_says_what_is_missing(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / NAME
    path.write_text(INITIALIZING)
    script = {14.5: then(lambda: path.write_text(HALF)), 35.2: then(lambda: path.write_text(COMPLETE))}
    wait_with(Scripted(script), path, monkeypatch)
    assert said == [
        f"waiting up to 1800 s for the rank table {path} (RANK_TABLE_FILE): still initializing",
        "still initializing, 10 s",
        "still initializing: 2 of 16 devices, 20 s",
        "still initializing: 2 of 16 devices, 30 s",
    ]


def test_a_complete_table_is_returned_without_a_word_or_a_wait(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / NAME
    path.write_text(COMPLETE)
    waiter = Scripted()
    assert wait_with(waiter, path, monkeypatch).form == "1.0"
    assert (waiter.waits, said) == ([], [])


def test_a_suspended_machine_says_one_line_when_it_goes_on(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / NAME
    path.write_text(INITIALIZING)

    def hour_passes(waiter: Scripted) -> Wakeup:
        waiter.now += 600
        return Wakeup()

    wait_with(Scripted({0.5: hour_passes, 605.0: then(lambda: path.write_text(COMPLETE))}), path, monkeypatch)
    assert said[1:] == ["still initializing, 600 s"]


@pytest.mark.parametrize("timeout", [0.0, 1.0, 3.4, 1800.0])
def test_the_wait_ends_exactly_at_the_timeout(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch, timeout: float
) -> None:
    waiter = Scripted()
    with pytest.raises(GaveUpWaiting, match=rf"after {timeout:.0f} s: no such file yet \(No such file or directory\)"):
        wait_with(waiter, tmp_path / NAME, monkeypatch, timeout)
    assert waiter.now == pytest.approx(LONG_AGO + timeout)
    assert max(waiter.waits, default=0) <= 1.0
    assert len(said) == max(1, int(timeout / 10))


def test_the_summary_of_a_directory_is_of_the_table_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / NAME).write_text(INITIALIZING + " " * 1000 + "end")
    with pytest.raises(GaveUpWaiting, match="its content is") as error:
        wait_with(Scripted(), tmp_path, monkeypatch, 1.0)
    assert "initializing" in str(error.value)
    assert "end" not in str(error.value)


def noticed(change: Callable[[], object]) -> Callable[[Scripted], Wakeup]:
    """The file changes; the descriptors that are waited for tell what they noticed of it."""

    def do(waiter: Scripted) -> Wakeup:
        change()
        poll = select.poll()
        for fd, events in waiter.fds:
            poll.register(fd, events)
        return Wakeup((), tuple(fd for fd, _ in poll.poll(0)))

    return do


def replace(path: Path) -> None:
    """Put a complete table in the place of whatever is there, whole."""
    part = path.with_suffix(".part")
    part.write_text(COMPLETE)
    part.replace(path)


@pytest.mark.parametrize("named", ["directory", "file"])
@pytest.mark.parametrize("way", ["swap", "replaced", "rewritten", "appears"])
def test_the_watch_notices_every_way_a_table_completes(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch, named: str, way: str
) -> None:
    path = tmp_path / NAME
    if way == "swap":
        configmap(str(tmp_path), NAME, INITIALIZING)
    elif way != "appears":
        path.write_text(INITIALIZING)
    changes: dict[str, Callable[[], object]] = {
        "swap": lambda: configmap(str(tmp_path), NAME, COMPLETE),
        "rewritten": lambda: path.write_text(COMPLETE),
    }
    woken: list[Wakeup] = []

    def change(waiter: Scripted) -> Wakeup:
        woken.append(noticed(changes.get(way, lambda: replace(path)))(waiter))
        return woken[0]

    waiter = Scripted({0.25: change})
    wait_with(waiter, tmp_path if named == "directory" else path, monkeypatch)
    assert [events for _, events in waiter.fds] == [READABLE]
    assert woken[0].ready == (waiter.fds[0][0],)
    assert waiter.now == LONG_AGO + 0.25
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(waiter.fds[0][0])


@pytest.mark.parametrize("refused", ["inotify_open", "inotify_watch"])
def test_without_inotify_the_swap_is_seen_by_the_look_every_second(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE if refused == "inotify_open" else errno.ENOSPC, "limit reached")

    monkeypatch.setattr(libc, refused, refuse)
    open_before = os.listdir("/proc/self/fd")
    configmap(str(tmp_path), NAME, INITIALIZING)
    waiter = Scripted({2.5: then(lambda: configmap(str(tmp_path), NAME, COMPLETE))})
    wait_with(waiter, tmp_path, monkeypatch)
    assert waiter.fds == []
    assert waiter.now <= LONG_AGO + 3.0
    assert len(os.listdir("/proc/self/fd")) == len(open_before)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_stop_signal_ends_the_wait_at_once(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch, signum: int
) -> None:
    waiter = Scripted({0.1: lambda _: Wakeup((signal.SIGUSR1, signum))})
    with pytest.raises(Stopped) as stop:
        wait_with(waiter, tmp_path / NAME, monkeypatch)
    assert (stop.value.signum, waiter.now) == (signum, LONG_AGO + 0.1)


def test_other_signals_do_not_end_the_wait(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    waiter = Scripted({0.1: lambda _: Wakeup((signal.SIGUSR1, signal.SIGCHLD, signal.SIGCONT))})
    with pytest.raises(GaveUpWaiting):
        wait_with(waiter, tmp_path / NAME, monkeypatch, 5.0)


def test_a_stale_file_handle_is_waited_out(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / NAME).write_text(COMPLETE)
    failures = [errno.ESTALE, errno.ESTALE]

    def flaky(path: str, mode: str, **options: Any) -> Any:
        if failures:
            raise OSError(failures.pop(), "Stale file handle")
        return io.open(path, mode, **options)  # noqa: UP020 - the builtin is what is replaced here

    monkeypatch.setattr(tables, "open", flaky, raising=False)
    assert wait_with(Scripted(), tmp_path / NAME, monkeypatch).form == "1.0"
    assert said[0].endswith("replaced while it was read")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR, errno.ELOOP])
def test_other_refusals_of_the_file_system_are_final(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(path: str, mode: str, **options: Any) -> Any:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tables, "open", refuse, raising=False)
    with pytest.raises(ConfigError, match=os.strerror(number)):
        wait_with(Scripted(), tmp_path / NAME, monkeypatch)
    assert said == []


EVERYTHING = {
    "RANK_TABLE_FILE_V_1_0": "/v1",
    "RANK_TABLE_FILE": "/file",
    "MINDSPORE_HCCL_CONFIG_PATH": "/mindspore",
}
MODELARTS, MINDCLUSTER = "/user/config", "/user/serverid/devindex/config"


@pytest.mark.parametrize(
    ("option", "variables", "mounted", "path"),
    [
        ("/option", tuple(EVERYTHING), (MODELARTS, MINDCLUSTER), "/option"),
        (None, tuple(EVERYTHING), (MODELARTS,), "/v1"),
        (None, ("RANK_TABLE_FILE", "MINDSPORE_HCCL_CONFIG_PATH"), (MODELARTS,), "/file"),
        (None, ("MINDSPORE_HCCL_CONFIG_PATH",), (MODELARTS,), "/mindspore"),
        (None, (), (MODELARTS, MINDCLUSTER), "/user/config/jobstart_hccl.json"),
        (None, (), (MINDCLUSTER,), "/user/serverid/devindex/config/hccl.json"),
    ],
)
def test_the_first_announcement_counts(
    option: str | None, variables: tuple[str, ...], mounted: tuple[str, ...], path: str
) -> None:
    environ = {name: EVERYTHING[name] for name in variables}
    found = announced(option, environ, lambda directory: directory in mounted)
    assert found is not None
    assert found.path == path


def test_nothing_is_announced_by_empty_variables() -> None:
    assert announced("", dict.fromkeys(EVERYTHING, ""), lambda _: False) is None


def test_a_file_that_the_user_names_is_not_replaced_by_a_route_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / NAME).write_text(COMPLETE)
    (tmp_path / "jobstart_routeplan.json").write_text(COMPLETE.replace('"server_id":"s"', '"server_id":"planned"'))
    path = str(tmp_path / NAME)
    found = {
        by: read_when_complete(Announced(path, by), 0.0, Scripted(), None).nodes[0].server_id
        for by in (OPTION, "RANK_TABLE_FILE")
    }
    assert found == {OPTION: "s", "RANK_TABLE_FILE": "planned"}
