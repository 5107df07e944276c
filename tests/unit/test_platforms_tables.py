"""Where rank tables are announced, and waiting for one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ma2l import log
from ma2l.errors import ConfigError, GaveUpWaiting, Stopped
from ma2l.linux.wait import Wakeup
from ma2l.platforms.tables import Announced, announced, read_when_complete
from tests.unit.scenario import NoWaiting, server_list

TABLE = server_list({"server_id": "s0", "devices": [(0, 0), (1, 1)]})


class Script(NoWaiting):
    """Each wait does the next thing and then wakes up."""

    def __init__(self, *steps: Callable[[], Wakeup | None]) -> None:
        super().__init__()
        self._steps = list(steps)

    def wait(self, fds: object = (), deadline: float | None = None) -> Wakeup:
        return self._steps.pop(0)() or Wakeup()


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(log, "start", lambda: None)
    monkeypatch.setattr(log, "info", lines.append)
    return lines


@pytest.mark.parametrize(
    ("option", "environ", "mounted", "path", "by"),
    [
        ("mine", {"RANK_TABLE_FILE": "b"}, "/user/config", "mine", "--rank-table-file"),
        (None, {"RANK_TABLE_FILE": "b", "RANK_TABLE_FILE_V_1_0": "a"}, "", "a", "RANK_TABLE_FILE_V_1_0"),
        (None, {"RANK_TABLE_FILE": "b", "MINDSPORE_HCCL_CONFIG_PATH": "c"}, "/user/config", "b", "RANK_TABLE_FILE"),
        (None, {"RANK_TABLE_FILE": "", "MINDSPORE_HCCL_CONFIG_PATH": "c"}, "", "c", "MINDSPORE_HCCL_CONFIG_PATH"),
        (None, {}, "/user/config", "/user/config/jobstart_hccl.json", "/user/config is mounted"),
        (None, {}, "/user/serverid/devindex/config", "/user/serverid/devindex/config/hccl.json",
            "/user/serverid/devindex/config is mounted"),
    ],
)  # fmt: skip
def test_where_a_table_is_announced(
    option: str | None, environ: dict[str, str], mounted: str, path: str, by: str
) -> None:
    assert announced(option, environ, lambda directory: directory == mounted) == Announced(path, by)


def test_nothing_announces_a_table() -> None:
    assert announced(None, {"RANK_TABLE_FILE": ""}, lambda directory: False) is None


def read(path: Path, waiter: NoWaiting | None = None, timeout: float = 1800, guard: int | None = None) -> str:
    return read_when_complete(Announced(str(path), "a test"), timeout, waiter or NoWaiting(), guard).source


def test_a_complete_table_is_read_at_once(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "t.json").write_text(TABLE)
    assert read(tmp_path / "t.json") == f"{tmp_path}/t.json"
    assert said == []


def test_a_directory_holds_the_table_of_modelarts(tmp_path: Path) -> None:
    (tmp_path / "jobstart_hccl.json").write_text(TABLE)
    assert read(tmp_path) == f"{tmp_path}/jobstart_hccl.json"


def test_a_completed_route_plan_wins_and_an_incomplete_one_does_not(tmp_path: Path) -> None:
    (tmp_path / "jobstart_hccl.json").write_text(TABLE)
    plan = tmp_path / "jobstart_routeplan.json"
    plan.write_text('{"status":"initializing"}')
    assert read(tmp_path) == f"{tmp_path}/jobstart_hccl.json"
    plan.write_text(TABLE)
    assert read(tmp_path) == f"{tmp_path}/jobstart_routeplan.json"


def test_missing_empty_torn_and_initializing_are_waited_for(tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "config" / "t.json"

    def writes(text: str) -> Callable[[], None]:
        def write() -> None:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

        return write

    steps = [writes(text) for text in ("", TABLE[:40], '{"status":"initializing"}', TABLE)]
    assert read(path, Script(*steps)) == str(path)
    assert said == [f"waiting up to 1800 s for the rank table {path} (a test): no such file yet"]


def test_a_configmap_swap_wakes_the_directory_watch(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('{"status":"initializing"}')
    seen: list[int] = []

    class Watching(NoWaiting):
        def wait(self, fds: object = (), deadline: float | None = None) -> Wakeup:
            assert isinstance(fds, list)
            (fd, _events) = fds[0]
            (tmp_path / "new").write_text(TABLE)
            os.rename(tmp_path / "new", path)
            seen.append(fd)
            return Wakeup(ready=(fd,))

    assert read(path, Watching()) == str(path)
    assert len(seen) == 1


def test_a_stop_signal_ends_the_wait_and_others_do_not(tmp_path: Path) -> None:
    waiter = Script(lambda: Wakeup((signal.SIGUSR1,)), lambda: Wakeup((signal.SIGUSR1, signal.SIGTERM)))
    with pytest.raises(Stopped) as stop:
        read(tmp_path / "t.json", waiter)
    assert stop.value.signum == signal.SIGTERM


def test_the_death_of_the_guard_ends_the_wait(tmp_path: Path) -> None:
    with pytest.raises(Stopped) as stop:
        read(tmp_path / "t.json", Script(lambda: Wakeup(ready=(77,))), guard=77)
    assert stop.value.signum == signal.SIGKILL


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "no such file yet (No such file or directory)"),
        (" ", "(it is empty)"),
        ('{"status":\n "initializing"}', '(its content is \'{"status": "initializing"}\')'),
    ],
)
@pytest.mark.parametrize("as_directory", [True, False])
def test_giving_up_tells_what_is_there(tmp_path: Path, content: str | None, told: str, as_directory: bool) -> None:
    path = tmp_path / "jobstart_hccl.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(GaveUpWaiting) as error:
        read(tmp_path if as_directory else path, timeout=0)
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("; ask the platform why it is not completed, or raise --rank-table-timeout")
    assert error.value.exit_code == 203


def test_wrong_content_and_unreadable_files_are_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('{"status":"completed","version":"1.0","server_list":[]}')
    with pytest.raises(ConfigError, match="cannot use the rank table"):
        read(path)
    with pytest.raises(ConfigError) as error:
        read(path / "below")
    assert str(error.value) == (
        f"cannot read the rank table {path}/below: Not a directory; make it a file that this user may read"
    )
