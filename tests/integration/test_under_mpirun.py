"""Under the real mpirun: every rank's ma2l becomes CMD, and MindSpore's dynamic cluster forms among the ranks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from ma2l.linux import processes
from tests.integration.harness import Finished, Running, until
from tests.integration.network import Host, two_hosts
from tests.integration.test_training import FAILS_AFTER_AN_EPOCH, MNIST, PYTHON, STEP, TRAINED, has_begun

Script = Callable[..., str]
PLACES = {
    4: shutil.which("mpirun") or "",
    5: str(Path(__file__).parents[2] / ".venv-openmpi5" / "bin" / "mpirun"),
}
OPTIONS = ("--oversubscribe", "--bind-to", "none")
MAY_BE_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
CLUSTER = ("--mode", "dynamic-cluster", "--log-dir", "logs")

TELL = """\
me="env.${MS_ROLE}.${OMPI_COMM_WORLD_RANK}"
env -0 > "$me.part" && mv "$me.part" "$me"
"""
TELL_AND_STAY = f"{TELL}\nsleep 3600 & wait\n"
FAIL_WHEN_ALL_ARE_THERE = (
    TELL
    + """\
test "${MS_ROLE}.${RANK}" = "MS_WORKER.$FAILING" || exec sleep 3600
until test -e env.MS_WORKER.0 && test -e env.MS_WORKER.1 && test -e env.MS_SCHED.; do sleep 0.05; done
"""
)


@pytest.fixture(params=PLACES)
def either(request: pytest.FixtureRequest) -> str:
    """Debian's OpenMPI 4.1, then 5.0."""
    if not os.path.exists(PLACES[request.param]):
        pytest.skip(f"no OpenMPI {request.param}: apt-get install openmpi-bin, make openmpi5")
    return PLACES[request.param]


def under_mpirun(
    here: str, options: str, *words: str, host: Host | None = None, program: str = PLACES[4], **env: str
) -> Running:
    """Start ma2l under mpirun."""
    before = (*(host.enter if host else ()), program, *OPTIONS, *options.split())
    return Running(*words, cwd=here, env={"TMPDIR": here, **MAY_BE_ROOT, **env}, before=before)


def mpirun(
    here: str, options: str, *words: str, host: Host | None = None, program: str = PLACES[4], **env: str
) -> Finished:
    """Run ma2l under mpirun to its end."""
    with under_mpirun(here, options, *words, host=host, program=program, **env) as running:
        return finish(running)


def finish(running: Running) -> Finished:
    """Wait for the end. An mpirun that is stopped leaves first: it does not wait for what its ranks have started."""
    returncode = running.process.wait()
    until(everybody_has_gone)
    result = running.finish()
    print(result.out[-3000:], result.err[-3000:])
    return Finished(processes.exit_code(returncode), result.out, result.err)


def everybody_has_gone() -> bool:
    """Whether nothing is left of what the test has started."""
    processes.reap()
    return not processes.descendants(os.getpid())


def environment(here: str, who: str) -> dict[str, str]:
    """What a process of the script ``TELL`` had."""
    text = Path(here, f"env.{who}").read_bytes().decode(errors="surrogateescape")
    return dict(line.split("=", 1) for line in text.split("\0") if "=" in line)


def told(here: str, host: str) -> None:
    """Two workers and a scheduler agree, and each knows who it is."""
    workers, scheduler = [environment(here, f"MS_WORKER.{rank}") for rank in range(2)], environment(here, "MS_SCHED.")
    everybody = (*workers, scheduler)
    assert {env["MS_SCHED_HOST"] for env in everybody} == {host}
    assert len({env["MS_SCHED_PORT"] for env in everybody}) == 1
    assert {(env["MS_WORKER_NUM"], env["RANK_SIZE"]) for env in everybody} == {("2", "2")}
    for rank, env in enumerate(workers):
        own = ("RANK", "RANK_ID", "MS_NODE_ID", "WORLD_SIZE", "DEVICE_ID", "LOCAL_RANK", "RANK_TABLE_FILE")
        local = env["OMPI_COMM_WORLD_LOCAL_RANK"]
        assert [env.get(name) for name in own] == [*[str(rank)] * 3, "2", local, local, None]
    assert not [name for name in scheduler if name.startswith(("OMPI_COMM_WORLD", "PMIX_")) or name == "RANK"]


@pytest.mark.parametrize(
    "options",
    [
        "-n 2",
        "-n 2 -H localhost:2",
        "-n 2 --hostfile hostfile",
        "-n 2 --output-filename log_output --merge-stderr-to-stdout",
        "-n 2 -mca orte_abort_on_non_zero_status 0",
    ],
)
def test_every_form_makes_a_cluster_of_the_ranks(here: str, script: Script, either: str, options: str) -> None:
    Path(here, "hostfile").write_text("localhost slots=2\n")
    finished = mpirun(here, options, *CLUSTER, script(TELL), program=either, RANK_TABLE_FILE="/left/over.json")
    assert finished.code == 0
    told(here, host="127.0.0.1")
    assert "without effect" not in finished.err
    assert Path(here, "logs/scheduler.log").exists()


def test_the_output_of_rank_0_goes_where_mpirun_puts_it_and_its_input_comes_from_there(
    here: str, script: Script, either: str
) -> None:
    program = script('test "$MS_ROLE" = MS_SCHED && exit; read -r line; echo "rank $RANK read: $line"')
    Path(here, "input").write_text("hello\n")
    options = "-n 2 --output-filename log_output"
    before = (either, *OPTIONS, *options.split())
    with (
        open(f"{here}/input") as stdin,
        Running(
            *CLUSTER, program, cwd=here, env={"TMPDIR": here, **MAY_BE_ROOT}, before=before, stdin=stdin
        ) as running,
    ):
        assert finish(running).code == 0
    written = [path.read_text() for path in Path(here).rglob("*") if "log_output" in str(path) and path.is_file()]
    assert sum("rank 0 read: hello\n" in text for text in written) == 1


def test_the_mode_may_come_from_a_variable_and_the_port_from_an_option(here: str, script: Script) -> None:
    words = ("--master-port", "21234", "--cluster-timeout", "77", "--log-dir", "logs", script(TELL))
    finished = mpirun(here, "-n 2", *words, MA2L_MODE="dynamic-cluster")
    assert finished.code == 0
    assert "without effect" not in finished.err
    for who in ("MS_WORKER.0", "MS_WORKER.1", "MS_SCHED."):
        env = environment(here, who)
        assert (env["MS_SCHED_PORT"], env["MS_TOPO_TIMEOUT"]) == ("21234", "77")


def test_options_that_have_no_effect_are_named(here: str) -> None:
    assert mpirun(here, "-n 2", *CLUSTER, "--chdir", "/", "true").err.count("options without effect: --chdir; ") == 1
    assert "options without effect: --mode, --master-port; " in mpirun(
        here, "-n 1", "--mode", "torch", "--master-port", "21234", "true"
    ).err  # fmt: skip


@pytest.mark.parametrize("rank", ["0", "1"])
@pytest.mark.parametrize(("end", "code"), [("exit 3", 3), ("kill -KILL $$", 137)])
def test_one_rank_that_fails_ends_all_with_its_code(
    here: str, script: Script, either: str, rank: str, end: str, code: int
) -> None:
    program = script(FAIL_WHEN_ALL_ARE_THERE + end)
    assert mpirun(here, "-n 2", *CLUSTER, program, program=either, FAILING=rank).code == code


EVERYBODY = ("env.MS_WORKER.0", "env.MS_WORKER.1", "env.MS_SCHED.")


def test_a_stopped_mpirun_leaves_nothing(here: str, script: Script, either: str) -> None:
    with under_mpirun(here, "-n 2", *CLUSTER, script(TELL_AND_STAY), program=either) as running:
        until(lambda: all(Path(here, name).exists() for name in EVERYBODY))
        running.send(signal.SIGTERM)
        assert finish(running).code != 0


def test_a_killed_ma2l_of_rank_0_ends_the_run(here: str, script: Script, either: str) -> None:
    with under_mpirun(here, "-n 2", *CLUSTER, script(TELL_AND_STAY), program=either) as running:
        until(lambda: all(Path(here, name).exists() for name in EVERYBODY))
        launcher = next(pid for pid in processes.descendants(running.pid) if is_launcher(pid))
        os.kill(launcher, signal.SIGKILL)
        assert finish(running).code == 137


def is_launcher(pid: int) -> bool:
    """Whether this is rank 0's launcher: ma2l, and a child of ma2l."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        parent = int(file.read().rpartition(b")")[2].split()[1])
    lines = [Path(f"/proc/{each}/cmdline").read_bytes().split(b"\0") for each in (pid, parent)]
    return lines[0] == lines[1] and b"dynamic-cluster" in lines[0] and not lines[0][0].endswith(b"mpirun")


def test_what_only_the_others_can_plan_and_rank_0(here: str) -> None:
    finished = mpirun(here, "-n 2", "plan", *CLUSTER, "true")
    assert finished.code == 0
    assert "already one rank, started by mpirun: CMD takes ma2l's place" in finished.out
    assert "rank 0 keeps the scheduler" in finished.out


@pytest.fixture
def python() -> str:
    """The interpreter that has MindSpore."""
    if not PYTHON.exists():
        pytest.skip("run `make frameworks`")
    return str(PYTHON)


def ranks_that_trained(output: str) -> list[str]:
    """Who tells that its loss fell."""
    return sorted(rank for rank, size, first, last in TRAINED.findall(output) if float(last) < float(first) / 2)


@pytest.mark.mindspore
def test_mindspore_trains_on_the_cpu_under_mpirun(here: str, python: str, either: str) -> None:
    finished = mpirun(here, "-n 2", *CLUSTER, python, MNIST, program=either, GLOG_v="3")
    assert finished.code == 0
    assert ranks_that_trained(finished.out) == ["0", "1"]


@pytest.mark.mindspore
def test_a_rank_that_fails_in_training_ends_all(here: str, python: str, script: Script) -> None:
    finished = mpirun(here, "-n 2", *CLUSTER, python, script(FAILS_AFTER_AN_EPOCH, "fails.py"), GLOG_v="3")
    assert finished.code == 3
    assert "giving up on purpose" in finished.out
    assert STEP.search(finished.out), "it failed before the training had begun"


@pytest.mark.mindspore
def test_sigterm_to_mpirun_in_training_leaves_nothing(here: str, python: str) -> None:
    words = (*CLUSTER, python, MNIST, "--epochs", "100000")
    options = "-n 2 --output-filename out"
    with under_mpirun(here, options, *words, GLOG_v="3") as running:
        until(lambda: sum(map(has_begun, Path(here, "out").rglob("*out"))) == 2 or running.process.poll() is not None)
        running.send(signal.SIGTERM)
        assert finish(running).code != 0


@pytest.fixture
def network(here: str) -> Iterator[tuple[Host, Host]]:
    """Two hosts, and in ``agent`` what mpirun uses instead of ssh to reach them by their addresses."""
    with two_hosts() as (first, second):
        cases = "".join(
            f'{host.address}) shift; exec {" ".join(host.enter)} sh -c "$*" ;;\n' for host in (first, second)
        )
        agent = Path(here, "agent")
        agent.write_text(f"#!/bin/sh\ncase $1 in\n{cases}esac\n")
        agent.chmod(0o755)
        yield first, second


def across(here: str, *hosts: Host) -> str:
    """Options for one rank on each host, in that order."""
    return f"-mca plm_rsh_agent {here}/agent -n {len(hosts)} -H " + ",".join(f"{host.address}:1" for host in hosts)


def test_on_two_hosts_the_scheduler_is_on_mpiruns(here: str, script: Script, network: tuple[Host, Host]) -> None:
    first, _ = network
    assert mpirun(here, across(here, *network), *CLUSTER, script(TELL), host=first).code == 0
    told(here, host=first.address)


def test_where_mpiruns_host_has_two_addresses_one_must_be_named(
    here: str, script: Script, network: tuple[Host, Host]
) -> None:
    first, _ = network
    for words in (
        ("link", "add", "inner", "type", "veth", "peer", "name", "outer"),
        ("address", "add", "10.78.0.1/24", "dev", "inner"),
        ("link", "set", "inner", "up"),
        ("link", "set", "outer", "up"),
    ):
        subprocess.run([*first.enter, "ip", *words], check=True)
    options = across(here, *network)
    finished = mpirun(here, options, *CLUSTER, script(TELL), host=first)
    assert finished.code == 78
    why = f"mpirun's host has several addresses ({first.address}, 10.78.0.1); pass --master-addr"
    assert f"cannot tell ranks of mpirun where rank 0 is: {why}" in finished.err
    assert mpirun(here, options, *CLUSTER, "--master-addr", first.address, script(TELL), host=first).code == 0
    told(here, host=first.address)
    assert mpirun(here, f"{options} -mca oob_tcp_if_include cable", *CLUSTER, script(TELL), host=first).code == 0
    told(here, host=first.address)


def test_rank_0_on_another_host_than_mpiruns_must_be_named(
    here: str, script: Script, network: tuple[Host, Host]
) -> None:
    first, second = network
    Path(here, "ranks").write_text(f"rank 0={second.address} slot=0\nrank 1={first.address} slot=0\n")
    options = f"-mca plm_rsh_agent {here}/agent -n 2 --rankfile ranks -H {first.address},{second.address}"
    finished = mpirun(here, options, *CLUSTER, script(TELL + "sleep 3600"), host=first)
    assert finished.code == 78
    assert "it is not on mpirun's host; pass --master-addr" in finished.err
    assert mpirun(here, options, *CLUSTER, "--master-addr", second.address, script(TELL), host=first).code == 0
    told(here, host=second.address)


def test_openmpi_5_does_not_tell_where_rank_0_is(here: str, script: Script, network: tuple[Host, Host]) -> None:
    if not os.path.exists(PLACES[5]):
        pytest.skip("no OpenMPI 5: make openmpi5")
    options, first = across(here, *network), network[0]
    asked = partial(
        mpirun, here, options, *CLUSTER, host=first, program=PLACES[5], PRTE_MCA_plm_ssh_agent=f"{here}/agent"
    )
    finished = asked(script(TELL))
    assert finished.code == 78
    assert "this OpenMPI does not name mpirun's; pass --master-addr" in finished.err + finished.out
    assert asked("--master-addr", first.address, script(TELL)).code == 0
    told(here, host=first.address)


@pytest.mark.mindspore
def test_mindspore_trains_under_mpirun_on_two_hosts(here: str, python: str, network: tuple[Host, Host]) -> None:
    finished = mpirun(here, across(here, *network), *CLUSTER, python, MNIST, host=network[0], GLOG_v="3")
    assert finished.code == 0
    assert ranks_that_trained(finished.out) == ["0", "1"]
