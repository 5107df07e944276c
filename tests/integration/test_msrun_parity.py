"""``ma2l msrun`` beside the real msrun on the same work: every process finds the same variables, arguments and
directory, and leaves the same log. Where they differ, the difference stands here with its reason."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ma2l.linux.net import free_ports
from tests.integration.harness import Running, run, until
from tests.integration.msrun import Process, programs, record_ours, record_real
from tests.integration.network import Host, two_hosts

THEIRS, OURS, OTHER = "only theirs", "only ours", "another value"

IMPORTED = "msrun imports MindSpore, which sets it, and hands it on; in a worker MindSpore sets it again"
TORCH = "for programs that use torch's names"
MA2L = "the run, for the worker's own use"
DEFAULT = "a default of every ma2l run"

EVERYWHERE = {
    "LD_LIBRARY_PATH": (THEIRS, IMPORTED),
    "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": (THEIRS, IMPORTED),
    "HCCL_CONNECT_TIMEOUT": (THEIRS, IMPORTED),
    "OMP_NUM_THREADS": (OTHER, "theirs is MindSpore's 1; ours is this rank's share of the CPUs"),
    "PYTHONUNBUFFERED": (OURS, DEFAULT),
    "PYTHONFAULTHANDLER": (OURS, DEFAULT),
    "MA2L_RUN_ID": (OURS, MA2L),
    "MA2L_LOG_DIR": (OURS, MA2L),
    "MA2L_RESTART_COUNT": (OURS, MA2L),
    "MASTER_ADDR": (OURS, TORCH),
    "MASTER_PORT": (OURS, TORCH),
    "WORLD_SIZE": (OURS, TORCH),
    "LOCAL_WORLD_SIZE": (OURS, TORCH),
    "NPUS_PER_NODE": (OURS, TORCH),
}
"""Differences in every process of every run, except where the user has set the variable: then both leave it alone."""
CLUSTER = {
    "MS_CLUSTER_TIMEOUT": (OURS, "older MindSpore and the documentation call MS_TOPO_TIMEOUT so"),
}
"""Differences where a cluster is formed."""
WORKER = {"LOCAL_RANK": (OURS, TORCH)}
RANKED = {"RANK": (OURS, TORCH)}
"""Differences in a worker that knows its rank."""
NODE_KNOWN = {"NNODES": (OURS, TORCH), "NODE_RANK": (OURS, TORCH)}
"""Differences where the rank of this node within the cluster is known."""
LEAKED_RANK = {"RANK_ID": (THEIRS, "the scheduler's 0 leaks into every worker, which is no rank; MindSpore assigns it")}
"""The difference in a worker beside the scheduler whose rank nobody knows yet."""

STALE = (THEIRS, "what an earlier job left in the environment is not who this process is")


@dataclass(frozen=True)
class Case:
    """One command line, and what is special about it."""

    words: str
    """The command line; ``{host}`` and ``{host6}`` are the first node's addresses, ``{cpu}`` is a CPU of ours."""
    node: int = 0
    """Where it is run."""
    env: Mapping[str, str] = field(default_factory=dict)
    cpus: int = 0
    """On how many CPUs the launcher may run; 0 is all."""
    ip_command: bool = True
    """Whether the ``ip`` command is there."""
    ranked: bool = True
    """Whether a worker knows its rank."""
    cluster: bool = True
    """Whether the workers form a cluster."""
    also: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Further differences in each worker."""
    scheduler: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Further differences in the scheduler."""
    everywhere: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Further differences in each process."""
    processes: str = ""
    """Who must have been started."""
    logs: str = ""
    """Which logs must be there."""


SINGLE = "--worker_num=8 --local_worker_num=8 --master_port=8118 --log_dir=msrun_log --join=True --cluster_time_out=300"
PAIR = "--worker_num=8 --local_worker_num=4 --master_addr={host} --master_port=8118"
PAIR_END = "--log_dir=msrun_log --join=True --cluster_time_out=300 net.py"
TWO_OF_FOUR = "--worker_num 4 --local_worker_num 2 --join True"
USERS = {
    "OMP_NUM_THREADS": "3",
    "HCCL_CONNECT_TIMEOUT": "1234",
    "PYTHONUNBUFFERED": "x",
    "MASTER_PORT": "2345",
    "GLOG_v": "2",
    "MS_DEV_RUNTIME_CONF": "a:b,c:d",
    "MS_TOPO_TIMEOUT": "17",
    "MS_WORKER_NUM": "64",
    "MS_ROLE": "MS_PSERVER",
    "MS_NODE_ID": "64",
    "RANK_SIZE": "64",
    "EMPTY": "",
    "RANK_TABLE_FILE": "/none.json",
}
CASES = {
    "the seed's single node": Case(
        f"{SINGLE} net.py",
        processes="scheduler 0 1 2 3 4 5 6 7",
        logs=" ".join(f"msrun_log/{name}.log" for name in ("scheduler", *(f"worker_{rank}" for rank in range(8)))),
    ),
    "the seed's first node": Case(
        f"{PAIR} --node_rank=0 {PAIR_END}",
        processes="scheduler 0 1 2 3",
        logs=" ".join(f"msrun_log/{name}.log" for name in ("scheduler", *(f"worker_{rank}" for rank in range(4)))),
    ),
    "the seed's second node": Case(
        f"{PAIR} --node_rank=1 {PAIR_END}",
        node=1,
        processes="0 1 2 3",
        logs=" ".join(f"msrun_log/worker_{rank}.log" for rank in range(4, 8)),
    ),
    "no node rank, beside the scheduler, without the ip command": Case(
        TWO_OF_FOUR + " --master_addr {host} --log_dir a/b/c python3 net.py --worker_num=9 -- -x --join False",
        ip_command=False,
        ranked=False,
        also=LEAKED_RANK,
        processes="scheduler 0 1",
        logs="a/b/c/scheduler.log a/b/c/worker_0.log a/b/c/worker_1.log",
    ),
    "no node rank, away from the scheduler, without the ip command": Case(
        TWO_OF_FOUR + " --master_addr {host} --cluster_time_out=-1 net.py",
        node=1,
        env={"RANK_ID": "64", "MS_NODE_ID": "64"},
        also={"RANK_ID": STALE, "MS_NODE_ID": STALE},
        ip_command=False,
        ranked=False,
        processes="0 1",
        logs="worker_0.log worker_1.log",
    ),
    "nobody waits for the end": Case(
        "--worker_num=2 --local_worker_num=2 net.py",
        processes="scheduler 0 1",
        logs="scheduler.log worker_0.log worker_1.log",
    ),
    "a name for the scheduler": Case(
        TWO_OF_FOUR + " --master_addr localhost --node_rank 0 python -u net.py",
        processes="scheduler 0 1",
        logs="scheduler.log worker_0.log worker_1.log",
    ),
    "IPv6, and the scheduler beside the second node rank": Case(
        TWO_OF_FOUR + " --master_addr [{host6}] --node_rank 1 --log_dir=logs net.py",
        processes="scheduler 0 1",
        logs="logs/scheduler.log logs/worker_2.log logs/worker_3.log",
    ),
    "pytest, a rank table, names of logs, a node rank without meaning": Case(
        "--worker_num=2 --local_worker_num=2 --master_addr={host} --node_rank=3 --rank_table_file=none.json --join=True"
        " --worker_log_name=w_{{ip}}_{{hostname}}_x pytest -qq -s -p no:cacheprovider net.py",
        processes="scheduler 0 1",
        logs=f"scheduler.log w_10.77.0.1_{os.uname().nodename}_x_0.log w_10.77.0.1_{os.uname().nodename}_x_1.log",
    ),
    "variables of the user": Case(
        "--worker_num=2 --local_worker_num=2 --join=True net.py",
        env=USERS,
        scheduler={"MS_NODE_ID": STALE},
        everywhere={"RANK_TABLE_FILE": (THEIRS, "a dynamic cluster has no rank table, and libraries act on the sight")},
        processes="scheduler 0 1",
        logs="scheduler.log worker_0.log worker_1.log",
    ),
    "bound to the CPUs of a map": Case(
        "--worker_num=2 --local_worker_num=2 --join=True"
        ' --bind_core={{"device0":["{cpu}"],"device1":["{cpu}"],"scheduler":["{cpu}"]}} net.py',
        cpus=2,
        also={"MSRUN_CPU_LIST": (OURS, "else MindSpore's own binding of threads leaves a set that a map gave")},
        processes="scheduler 0 1",
        logs="scheduler.log worker_0.log worker_1.log",
    ),
    "bound, each to its own share": Case(
        "--worker_num=2 --local_worker_num=2 --join=True --bind_core=True net.py",
        cpus=2,
        processes="scheduler 0 1",
        logs="scheduler.log worker_0.log worker_1.log",
    ),
    "a dry run": Case(
        "--worker_num=8 --local_worker_num=2 --sim_level=1 --join=True net.py",
        ranked=False,
        cluster=False,
        processes="0 1",
        logs="worker_0.log worker_1.log",
    ),
    "a dry run of one rank": Case(
        "--worker_num=8 --local_worker_num=8 --sim_level=0 --sim_rank_id=3 --join=True net.py",
        cluster=False,
        processes="0",
        logs="worker_0.log",
    ),
    "a dry run by variables": Case(
        "--worker_num=8 --local_worker_num=8 --join=True net.py",
        env={"MS_SIMULATION_LEVEL": "1", "RANK_ID": "5", "RANK_SIZE": "16"},
        cluster=False,
        processes="0",
        logs="worker_0.log",
    ),
}


CGROUP = """\
import os, subprocess, sys
subprocess.run(["mount", "-t", "tmpfs", "none", "/sys/fs/cgroup"], check=True)
os.mkdir("/sys/fs/cgroup/cpuset")
with open("/sys/fs/cgroup/cpuset/cpuset.cpus", "w") as file:
    file.write(sys.argv[1])
os.execvp(sys.argv[2], sys.argv[2:])
"""
CGROUP_1 = ("unshare", "--mount", *(("--map-root-user",) if os.getuid() else ()), sys.executable, "-c", CGROUP)
"""Shows the real msrun the first word as its CPUs. It looks there only, and binds nothing on hosts with cgroup 2."""


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    with two_hosts() as both:
        yield both


@pytest.mark.parametrize("name", CASES)
def test_every_process_and_log_is_as_with_the_real_msrun(tmp_path: Path, hosts: tuple[Host, Host], name: str) -> None:
    case = CASES[name]
    cpus = list(map(str, sorted(os.sched_getaffinity(0))))[: case.cpus or None]
    words = case.words.format(host=hosts[0].address, host6=hosts[0].address6, cpu=cpus[-1]).split()
    enter = (*(("taskset", "-c", ",".join(cpus)) if case.cpus else ()), *hosts[case.node].enter)
    shown = (*CGROUP_1, ",".join(cpus)) if case.cpus else ()
    path = programs(tmp_path / "bin")
    env = {
        **dict.fromkeys((*EVERYWHERE, *CLUSTER, *NODE_KNOWN, *WORKER, *RANKED, "PYTEST_CURRENT_TEST")),
        "PATH": f"{path}:{os.environ['PATH']}" if case.ip_command else path,
        **case.env,
    }
    theirs = record_real(tmp_path / "theirs", words, env, (*enter, *shown))
    ours = record_ours(tmp_path / "ours", words, env, enter)
    print(theirs.console, ours.console, sep="\n")

    assert (theirs.code, ours.code) == (0, 0)
    assert sorted(theirs.processes) == sorted(ours.processes) == sorted(case.processes.split())
    assert sorted(theirs.logs) == sorted(case.logs.split())
    assert ours.logs == theirs.logs
    for who, process in theirs.processes.items():
        assert ours.processes[who].argv == process.argv
        assert ours.processes[who].cwd == process.cwd == "."
        assert ours.processes[who].cpus == process.cpus
        assert differences(process, ours.processes[who]) == expected(case, who, process), f"environment of {who}"


def differences(theirs: Process, ours: Process) -> dict[str, str]:
    """Every variable that differs, and how."""
    found = {}
    for name in theirs.environ.keys() | ours.environ.keys():
        if name not in ours.environ:
            found[name] = THEIRS
        elif name not in theirs.environ:
            found[name] = OURS
        elif theirs.environ[name] != ours.environ[name]:
            found[name] = OTHER
    return found


def expected(case: Case, who: str, theirs: Process) -> dict[str, str]:
    """The differences that have a reason, no more and no fewer."""
    workers = len(case.processes.replace("scheduler", "").split())
    table = {name: entry for name, entry in EVERYWHERE.items() if name not in case.env}
    if theirs.environ["OMP_NUM_THREADS"] == str(max(1, len(theirs.cpus) // workers)):
        table.pop("OMP_NUM_THREADS", None)  # few CPUs: the share is theirs by chance
    table.update(case.everywhere)
    if case.cluster:
        table.update(CLUSTER)
        if case.ranked:
            table.update(NODE_KNOWN)
    if who == "scheduler":
        table.update(case.scheduler)
    else:
        table.update(WORKER)
        table.update(case.also)
        if case.ranked:
            table.update(RANKED)
    return {name: kind for name, (kind, _) in table.items()}


TWO_HERE = "--worker_num=2 --local_worker_num=2 --log_dir=logs --join=True"
WAITS = """\
import os, pathlib, signal
pathlib.Path("ready." + os.environ.get("DEVICE_ID", "scheduler")).touch()
while True:
    signal.pause()
"""
FAILS = 'import os, signal, sys\nif os.environ.get("DEVICE_ID") == "1":\n    sys.exit(7)\nsignal.pause()\n'


def two_here(here: str, text: str) -> tuple[str, ...]:
    """The words of a job of two workers that run this script."""
    Path(here, "worker.py").write_text(text)
    return ("msrun", f"--master_port={free_ports(1)[0]}", *TWO_HERE.split(), sys.executable, "worker.py")


def test_a_workers_exit_code_is_kept_where_msrun_makes_it_1(here: str) -> None:
    finished = run(*two_here(here, FAILS), cwd=here)
    assert finished.code == 7
    assert "rank 1 failed first: exit code 7" in finished.err


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_everything_where_msrun_leaves_workers_behind_or_says_0(here: str, signum: int) -> None:
    with Running(*two_here(here, WAITS), cwd=here) as running:
        names = ("scheduler", "0", "1")
        until(lambda: all(Path(here, f"ready.{name}").exists() for name in names) or running.process.poll() is not None)
        running.send(signum)
        assert running.finish().code == 128 + signum


def test_a_scheduler_that_fails_ends_the_job_where_msrun_waits_for_the_workers(here: str) -> None:
    fails = 'import os, signal, sys\nif os.environ["MS_ROLE"] == "MS_SCHED":\n    sys.exit(9)\nsignal.pause()\n'
    finished = run(*two_here(here, fails), cwd=here)
    assert finished.code == 9
    assert "scheduler failed first: exit code 9" in finished.err
