"""What a plan needs to know of this host and this moment."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ma2l import log, site
from ma2l.errors import ConfigError, GaveUpWaiting, Stopped, SystemRefused
from ma2l.linux import net
from ma2l.linux.wait import Wakeup
from ma2l.plan.spec import Site
from ma2l.platforms.bare import BARE
from ma2l.platforms.base import Platform
from ma2l.platforms.modelarts import MODELARTS
from ma2l.settings import Settings
from tests.unit.scenario import NoWaiting


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(log, "warning", lines.append)
    return lines


def gather(log_dir: str | None, environ: dict[str, str] | None = None, platform: Platform = BARE) -> Site:
    options = Settings(log_dir=log_dir)
    return site.gather(
        options, environ or {}, platform, 0, program="p", run_id="RUN", run_dir="/run", master_ip="10.0.0.1"
    )


def test_the_option_names_the_log_directory_and_nothing_is_written(tmp_path: Path) -> None:
    here = gather(f"{tmp_path}/a/b")
    assert (here.log_dir, here.attempt, here.program, here.master_ip) == (f"{tmp_path}/a/b", 1, "p", "10.0.0.1")
    assert here.cpus == len(os.sched_getaffinity(0))
    assert len(set(here.ports)) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_platforms_log_directory_else_one_for_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert gather(None, {"MA_LOG_DIR": f"{tmp_path}/ma"}, MODELARTS).log_dir == f"{tmp_path}/ma"
    assert gather(None).log_dir == f"{tmp_path}/ma2l-log/RUN"
    assert gather("relative").log_dir == f"{tmp_path}/relative"


def test_a_working_directory_that_was_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    gone.rmdir()
    assert site.default_log_dir("RUN") == f"{tmp_path}/ma2l-log/RUN"


def test_a_log_directory_that_cannot_be_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "file").write_text("")
    fallback = f"{tmp_path}/ma2l-log-{os.getuid()}/RUN"
    assert gather(f"{tmp_path}/file/logs").log_dir == fallback
    assert warnings == [
        (
            f"the log directory {tmp_path}/file/logs cannot be used ({tmp_path}/file is no directory); "
            f"logs go to {fallback}"
        )
    ]


@pytest.mark.parametrize(
    ("counters", "left", "attempt"),
    [
        ({}, [], 1),
        ({}, ["node0.plan.json"], 2),
        ({}, ["node1.plan.json"], 1),
        ({"MA_PROC_START_CNT": "2", "MA_SCHEDULE_CNT": "1"}, [], 2),
        ({"MA_PROC_START_CNT": "1", "MA_SCHEDULE_CNT": "3"}, ["node0.plan.attempt3.json"], 4),
        ({"MA_PROC_START_CNT": "x"}, [], 1),
    ],
)
def test_no_attempt_overwrites_another(tmp_path: Path, counters: dict[str, str], left: list[str], attempt: int) -> None:
    for name in left:
        (tmp_path / name).write_text("")
    assert gather(str(tmp_path), counters, MODELARTS).attempt == attempt


def test_the_directory_of_a_run_is_private(tmp_path: Path) -> None:
    path = site.make_run_dir("RUN", {"TMPDIR": str(tmp_path)})
    assert os.path.dirname(path) == str(tmp_path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o700


def test_the_directory_of_a_run_falls_back_and_says_when_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = f"test-{os.getpid()}"
    path = site.make_run_dir(run_id, {"TMPDIR": f"{tmp_path}/no"})
    os.rmdir(path)
    assert path == f"/tmp/ma2l-{os.getuid()}-{run_id}"

    def refuse(path: str, mode: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(SystemRefused) as error:
        site.make_run_dir("RUN", {})
    assert str(error.value) == (
        f"cannot make a directory for this run: /dev/shm/ma2l-{os.getuid()}-RUN: No space left on device; "
        "set TMPDIR to a writable directory on this node"
    )


class Answers(NoWaiting):
    """A clock that does not tick: every wait returns what comes next."""

    def __init__(self, *wakeups: Wakeup) -> None:
        super().__init__()
        self.left = list(wakeups)

    def wait(self, fds: object = (), deadline: float | None = None) -> Wakeup:
        return self.left.pop(0)


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: tuple[str, Wakeup]) -> None:
    left = list(answers)
    monkeypatch.setattr(net, "resolve", lambda name, waiter, deadline: left.pop(0))
    monkeypatch.setattr(log, "start", lambda: None)


@pytest.mark.parametrize("address", ["10.0.0.1", "fe80::1", "127.0.0.1"])
def test_an_address_is_not_asked_for(address: str) -> None:
    assert site.address_of(address, NoWaiting()) == address


def test_a_name_that_appears_late_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, ("", Wakeup()), ("", Wakeup()), ("10.0.0.7", Wakeup()))
    assert site.address_of("boss", Answers(Wakeup(), Wakeup())) == "10.0.0.7"


@pytest.mark.parametrize("name", ["", " ", "300.1.1.1", "fe80::zz"])
def test_what_can_be_no_name_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    resolving(monkeypatch, ("", Wakeup()))
    with pytest.raises(ConfigError) as error:
        site.address_of(name, NoWaiting())
    assert str(error.value) == (
        f"cannot find the address of node 0, {name!r}: it is neither an IP nor a name; correct it"
    )


def test_a_stop_signal_ends_the_search_for_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, ("", Wakeup((15,))))
    with pytest.raises(Stopped) as stop:
        site.address_of("boss", NoWaiting())
    assert stop.value.signum == 15


def test_a_name_that_does_not_appear_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, ("", Wakeup()))
    monkeypatch.setattr(site, "NAME_TIMEOUT", -1.0)
    with pytest.raises(GaveUpWaiting) as error:
        site.address_of("boss", Answers(Wakeup()))
    assert str(error.value) == (
        "cannot find the address of node 0, boss: it is not known after -1 s; "
        "check the name, or pass --master-addr with an IP"
    )
