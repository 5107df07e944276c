"""Ranks that hang, for real: they are found by their silence, looked into, and the run is ended if that is wanted.

Until all ranks stand where they are going to hang, something writes to each log, so that no slow start is a silence.
"""

from __future__ import annotations

import json
import os
import signal
import site
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ma2l.linux import processes
from tests.integration.harness import MA2L, Finished, Running, run, until

Script = Callable[..., str]
RANKS = 4
NOISE = f"""\
#!/bin/sh
{" && ".join(f"[ -e ready.{rank} ]" for rank in range(RANKS))} || while sleep 0.1; do
    echo starting
    {" && ".join(f"[ -e ready.{rank} ]" for rank in range(RANKS))} && exit
done
"""
NET = """\
import ctypes, os, signal, subprocess, sys, time
rank = os.environ["RANK"]
noise = subprocess.Popen(["./noise.sh"])

def stand():
    open(f"ready.{rank}", "w").close()
    while not os.path.exists("go"):
        time.sleep(0.05)

def barrier():
    stand()

def stuck_in_all_reduce():
    HOW

if rank == "2":
    stuck_in_all_reduce()
else:
    barrier()
noise.wait()
"""
MARK = 'open(f"ready.{rank}", "w").close(); '
HOWS = {
    "in Python": ("stand()", "stand"),
    "in C with the GIL": (MARK + "ctypes.PyDLL(None).sleep(1000)", "stuck_in_all_reduce"),
    "spinning in C": (MARK + "sum(range(10**18))", "stuck_in_all_reduce"),
}
NO_PTRACE = ("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace") if os.getuid() == 0 else ()


@pytest.fixture
def net(here: str, script: Script) -> Callable[[str], tuple[str, str]]:
    """Write the program, its stuck rank being stuck in that way; returns the command."""

    def write(how: str) -> tuple[str, str]:
        script(NOISE, "noise.sh")
        Path(here, "net.py").write_text(NET.replace("HOW", how))
        return sys.executable, "net.py"

    return write


@pytest.fixture
def bare_python(tmp_path: Path) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """A ma2l whose Python has no py-spy beside it, and an environment that has none either."""
    venv.create(tmp_path / "bare", symlinks=True)
    (packages,) = (tmp_path / "bare/lib").glob("python*/site-packages")
    (packages / "ours.pth").write_text("\n".join([*site.getsitepackages(), os.getcwd()]) + "\n")
    path = [place for place in os.environ["PATH"].split(":") if not os.path.exists(f"{place}/py-spy")]
    return (str(tmp_path / "bare/bin/python"), "-m", "ma2l"), {"PATH": ":".join(path)}


def options(*more: str) -> tuple[str, ...]:
    return ("--mock", str(RANKS), "--log-dir", "logs", "--hang-timeout", "2", "--stop-grace", "1", *more)


def outcome(here: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(here, "logs/node0.outcome.json").read_text())
    return found


def launcher_log(here: str) -> str:
    path = Path(here, "logs/node0.launcher.log")
    return path.read_text() if path.exists() else ""


def stacks(here: str) -> str:
    return "".join(path.read_text() for path in sorted(Path(here, "logs").glob("node0.stacks.*.txt")))


def instead(ma2l: tuple[str, ...]) -> tuple[str, ...]:
    """What stands before the harness's command so that this ma2l runs in its place."""
    keep = f"sys.argv[1:{1 + len(ma2l)}] + sys.argv[{1 + len(ma2l) + len(MA2L)}:]"
    return (sys.executable, "-c", f"import os, sys; os.execv(sys.argv[1], {keep})", *ma2l)


@pytest.mark.parametrize("how", HOWS)
def test_a_hang_ends_the_run_and_names_the_rank_that_stands_elsewhere(
    here: str, net: Callable[[str], tuple[str, str]], how: str
) -> None:
    code, function = HOWS[how]
    finished = run(*options("--hang-action", "stop"), *net(code), cwd=here)
    assert finished.code == 252
    verdict = finished.err.splitlines()[-1]
    assert verdict.startswith("ma2l: error: hang: no rank has written for ")
    assert f"; rank 2 stands in {function} (net.py:" in verdict
    assert verdict.endswith("; exit code 252")
    found = outcome(here)
    assert (found["cause"], found["exit_code"], found["first"]["rank"]) == ("hang", 252, 2)
    assert (found["hang"]["suspect"], found["hang"]["sentence"] in verdict) == ("rank 2", True)
    assert any(frame.startswith("stuck_in_all_reduce (") for frame in found["hang"]["frames"])
    again = subprocess.run([*MA2L, "explain", "logs"], cwd=here, capture_output=True, text=True, check=True).stdout
    assert again.splitlines()[:-1] == found["report"]["quote"]
    assert again.splitlines()[-1].endswith(verdict.removeprefix("ma2l: error: "))
    written = Path(found["hang"]["stacks"]).read_text()
    for rank, function in enumerate(("barrier", "barrier", "stuck_in_all_reduce", "barrier")):
        (section,) = (part for part in written.split("=== ") if part.startswith(f"rank {rank} "))
        assert f"    {function} ({here}/net.py:" in section
        assert "process " in section
        assert "state " in section


def test_nothing_is_written_to_the_log_of_a_worker(here: str, net: Callable[[str], tuple[str, str]]) -> None:
    assert run(*options("--hang-action", "stop"), *net("stand()"), cwd=here).code == 252
    for rank in range(RANKS):
        assert set(Path(here, f"logs/worker_{rank}.log").read_text().split()) <= {"starting"}


def test_a_hang_that_is_only_looked_into_lets_the_run_go_on(here: str, net: Callable[[str], tuple[str, str]]) -> None:
    with Running(*options(), *net("stand()"), cwd=here) as running:
        until(lambda: "; rank 2 stands in stand (net.py:" in launcher_log(here))
        Path(here, "go").touch()
        finished = running.finish()
    assert finished.code == 0
    assert "stuck_in_all_reduce" in stacks(here)
    assert (outcome(here)["cause"], outcome(here)["hang"]) == ("success", None)


def test_a_rank_that_was_stopped_is_the_odd_one(here: str, net: Callable[[str], tuple[str, str]]) -> None:
    command = net(MARK + "os.kill(os.getpid(), signal.SIGSTOP)")
    finished = run(*options("--hang-action", "stop"), *command, cwd=here)
    assert finished.code == 252
    assert "; rank 2 stands in stuck_in_all_reduce (net.py:" in finished.err
    assert "stopped by a signal or a debugger" in finished.err
    assert "state T (stopped)" in stacks(here)


def assert_printed(here: str, finished: Finished) -> None:
    """The ranks have printed their stacks themselves, which was said before, and the verdict has read them."""
    assert finished.code == 252
    assert "SIGABRT makes every rank print its own into its log, and ends it" in finished.err
    assert "Fatal Python error: Aborted" in Path(here, "logs/worker_2.log").read_text()
    assert "; rank 2 stands in stuck_in_all_reduce (net.py:" in finished.err.splitlines()[-1]
    found = outcome(here)
    assert (found["cause"], found["first"]["rank"], found["first"]["returncode"]) == ("hang", 2, -signal.SIGABRT)
    assert any("stuck_in_all_reduce" in frame for frame in found["hang"]["frames"])
    assert "=== rank 2 (pid " in stacks(here)
    assert "state " in stacks(here)


def test_without_py_spy_ranks_print_their_stacks_and_end(
    here: str, net: Callable[[str], tuple[str, str]], bare_python: tuple[tuple[str, ...], Mapping[str, str]]
) -> None:
    ma2l, env = bare_python
    command = net(HOWS["in C with the GIL"][0])
    with Running(*options("--hang-action", "stop"), *command, cwd=here, env=env, before=instead(ma2l)) as running:
        finished = running.finish()
    assert_printed(here, finished)
    assert "py-spy is not installed; pip install 'ma2l[stacks]'" in stacks(here)


def test_without_py_spy_nobody_is_ended_by_looking(
    here: str, net: Callable[[str], tuple[str, str]], bare_python: tuple[tuple[str, ...], Mapping[str, str]]
) -> None:
    ma2l, env = bare_python
    with Running(*options(), *net("stand()"), cwd=here, env=env, before=instead(ma2l)) as running:
        until(lambda: "no rank has written for " in stacks_told(here))
        Path(here, "go").touch()
        assert running.finish().code == 0
    assert "py-spy is not installed" in stacks(here)


def stacks_told(here: str) -> str:
    return "".join(line for line in launcher_log(here).splitlines() if "all stacks are in " in line)


def test_where_looking_into_other_processes_is_refused_ranks_print_their_stacks(
    here: str, net: Callable[[str], tuple[str, str]]
) -> None:
    private = "ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n"  # PR_SET_DUMPABLE: as if kernel.yama.ptrace_scope forbade it
    command = net(HOWS["in C with the GIL"][0])
    program = Path(here, "net.py")
    program.write_text(program.read_text().replace("\ndef stand", f"\n{private}\ndef stand"))
    with Running(*options("--hang-action", "stop"), *command, cwd=here, before=NO_PTRACE) as running:
        finished = running.finish()
    assert_printed(here, finished)
    assert "the system does not let ma2l look into other processes (ptrace)" in stacks(here)


def test_a_run_that_ends_does_not_wait_for_stacks(
    here: str, net: Callable[[str], tuple[str, str]], bare_python: tuple[tuple[str, ...], Mapping[str, str]],
    script: Script,
) -> None:  # fmt: skip
    ma2l, env = bare_python
    spy = script("touch spying; sleep 1000", "py-spy")
    env = {"PATH": f"{os.path.dirname(spy)}:{env['PATH']}"}
    with Running(*options(), *net("stand()"), cwd=here, env=env, before=instead(ma2l)) as running:
        until(Path(here, "spying").exists)
        running.send(signal.SIGTERM)
        assert running.finish().code == 143


@pytest.mark.parametrize(("shape", "launchers"), [("4", 1), ("2x2", 3)])
def test_the_stacks_of_a_run_on_demand(
    here: str, net: Callable[[str], tuple[str, str]], shape: str, launchers: int
) -> None:
    words = ("--mock", shape, "--log-dir", "logs", *net("stand()"))
    with Running(*words, cwd=here, env={"TMPDIR": here}) as running:
        until(lambda: all(Path(here, f"ready.{rank}").exists() for rank in range(RANKS)))
        until(lambda: len(list(Path(here).glob("ma2l-*/run.json"))) == launchers)
        assert_shown(asked(here, "stacks", "logs"))
        Path(here, "go").touch()
        assert running.finish().code == 0
    assert asked(here, "stacks", "logs").code == 2


def assert_shown(shown: Finished) -> None:
    assert shown.code == 0
    assert "ma2l: rank 2 stands where no other rank does: stand (net.py:" in shown.err
    assert [line.split(" (pid")[0] for line in shown.out.splitlines() if line.startswith("=== ")] == [
        f"=== rank {rank}" for rank in range(RANKS)
    ]
    assert shown.out.count("    barrier (") == RANKS - 1


def asked(here: str, *words: str, env: Mapping[str, str] | None = None, before: tuple[str, ...] = ()) -> Finished:
    """Run ma2l beside another run, of which something is of course left."""
    with Running(*words, cwd=here, env={"TMPDIR": here, **(env or {})}, before=before) as running:
        out, err = running.process.communicate(timeout=60)
        return Finished(processes.exit_code(running.process.returncode), out, err)


def test_without_py_spy_there_is_what_the_kernel_shows(
    here: str, net: Callable[[str], tuple[str, str]], bare_python: tuple[tuple[str, ...], Mapping[str, str]]
) -> None:
    ma2l, env = bare_python
    words = ("--mock", str(RANKS), "--log-dir", "logs", *net("stand()"))
    with Running(*words, cwd=here, env={"TMPDIR": here}) as running:
        until(lambda: all(Path(here, f"ready.{rank}").exists() for rank in range(RANKS)))
        until(lambda: list(Path(here).glob("ma2l-*/run.json")))
        shown = asked(here, "stacks", "logs", env=env, before=instead(ma2l))
        Path(here, "go").touch()
        assert running.finish().code == 0
    assert shown.code == 0
    assert "no Python frames: py-spy is not installed; pip install 'ma2l[stacks]'" in shown.out
    assert shown.out.count("=== rank ") == RANKS
    assert shown.out.count(", state ") >= RANKS
