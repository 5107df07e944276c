"""``ma2l msrun --join=False`` and ``ma2l stop``: the run outlives the command that started it, its terminal and its
pipes, and keeps every guarantee."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import sys
import termios
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ma2l import runs, site
from ma2l.linux import net, processes
from tests.integration.harness import PATIENCE, Finished, Running, assert_nothing_left, run, until
from tests.integration.test_rank_table import one_server

Script = Callable[..., str]
READY = 'touch "ready.$DEVICE_ID"; '
"""Of two workers; the scheduler has no DEVICE_ID and makes ``ready.``."""
CALM = f"{READY}exec sleep 1000"
"""No shell is left that could start something in the moment of the signal."""
NEW_PID_NAMESPACE = ("unshare", *(("--map-root-user",) if os.getuid() else ()), "--fork", "--pid", "--mount-proc")
STARTING = """\
import os
from ma2l.run import Order, launch
from ma2l.settings import Settings
from ma2l import cli
cli._dispatch = lambda words: launch(Order(Settings(), {}, ("sleep", "1000"), dict(os.environ)), detached=True)
os._exit(cli.main([]))
"""
"""A detached run that waits for a rank table before it starts its workers, which msrun never does."""

TOLD_TOO_LATE = """\
import os, signal
from ma2l import log
from ma2l.supervise import detach
says_running = detach.start()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
log.console().write(b"starting\\n")
signal.sigwait({signal.SIGINT})
os.write(says_running, b"1")
log.console().write(b"running\\n")
os._exit(130)
"""
"""A detached run that is told to stop in the moment in which its last worker starts."""


def environment(here: str, **more: str) -> Mapping[str, str | None]:
    """The run's directory is in ``here``, and nothing says that a container would end with the command."""
    return {"TMPDIR": here, "KUBERNETES_SERVICE_HOST": None, "MA2L_RUN_ID": None, **more}


def words(*more: str) -> tuple[str, ...]:
    port = net.free_ports(1)[0]
    return "msrun", "--worker_num=2", "--local_worker_num=2", f"--master_port={port}", "--log_dir=logs", *more


def detach(here: str, worker: str, **more: str) -> tuple[Finished, dict[str, Any]]:
    """Start a detached run; its entry. That this returns shows that nothing of it holds the pipes."""
    with Running(*words(worker), cwd=here, env=environment(here, **more)) as running:
        out, err = running.process.communicate(timeout=PATIENCE)
        return Finished(running.process.returncode, out, err), entry(here)


def entry(here: str) -> dict[str, Any]:
    (path,) = Path(here).glob("ma2l-*/run.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def stop(here: str, *more: str) -> Finished:
    """Run ``ma2l stop``, after which nothing of the run is left."""
    return run("stop", *more, cwd=here, env=environment(here))


def reap(guard: int) -> int:
    """The exit code of a detached run: its guard has become a child of this process, which adopts every orphan."""
    return processes.exit_code(os.waitstatus_to_exitcode(os.waitpid(guard, 0)[1]))


def outcome(here: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(here, "logs/node0.outcome.json").read_text())
    return found


def ready(here: str) -> Callable[[], bool]:
    return lambda: all(Path(here, f"ready.{number}").exists() for number in ("", 0, 1))


def test_a_detached_run_outlives_its_command_and_is_stopped(here: str, script: Script) -> None:
    finished, run_ = detach(here, script(f"echo hello; {CALM}"))
    assert (finished.code, finished.out) == (0, "")
    started, goes_on = finished.err.splitlines()
    assert started.startswith("ma2l: started 3 processes ")
    assert goes_on == (
        f"ma2l: run {run_['run_id']} goes on by itself; follow with `tail -f {here}/logs/worker_0.log`, "
        f"stop with `TMPDIR={here} ma2l stop {run_['run_id']}`; how it ends will be in {here}/logs/node0.launcher.log"
    )
    until(ready(here))
    for fd in (0, 1, 2):
        for pid in (run_["pid"], *processes.children(run_["pid"])):
            assert os.readlink(f"/proc/{pid}/fd/{fd}") == os.devnull
    stopped = stop(here, f"{here}/logs")
    assert stopped.code == 0
    assert f"run {run_['run_id']} has ended; its logs are in {here}/logs" in stopped.err
    assert reap(run_["pid"]) == 143
    assert (outcome(here)["cause"], outcome(here)["signum"]) == ("signal", signal.SIGTERM)
    assert "INFO stopped by SIGTERM; exit code 143\n" in Path(here, "logs/node0.launcher.log").read_text()
    assert Path(here, "logs/worker_0.log").read_text() == "hello\n"
    assert not list(Path(here).glob("ma2l-*-*"))


def test_the_end_of_the_terminal_does_not_reach_it(here: str, script: Script) -> None:
    master, slave = pty.openpty()
    worker = script(CALM)
    with Running(
        *words(worker), cwd=here, env=environment(here), stdin=slave, stdout=slave, stderr=slave,
        preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),
    ) as running:  # fmt: skip
        assert running.process.wait(PATIENCE) == 0
    assert b"goes on by itself" in os.read(master, 65536)
    until(ready(here))
    os.close(slave)
    os.close(master)
    run_ = entry(here)
    assert stop(here, run_["run_id"]).code == 0
    assert reap(run_["pid"]) == 143
    assert (outcome(here)["cause"], outcome(here)["signum"]) == ("signal", signal.SIGTERM)


def end_of_start(here: str, task: str, join: bool) -> tuple[int, str]:
    """How a start that fails ends and what it says, without what differs from run to run."""
    options = words(f"--join={join}", task)
    finished = run(*options, cwd=here, env=environment(here))
    return finished.code, re.sub(r"\d{8}-\d{6}-\d+", "RUN", finished.err)


@pytest.mark.parametrize(("text", "code"), [("", 127), ("#!/no/interpreter\n", 126)])
def test_a_start_that_fails_ends_as_a_joined_one(here: str, script: Script, text: str, code: int) -> None:
    task = script(text, "task") if text else "./none.py"
    alone, joined = end_of_start(here, task, join=False), end_of_start(here, task, join=True)
    assert alone == joined
    assert alone[0] == code
    assert "ma2l: error: cannot " in alone[1]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_signal_while_starting_stops_the_start(here: str, signum: int) -> None:
    env = environment(here, RANK_TABLE_FILE=f"{here}/none.json")
    with Running(cwd=here, env=env, before=(sys.executable, "-c", STARTING)) as running:
        assert running.process.stderr is not None
        assert "waiting up to 1800 s for the rank table" in running.process.stderr.readline()
        running.send(signum)
        assert running.finish().code == 128 + signum
    assert not list(Path(here).glob("ma2l-*-*"))


def test_a_run_that_nobody_was_told_of_is_stopped(here: str) -> None:
    table = Path(here, "table.json")
    env = environment(here, RANK_TABLE_FILE=str(table))
    with Running(cwd=here, env=env, before=(sys.executable, "-c", STARTING)) as running:
        assert running.process.stderr is not None
        assert "waiting up to 1800 s for the rank table" in running.process.stderr.readline()
        (guard,) = processes.children(running.pid)
        running.send(signal.SIGKILL)
        assert running.process.wait(PATIENCE) == -signal.SIGKILL
        Path(here, "new").write_text(one_server(0, 1))
        Path(here, "new").rename(table)
        assert reap(guard) == 143
    (said,) = Path(here, "ma2l-log").glob("*/node0.launcher.log")
    assert "the command that started this run was killed before it could say how to stop it" in said.read_text()


def test_the_ranks_that_it_would_have_shown_are_named(here: str, script: Script) -> None:
    with Running(*words("--tail_worker_log=1,0", script(":")), cwd=here, env=environment(here)) as running:
        _, err = running.process.communicate(timeout=PATIENCE)
        assert f"follow with `tail -f {here}/logs/worker_0.log {here}/logs/worker_1.log`, " in err
        until(lambda: Path(here, "logs/node0.outcome.json").exists())
        until(lambda: not processes.descendants(os.getpid()) or _reap_all())
    finished = run(*words(script(":")), cwd=here, env=environment(here, MA2L_CONSOLE_RANKS="some"))
    assert (finished.code, "cannot show the console ranks 'some'" in finished.err) == (78, True)


def test_output_that_nobody_will_see_is_told(here: str, script: Script) -> None:
    with Running(*words("--worker_log_name=no/such", script(":")), cwd=here, env=environment(here)) as running:
        _, err = running.process.communicate(timeout=PATIENCE)
        until(lambda: not processes.descendants(os.getpid()) or _reap_all())
    assert "follow with" not in err
    lost = (
        f"ma2l: warning: what its ranks write is lost, as there are no logs in {here}/logs; --join=True would show it"
    )
    assert err.splitlines()[-1] == lost


def test_of_many_that_were_killed_the_latest_are_named(here: str) -> None:
    for number in range(5):
        run_id = f"20010101-00000{number}-1"
        directory = f"{here}/{site.run_dir_prefix()}{run_id}"
        os.mkdir(directory)
        assert runs.enter(directory, runs.Run(run_id, 1, 1, "pid:[1]", "/logs", "/logs/log", ("x",), True))
    finished = stop(here, "20010101-00000")
    assert (finished.code, finished.err.splitlines()) == (
        0,
        [
            *(f"ma2l: run 20010101-00000{n}-1 was killed and has ended; its logs are in /logs" for n in (2, 3, 4)),
            "ma2l: and so have 2 earlier ones",
        ],
    )
    assert os.listdir(here) == []


def test_a_stop_that_comes_as_the_workers_start_is_waited_for(here: str) -> None:
    with Running(cwd=here, before=(sys.executable, "-c", TOLD_TOO_LATE)) as running:
        assert running.process.stderr is not None
        assert running.process.stderr.readline() == "starting\n"
        running.send(signal.SIGINT)
        assert running.finish() == Finished(130, "", "running\n")


def test_a_worker_that_fails_later_is_in_the_files(here: str, script: Script) -> None:
    worker = script(f'[ "$DEVICE_ID" = 1 ] || {{ {CALM}; }}; until [ -e go ]; do sleep 0.01; done; echo boom; exit 9')
    finished, run_ = detach(here, worker)
    assert finished.code == 0
    Path(here, "go").touch()
    assert reap(run_["pid"]) == 9
    assert_nothing_left()
    assert (outcome(here)["cause"], outcome(here)["exit_code"]) == ("failure", 9)
    said = Path(here, "logs/node0.launcher.log").read_text()
    assert "failed first: exit code 9" in said
    assert "\nboom\n" in said


@pytest.mark.parametrize("victim", ["guard", "launcher"])
def test_sigkill_of_guard_or_launcher_leaves_nothing(here: str, script: Script, victim: str) -> None:
    _, run_ = detach(here, script(f"setsid sleep 1000 & {CALM}"))
    until(ready(here))
    guard = run_["pid"]
    (launcher,) = processes.children(guard)
    os.kill(guard if victim == "guard" else launcher, signal.SIGKILL)
    assert reap(guard) == 137
    until(lambda: not processes.descendants(os.getpid()) or _reap_all())
    said = Path(here, "logs/node0.launcher.log").read_text()
    expected = "the guard process was killed" if victim == "guard" else "the launcher was ended by SIGKILL"
    assert expected in said
    assert not list(Path(here).glob("ma2l-*-*"))


def _reap_all() -> bool:
    """Collect the launcher, which becomes a child of this process when its guard is killed."""
    processes.reap()
    return False


def test_stop_now_kills_what_would_take_its_time(here: str, script: Script) -> None:
    _, run_ = detach(here, script(f"trap '' TERM; {CALM}"), MA2L_STOP_GRACE="3600")
    until(ready(here))
    assert stop(here, "--now", run_["run_id"]).code == 0
    assert reap(run_["pid"]) in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    assert outcome(here)["cause"] == "signal"


def test_a_joined_run_that_ctrl_z_has_stopped_is_stopped_for_good(here: str, script: Script) -> None:
    env = environment(here)
    with Running("--mock", "2", "--stop-grace", "3600", "sleep", "1000", cwd=here, env=env) as running:
        until(lambda: list(Path(here).glob("ma2l-*/run.json")))
        running.send(signal.SIGTSTP)
        until(lambda: (processes.state(running.pid) or "")[0] == "T")
        with Running("stop", entry(here)["run_id"], cwd=here, env=env) as stopping:
            _, err = stopping.process.communicate(timeout=PATIENCE)
        assert (stopping.process.returncode, "has ended" in err) == (0, True)
        assert running.finish().code == 143


def test_a_run_that_nobody_knows_is_one_line(here: str) -> None:
    finished = stop(here, "no-such-run")
    assert finished.code == 2
    assert "ma2l: error: cannot stop the run no-such-run: " in finished.err


def test_inside_another_run_it_stays_joined_and_says_so(here: str, script: Script) -> None:
    env = environment(here, MA2L_RUN_ID="outer")
    finished = run(*words(script('exit "${DEVICE_ID:-0}"')), cwd=here, env=env)
    assert finished.code == 1
    reason = "the run outer that it is part of ends everything it has started"
    assert f"ma2l: the run stays joined (--join=True): {reason}\n" in finished.err


def test_as_pid_1_it_stays_joined_and_says_so(here: str, script: Script) -> None:
    worker = script('exit "$(( ${DEVICE_ID:-0} * 5 ))"')
    with Running(*words(worker), cwd=here, env=environment(here), before=NEW_PID_NAMESPACE) as running:
        finished = running.finish()
    assert finished.code == 5
    assert "the run stays joined (--join=True): as PID 1 its end is the end of this container\n" in finished.err


def test_without_a_name_runs_are_listed_and_none_is_stopped(here: str, script: Script) -> None:
    _, run_ = detach(here, script(CALM))
    until(ready(here))
    with Running("stop", cwd=here, env=environment(here)) as asked:
        _, err = asked.process.communicate(timeout=PATIENCE)
        assert asked.process.returncode == 2
    assert stop(here, run_["run_id"]).code == 0
    assert reap(run_["pid"]) == 143
    assert outcome(here)["cause"] == "signal", "it was alive until it was named"
    assert run_["run_id"] in err
    assert err.splitlines()[-1] == "ma2l: error: cannot stop a run: none was named; name one of those above"
