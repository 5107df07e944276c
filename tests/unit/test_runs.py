"""The registry of runs, with real directories, locks and processes; and when a run cannot be detached."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ma2l import log, runs, site
from ma2l.cli import stop as verb
from ma2l.errors import ConfigError, UsageError
from ma2l.linux import processes
from ma2l.records import asdict, replace
from ma2l.supervise import detach


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where runs are looked for."""
    monkeypatch.setattr(site, "run_dir_places", lambda environ: [str(tmp_path)])
    return tmp_path


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(log, "warning", lines.append)
    monkeypatch.setattr(log, "info", lines.append)
    return lines


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process to signal."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def a_run(run_id: str = "20260101-000000-77", pid: int | None = None, **more: object) -> runs.Run:
    own = os.getpid() if pid is None else pid
    run = runs.Run(run_id, own, processes.start_time(own), runs.pid_namespace(), "/logs", "/logs/l", ("a", "b"), False)
    return replace(run, **more)  # type: ignore[arg-type]


def entered(place: Path, run: runs.Run, locked: bool = True) -> tuple[str, int]:
    """A directory with that entry; and the descriptor that holds the lock on it."""
    path = place / f"{site.run_dir_prefix()}{run.run_id}"
    path.mkdir(0o700)
    fd = os.open(path, os.O_RDONLY)
    if locked:
        fcntl.flock(fd, fcntl.LOCK_EX)
    assert runs.enter(str(path), run)
    return str(path), fd


def test_a_run_is_alive_as_long_as_its_lock_is_held(place: Path) -> None:
    path, lock = entered(place, a_run())
    assert runs.find({}) == ({path: a_run()}, {})
    os.close(lock)
    assert runs.find({}) == ({}, {path: a_run()})


def test_the_lock_lives_as_long_as_the_last_process_that_has_it(place: Path) -> None:
    path = site.make_run_dir("RUN", {"TMPDIR": str(place)})
    runs.enter(path, a_run("RUN"))
    locked, says_locked = os.pipe()
    waits, release = os.pipe()
    first = os.fork()
    if first == 0:
        held = site.hold_run_dir(path)
        if os.fork() == 0:
            os.close(release)
            os.write(says_locked, b"1" if held else b"0")
            os.read(waits, 1)
        os._exit(0)
    os.waitpid(first, 0)
    assert os.read(locked, 1) == b"1"
    assert path in runs.find({})[0]
    os.close(release)
    lock = os.open(path, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    for fd in (lock, locked, says_locked, waits):
        os.close(fd)
    assert path in runs.find({})[1]


def test_what_is_no_entry_of_ours_is_left_alone(place: Path, messages: list[str]) -> None:
    prefix = f"{place}/{site.run_dir_prefix()}"
    os.mkdir(f"{prefix}starting")
    Path(f"{prefix}file").write_text("")
    os.mkdir(f"{place}/elsewhere")
    runs.enter(f"{place}/elsewhere", a_run())
    os.symlink(f"{place}/elsewhere", f"{prefix}link")
    os.mkdir(f"{prefix}linked-file")
    os.symlink(f"{place}/elsewhere/{runs.FILE}", f"{prefix}linked-file/{runs.FILE}")
    os.mkdir(f"{prefix}fifo")
    os.mkfifo(f"{prefix}fifo/{runs.FILE}")
    assert runs.find({}) == ({}, {})
    assert [line.partition(" is left alone")[0] for line in messages] == [f"{prefix}fifo", f"{prefix}linked-file"]
    assert os.path.exists(f"{place}/elsewhere/{runs.FILE}")


def test_what_belongs_to_another_user_is_left_alone(
    place: Path, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = site.run_dir_prefix()
    path, _lock = entered(place, a_run())
    uid = os.getuid() + 1
    monkeypatch.setattr(site, "run_dir_prefix", lambda: prefix)
    monkeypatch.setattr(os, "getuid", lambda: uid)
    assert runs.find({}) == ({}, {})
    assert messages == [f"{path} is left alone: it belongs to another user"]


GOOD = asdict(a_run())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        b"{}",
        *(
            json.dumps({**GOOD, **wrong}).encode()
            for wrong in (
                {"pid": -1}, {"pid": 0}, {"pid": "7"}, {"pid": True}, {"pid": 1.5}, {"started": None}, {"run_id": 1},
                {"log_dir": None}, {"command": "a b"}, {"command": [1]}, {"more": 1},
            )
        ),
    ],
)  # fmt: skip
def test_an_unreadable_entry_is_a_warning(place: Path, messages: list[str], content: bytes) -> None:
    path, _lock = entered(place, a_run())
    Path(path, runs.FILE).write_bytes(content)
    assert runs.find({}) == ({}, {})
    assert messages == [f"{path} is left alone: its run.json is not what ma2l writes"]


def test_bytes_that_are_not_utf8_survive(place: Path) -> None:
    run = a_run(command=("caf\udce9", "naïve"), log_dir="/\udcff")
    path, _lock = entered(place, run)
    assert runs.find({})[0] == {path: run}


def test_an_entry_that_cannot_be_written_is_a_warning(tmp_path: Path, messages: list[str]) -> None:
    assert not runs.enter(f"{tmp_path}/none", a_run())
    assert messages == [
        f"`ma2l stop` will not find this run: {tmp_path}/none/run.json cannot be written (No such file or directory)"
    ]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("a-1", ["1"]), ("a-11", ["11"]), ("a", ["1", "11"]), ("b", ["2"]), ("", []), ("c", []),
        ("/logs/b", ["2"]), ("/logs/../logs/b/", ["2"]), ("/logs/a", ["1", "11"]),
    ],
)  # fmt: skip
def test_a_run_is_named_by_id_or_its_beginning_or_its_log_directory(word: str, expected: list[str]) -> None:
    known = {
        "1": a_run("a-1", log_dir="/logs/a"), "11": a_run("a-11", log_dir="/logs/a"), "2": a_run("b", log_dir="/logs/b")
    }  # fmt: skip
    assert runs.match(known, word) == expected


def test_runs_that_another_one_started_are_not_counted(sleeper: subprocess.Popen[bytes]) -> None:
    known = {"outer": a_run(), "inner": a_run("inner", sleeper.pid), "far": a_run("far", namespace="pid:[1]")}
    assert runs.outermost(known) == ["outer", "far"]


def test_the_process_of_a_run_is_asked_to_stop_once(place: Path, sleeper: subprocess.Popen[bytes]) -> None:
    path, lock = entered(place, a_run(pid=sleeper.pid))
    os.close(lock)
    runs.stop(path, a_run(pid=sleeper.pid), now=False)
    assert sleeper.wait() == -signal.SIGTERM
    assert not os.path.exists(path), "nobody else is left to remove it"


def test_a_second_stop_only_waits_unless_it_kills(place: Path, sleeper: subprocess.Popen[bytes]) -> None:
    run = a_run(pid=sleeper.pid)
    for now in (False, True):
        path, lock = entered(place, run)
        os.close(lock)
        Path(path, "stopping").touch()
        runs.stop(path, run, now)
        assert (sleeper.poll() is None) == (not now) or sleeper.wait() < 0


@pytest.mark.parametrize("ignored", [(), (signal.SIGINT,), (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)])
def test_now_does_not_rely_on_two_equal_signals_nor_on_ignored_ones(
    place: Path, ignored: tuple[signal.Signals, ...]
) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN if signum in ignored else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # the first stays pending, as in a busy guard
        os.write(writer, b"1")
        signal.pause()
        os._exit(0)
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    path, lock = entered(place, a_run(pid=pid))
    os.close(lock)
    runs.stop(path, a_run(pid=pid), now=True)
    expected = {0: signal.SIGINT, 1: signal.SIGQUIT, 3: signal.SIGKILL}[len(ignored)]
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -expected


def test_a_pid_that_was_given_away_again_is_not_signalled(place: Path, sleeper: subprocess.Popen[bytes]) -> None:
    run = a_run(pid=sleeper.pid)
    run = replace(run, started=run.started - 1)
    path, lock = entered(place, run)
    os.close(lock)
    runs.stop(path, run, now=True)
    assert sleeper.poll() is None


def test_a_run_that_ends_before_it_is_asked_is_none(place: Path) -> None:
    runs.stop(f"{place}/gone", a_run(), now=False)


def test_a_run_of_another_container_is_one_line(place: Path) -> None:
    path, _lock = entered(place, a_run(namespace="pid:[1]"))
    with pytest.raises(ConfigError) as error:
        runs.stop(path, a_run("RUN", namespace="pid:[1]"), now=False)
    assert str(error.value) == "cannot stop run RUN: it runs in another container; run `ma2l stop RUN` there"


def test_a_run_is_stopped_only_by_its_name(place: Path, sleeper: subprocess.Popen[bytes], messages: list[str]) -> None:
    with pytest.raises(UsageError, match="no run of yours is alive on this node; they are looked for in "):
        verb.stop_run([])
    other = a_run("far", namespace="pid:[1]")
    _path, lock = entered(place, other)
    with pytest.raises(UsageError, match="cannot stop a run: none was named; name one of those above"):
        verb.stop_run([])  # though it is the only one
    with pytest.raises(ConfigError, match="another container"):
        verb.stop_run(["far"])
    entered(place, a_run("near", sleeper.pid))
    with pytest.raises(UsageError, match="cannot stop the run nix: none of that name is alive"):
        verb.stop_run(["nix"])
    os.close(lock)


def test_runs_that_were_killed_are_reported_and_removed(place: Path, messages: list[str]) -> None:
    path, lock = entered(place, a_run("dead"))
    os.close(lock)
    assert verb.stop_run(["dead"]) == 0
    assert messages == ["run dead was killed and has ended; its logs are in /logs"]
    assert not os.path.exists(path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--soon"], "cannot use the option --soon: ma2l stop has only --now; see ma2l stop --help"),
        (["a", "b"], "cannot stop several runs at once: 2 were named; name one"),
    ],
)
def test_a_wrong_command_line_is_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        verb.stop_run(words)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("environ", "pid", "reason"),
    [
        ({}, 2, ""),
        ({"RANK_TABLE_FILE": "t.json", "MA2L_MODE": "torch"}, 2, ""),
        ({}, 1, "as PID 1 its end is the end of this container"),
        ({"MA2L_RUN_ID": "R"}, 2, "the run R that it is part of ends everything it has started"),
        ({"MA_JOB_DIR": "/x", "MA_NUM_HOSTS": "1"}, 2, "ModelArts ends a container with its command"),
        ({"MINDX_TASK_ID": "x"}, 2, "MindCluster ends a container with its command"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, 2, "Kubernetes ends a container with its command"),
    ],
)  # fmt: skip
def test_why_a_run_stays_joined(environ: dict[str, str], pid: int, reason: str) -> None:
    assert detach.why_not(environ, pid) == reason


def test_how_a_run_is_stopped_names_the_place_of_its_directory() -> None:
    assert detach.stop_command("RUN", "/tmp/ma2l-0-RUN") == "ma2l stop RUN"
    assert detach.stop_command("RUN", "/my dir/ma2l-0-RUN") == "TMPDIR='/my dir' ma2l stop RUN"
