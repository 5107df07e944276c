"""A rank table after an in-place restart: whether an earlier start used it, and whether it changes."""

from __future__ import annotations

import json
import select
from collections.abc import Callable
from pathlib import Path

import pytest

from ma2l import log
from ma2l.errors import ConfigError, Stopped, TableChanged
from ma2l.linux.wait import Wakeup
from ma2l.mock.publish import configmap
from ma2l.platforms.modelarts import MODELARTS
from ma2l.platforms.stale import TableWatch, links_timeout, used_before
from ma2l.platforms.tables import Announced
from ma2l.ranktable import RankTable, parse
from tests.unit.scenario import NoWaiting, server_list

OLD = server_list({"server_id": "old", "devices": [(0, 0), (1, 1)]})
NEW = server_list({"server_id": "new", "devices": [(0, 0), (1, 1)]})
NAME = "jobstart_hccl.json"
INITIALIZING = '{"status":"initializing"}'


class Once(NoWaiting):
    """A wait during which something happens."""

    def __init__(self, step: Callable[[], Wakeup | None]) -> None:
        super().__init__()
        self._steps = [step]

    def wait(self, fds: object = (), deadline: float | None = None) -> Wakeup:
        return self._steps.pop()() or Wakeup()


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(log, "start", lambda: None)
    monkeypatch.setattr(log, "info", lines.append)
    return lines


@pytest.fixture
def directory(tmp_path: Path) -> str:
    configmap(str(tmp_path), NAME, OLD)
    return str(tmp_path)


def watching(directory: str) -> tuple[TableWatch, list[TableChanged]]:
    """A watch of the table in the directory as it is now, in its first moment, and what it ends the run with."""
    table = parse(Path(directory, NAME).read_bytes(), "T")
    assert isinstance(table, RankTable)
    watch, errors = TableWatch(Announced(directory, "a test"), table, links=60), list[TableChanged]()
    watch.call_off = errors.append
    return watch, errors


def look(watch: TableWatch, now: float = 1.0) -> None:
    """What the loop does when it wakes up."""
    ready = [fd for fd, _ in watch.interests() if select.select([fd], [], [], 0)[0]]
    watch.service(ready, now)


def test_tables_of_earlier_starts_are_known_by_the_plans_they_left(tmp_path: Path) -> None:
    (tmp_path / "node0.plan.json").write_text(json.dumps({"files": [{"sha256": "a"}]}))
    (tmp_path / "node3.plan.attempt2.json").write_text(json.dumps({"files": [{"sha256": "b"}, {"sha256": "c"}]}))
    (tmp_path / "node4.plan.json").write_text('{"files": 1}')
    (tmp_path / "node5.plan.json").write_text("torn {")
    (tmp_path / "node0.outcome.json").write_text(json.dumps({"files": [{"sha256": "d"}]}))
    assert used_before(str(tmp_path)) == {"a", "b", "c"}


def test_where_no_start_has_been_no_table_is_known(tmp_path: Path) -> None:
    assert used_before(f"{tmp_path}/none") == set()


@pytest.mark.parametrize(("value", "seconds"), [(None, 1800), ("", 1800), ("600", 600)])
def test_how_long_links_may_take(value: str | None, seconds: int) -> None:
    assert links_timeout({} if value is None else {"HCCL_CONNECT_TIMEOUT": value}, MODELARTS) == seconds


def test_a_timeout_that_is_no_number_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"^cannot use HCCL_CONNECT_TIMEOUT='x'"):
        links_timeout({"HCCL_CONNECT_TIMEOUT": "x"}, MODELARTS)


@pytest.mark.parametrize("text", [NEW, INITIALIZING, "", '{"status":"completed"}'])
def test_any_other_content_is_a_change_before_the_start(directory: str, text: str) -> None:
    watch, _ = watching(directory)
    assert watch.settle(60, Once(lambda: configmap(directory, NAME, text)), None)
    watch.close()


def test_the_same_content_is_none_and_no_time_is_one_look(directory: str, said: list[str]) -> None:
    watch, _ = watching(directory)
    configmap(directory, NAME, OLD + "\n")
    assert not watch.settle(0, NoWaiting(), None)
    assert said == []
    watch.close()


def test_a_stop_signal_ends_that_time(directory: str) -> None:
    watch, _ = watching(directory)
    with pytest.raises(Stopped):
        watch.settle(60, Once(lambda: Wakeup(signals=(15,))), None)
    watch.close()


def test_only_another_complete_table_ends_a_run(directory: str) -> None:
    watch, errors = watching(directory)
    look(watch)
    for text in (INITIALIZING, '{"status":"completed"}', OLD + "\n"):
        configmap(directory, NAME, text)
        look(watch)
    assert errors == []
    configmap(directory, NAME, NEW)
    look(watch)
    assert [error.exit_code for error in errors] == [203]
    assert watch.interests() == []


def test_once_links_are_up_a_change_ends_nothing(directory: str) -> None:
    watch, errors = watching(directory)
    look(watch, 100.0)
    assert watch.deadline == 160.0
    configmap(directory, NAME, NEW)
    look(watch, 160.0)
    assert (errors, watch.interests()) == ([], [])
    look(watch, 161.0)
    assert watch.deadline is None


def test_a_directory_that_cannot_be_watched_is_no_reason_to_fail(
    directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ma2l.platforms.tables.watch_directory", lambda path: None)
    watch, errors = watching(directory)
    configmap(directory, NAME, NEW)
    look(watch)
    assert (errors, watch.interests()) == ([], [])
    watch.close()
