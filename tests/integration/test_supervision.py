"""Real processes: exit codes, signals in every phase, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ma2l.linux import processes
from tests.integration.harness import MA2L, Running, assert_nothing_left, run, until

Script = Callable[..., str]

READY = 'touch "ready.$RANK"; '
WAIT = "while :; do sleep 1000 & wait; done"  # a shell acts on a signal only between commands or in wait


def all_ready(here: str, ranks: int) -> Callable[[], bool]:
    return lambda: all(Path(here, f"ready.{rank}").exists() for rank in range(ranks))


@pytest.mark.parametrize(
    ("end", "code"),
    [("exit 0", 0), ("exit 1", 1), ("exit 7", 7), ("exit 255", 255), ("kill -KILL $$", 137), ("kill -SEGV $$", 139)],
)
def test_the_workers_own_code_comes_out(here: str, script: Script, end: str, code: int) -> None:
    assert run("--mock", "2", script(f'[ "$RANK" = 1 ] || exit 0; {end}'), cwd=here).code == code


def test_a_failure_stops_the_others_and_is_reported(here: str, script: Script) -> None:
    worker = script(f'[ "$RANK" = 2 ] && {{ echo boom; exit 9; }}; {WAIT}')
    finished = run("--mock", "4", worker, cwd=here)
    assert finished.code == 9
    assert "rank 2 failed: exit code 9; stopping " in finished.err
    assert "rank 2 failed first: exit code 9" in finished.err
    assert "boom" in finished.err


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_stop_signals_reach_every_worker_as_sigterm(here: str, script: Script, signum: int) -> None:
    worker = script(
        f"""trap 'touch "term.$RANK"; exit 0' TERM; trap 'touch "other.$RANK"' INT HUP QUIT; {READY}{WAIT}"""
    )
    with Running("--mock", "3", worker, cwd=here) as running:
        until(all_ready(here, 3))
        running.send(signum)
        assert running.finish().code == 128 + signum
    assert sorted(path.name for path in Path(here).glob("term.*")) == ["term.0", "term.1", "term.2"]
    assert not list(Path(here).glob("other.*"))


def test_workers_that_ignore_sigterm_are_killed_after_the_grace(here: str, script: Script) -> None:
    with Running("--mock", "2", "--stop-grace", "0.3", script(f"trap '' TERM; {READY}{WAIT}"), cwd=here) as running:
        until(all_ready(here, 2))
        running.send(signal.SIGTERM)
        assert running.finish().code == 143


def test_second_stop_signal_means_now(here: str, script: Script) -> None:
    worker = script(f"trap 'touch asked.$RANK' TERM; {READY}{WAIT}")
    with Running("--mock", "2", "--stop-grace", "3600", worker, cwd=here) as running:
        until(all_ready(here, 2))
        running.send(signal.SIGTERM)
        until(lambda: len(list(Path(here).glob("asked.*"))) == 2)
        running.send(signal.SIGTERM)
        assert running.finish().code == 143


def test_the_children_of_a_worker_outlive_its_checkpoint(here: str, script: Script) -> None:
    saving = script(
        """\
#!/usr/bin/env python3
import os, signal, subprocess
loader = subprocess.Popen(["sleep", "1000"])
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
open(f"ready.{os.environ['RANK']}", "w").close()
signal.sigwait([signal.SIGTERM])
open(f"saved.{os.environ['RANK']}", "w").write(str(loader.poll() is None))
""",
        "saving.py",
    )
    with Running("--mock", "2", saving, cwd=here) as running:
        until(all_ready(here, 2))
        running.send(signal.SIGTERM)
        assert running.finish().code == 143
    assert [Path(here, f"saved.{rank}").read_text() for rank in range(2)] == ["True", "True"]


def test_a_shell_worker_passes_the_stop_to_what_it_runs(here: str, script: Script) -> None:
    inner = script(
        "#!/usr/bin/env python3\nimport signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        "open('ready.0', 'w').close()\nsignal.sigwait([signal.SIGTERM])\nopen('stopped', 'w')\n",
        "inner.py",
    )
    with Running("--mock", "1", "--stop-grace", "3600", script(f"{inner}\necho after"), cwd=here) as running:
        until(all_ready(here, 1))
        running.send(signal.SIGTERM)
        assert running.finish().code == 143
    assert Path(here, "stopped").exists()


def test_why_a_run_stops_is_said_at_once_and_not_at_its_end(here: str, script: Script) -> None:
    worker = script(f"trap '' TERM; {READY}{WAIT}")
    with Running("--mock", "2", "--stop-grace", "3600", worker, cwd=here) as running:
        until(all_ready(here, 2))
        running.send(signal.SIGTERM)
        assert running.process.stderr is not None
        said = next(line for line in running.process.stderr if "received" in line)
        assert said == "ma2l: SIGTERM received; stopping 2 processes within 3600 s; a second stop signal kills\n"
        running.send(signal.SIGTERM)
        assert running.finish().code == 143


@pytest.mark.parametrize("shell", ["{inner}", "{inner} | cat > piped", "{inner} &\nwait", "trap : TERM; {inner}"])
def test_what_a_shell_runs_may_save_its_checkpoint_for_longer_than_strays_get(
    here: str, script: Script, shell: str
) -> None:
    inner = script(
        """\
#!/usr/bin/env python3
import os, signal, subprocess, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
loader = subprocess.Popen(["sleep", "1000"])
open("ready.0", "w")
signal.sigwait([signal.SIGTERM])
signal.sigtimedwait([signal.SIGTERM], 3.5)  # a second one would cut this short
print("saved", flush=True)
open("saved", "w").write(str(loader.poll()))
""",
        "inner.py",
    )
    worker = script(shell.format(inner=inner))
    with Running("--mock", "1", "--stop-grace", "3600", worker, cwd=here) as running:
        until(all_ready(here, 1))
        running.send(signal.SIGTERM)
        assert running.finish().code == 143
    assert Path(here, "saved").read_text() == "None", "its loader was alive all the time"


TREES = {
    "same group": "sleep 1000 &",
    "own session": "setsid sleep 1000 &",
    "double fork": "(setsid sh -c 'sleep 1000 & sleep 1000' &) ;",
    "empty environment": "env -i setsid sleep 1000 &",
    "ignores SIGTERM": "(trap '' TERM; exec setsid sleep 1000) &",
}


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("victim", ["guard", "launcher"])
def test_sigkill_of_launcher_or_guard_leaves_nothing(here: str, script: Script, tree: str, victim: str) -> None:
    with Running("--mock", "2", script(f"{TREES[tree]} {READY}{WAIT}"), cwd=here) as running:
        until(all_ready(here, 2))
        os.kill(running.pid if victim == "guard" else running.launcher, signal.SIGKILL)
        assert running.finish().code == 137


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("end", ["exit 0", "exit 4"])
def test_what_a_worker_leaves_behind_is_ended(here: str, script: Script, tree: str, end: str) -> None:
    assert run("--mock", "2", script(f"{TREES[tree]} {end}"), cwd=here).code == int(end[-1])


def test_notices_reach_workers_that_listen_and_hurt_no_other(here: str, script: Script) -> None:
    worker = script(
        f"""if [ "$RANK" = 0 ]; then trap 'touch got; exit 0' USR1; else trap 'exit 0' TERM; fi; {READY}{WAIT}"""
    )
    with Running("--mock", "2", worker, cwd=here) as running:
        until(all_ready(here, 2))
        running.send(signal.SIGUSR1)
        until(Path(here, "got").exists)
        running.send(signal.SIGTERM)
        assert running.finish().code == 143


def test_sighup_ignored_by_nohup_stays_ignored(here: str, script: Script) -> None:
    worker = script(f"trap 'exit 0' TERM; {READY}{WAIT}")
    with Running(
        "--mock", "1", worker, cwd=here, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ) as running:
        until(all_ready(here, 1))
        running.send(signal.SIGHUP)
        running.send(signal.SIGTERM)
        assert running.finish().code == 143


def test_workers_get_the_inherited_mask_and_default_dispositions(here: str) -> None:
    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGTERM])

    words = ("--mock", "1", "--log-dir", "logs", "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status")
    assert run(*words, cwd=here, preexec_fn=block).code == 0
    sets = dict(line.split() for line in Path(here, "logs/worker_0.log").read_text().splitlines())
    assert int(sets["SigBlk:"], 16) == 1 << (signal.SIGUSR2 - 1) | 1 << (signal.SIGTERM - 1)
    of_glibc = 1 << 31 | 1 << 32  # signals 32 and 33 are its own; its posix_spawn sets them to be ignored
    assert int(sets["SigIgn:"], 16) & ~of_glibc == 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_ends_the_wait_for_a_rank_table(here: str, signum: int) -> None:
    with Running("true", cwd=here, env={"RANK_TABLE_FILE": f"{here}/none.json"}) as running:
        assert running.process.stderr is not None
        assert "waiting up to 1800 s for the rank table" in running.process.stderr.readline()
        running.send(signum)
        assert running.finish().code == 128 + signum


@pytest.mark.parametrize("victim", ["guard", "launcher"])
def test_a_killed_run_leaves_no_temporary_files(here: str, script: Script, victim: str) -> None:
    with Running("--mock", "1", script(f"{READY}{WAIT}"), cwd=here, env={"TMPDIR": here}) as running:
        until(all_ready(here, 1))
        os.kill(running.pid if victim == "guard" else running.launcher, signal.SIGKILL)
        running.finish()
    assert not list(Path(here).glob("ma2l-*-*"))


def test_a_killed_guard_ends_the_wait_for_a_rank_table(here: str) -> None:
    with Running("true", cwd=here, env={"RANK_TABLE_FILE": f"{here}/none.json"}) as running:
        assert running.process.stderr is not None
        running.process.stderr.readline()
        os.kill(running.pid, signal.SIGKILL)
        assert running.finish().code == 137


def test_nested_ma2l_is_one_rank(here: str, script: Script) -> None:
    worker = script('echo "$RANK of $WORLD_SIZE" > "nested.$RANK"')
    assert run("--mock", "2", *MA2L, worker, cwd=here).code == 0
    assert Path(here, "nested.1").read_text() == "1 of 2\n"
    assert len(list(Path(here).glob("nested.*"))) == 2


NEW_PID_NAMESPACE = ("unshare", *(("--map-root-user",) if os.getuid() else ()), "--fork", "--pid", "--mount-proc")


def test_as_pid_1_adopted_zombies_are_reaped(here: str, script: Script) -> None:
    worker = script(
        """for i in $(seq 50); do (setsid true &) ; done
        until [ "$(ps -eo stat= | grep -c Z)" = 0 ]; do :; done; [ "$(ps -o pid= -p 1)" -eq 1 ] && exit 5"""
    )
    with Running("--mock", "1", worker, cwd=here, before=NEW_PID_NAMESPACE) as running:
        assert running.finish().code == 5


def test_as_pid_1_sigterm_stops_the_workers(here: str, script: Script) -> None:
    worker = script(f"trap 'touch term.$RANK; exit 0' TERM; {READY}{WAIT}")
    with Running("--mock", "2", worker, cwd=here, before=NEW_PID_NAMESPACE) as running:
        until(all_ready(here, 2))
        init = processes.children(running.pid)[0]
        os.kill(init, signal.SIGTERM)
        assert running.finish().code == 143
    assert len(list(Path(here).glob("term.*"))) == 2


EARLY = """\
import os, signal, sys
import ma2l.cli
going = ma2l.cli.main
def main(words):
    os.kill(1, signal.SIGTERM)  # has no handler yet
    return going(words)
ma2l.cli.main = main
from ma2l.__main__ import main
main()
"""


def test_as_pid_1_a_stop_in_the_first_moments_is_not_lost(here: str, script: Script) -> None:
    worker = script(f"trap 'exit 0' TERM; touch started; {WAIT}")
    command = [*NEW_PID_NAMESPACE, sys.executable, "-c", EARLY, "--mock", "1", worker]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=60)
    assert done.returncode == 143, done.stderr
    assert_nothing_left()


def test_as_pid_1_a_worker_has_the_signals_that_we_were_given(here: str, script: Script) -> None:
    worker = script("grep -E '^Sig(Blk|Ign)' /proc/self/status > mask")
    with Running("--mock", "1", worker, cwd=here, before=NEW_PID_NAMESPACE) as running:
        assert running.finish().code == 0
    as_pid_1 = Path(here, "mask").read_text()
    assert run("--mock", "1", worker, cwd=here).code == 0
    assert Path(here, "mask").read_text() == as_pid_1


def test_stdin_is_empty_for_many_and_the_launchers_for_one(here: str, script: Script) -> None:
    worker = script('cat > "in.$RANK"')
    for ranks, expected in ((1, "hello"), (2, "")):
        source = Path(here, "input")
        source.write_text("hello")
        with source.open() as stdin:
            assert run("--mock", str(ranks), worker, cwd=here, stdin=stdin).code == 0
        assert Path(here, "in.0").read_text() == expected


def test_closed_standard_descriptors_do_no_harm(here: str, script: Script) -> None:
    worker = script('echo fine > "out.$RANK"')

    def close() -> None:
        os.closerange(0, 3)

    assert run("--mock", "2", worker, cwd=here, preexec_fn=close).code == 0
    assert Path(here, "out.1").read_text() == "fine\n"


def test_time_since_start_is_monotonic_in_the_outcome(here: str) -> None:
    before = time.monotonic()
    assert run("--mock", "1", "--log-dir", "logs", sys.executable, "-c", "pass", cwd=here).code == 0
    import json

    outcome = json.loads(Path(here, "logs/node0.outcome.json").read_text())
    assert 0 <= outcome["processes"][0]["seconds"] <= time.monotonic() - before
    assert (outcome["cause"], outcome["exit_code"]) == ("success", 0)
