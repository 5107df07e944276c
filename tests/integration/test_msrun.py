"""``ma2l msrun`` with small workers: who is started with which rank, what is left, how it ends, and every mistake
before anything starts."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ma2l.linux import net
from tests.integration.harness import Finished, Running, run, until
from tests.integration.network import Host, two_hosts

Script = Callable[..., str]
ELSEWHERE = "203.0.113.1"
"""An address of nobody, for the part of a node that does not run the scheduler; nothing is sent to it."""
WHO = 'echo "${MS_ROLE#MS_} ${RANK_ID-none} ${MS_NODE_ID-none} ${DEVICE_ID-none} of ${RANK_SIZE}"'
"""Says who it is."""


@pytest.fixture
def port() -> str:
    """A port for the scheduler, of which nothing here listens on."""
    return str(net.free_ports(1)[0])


def msrun(here: str, port: str, *words: str, **options: object) -> Finished:
    """Run joined, on a port of its own."""
    finished = run("msrun", "--join=True", f"--master_port={port}", *words, cwd=here, **options)  # type: ignore[arg-type]
    print(finished.out, finished.err)
    return finished


def complaints(finished: Finished) -> list[str]:
    return [line for line in finished.err.splitlines() if line.startswith(("ma2l: error: ", "ma2l: warning: "))]


def logs(directory: str) -> dict[str, str]:
    """Contents of the workers' and the scheduler's logs."""
    names = [name for name in os.listdir(directory) if not name.startswith("node")]
    return {name: Path(directory, name).read_text() for name in names if ".log" in name}


def test_workers_and_a_scheduler_on_one_node(here: str, port: str, script: Script) -> None:
    finished = msrun(here, port, "--worker_num", "2", "--local_worker_num", "2", "--log_dir", "a/b", script(WHO))
    assert finished.code == 0
    assert logs(f"{here}/a/b") == {
        "scheduler.log": "SCHED 0 none none of 2\n",
        "worker_0.log": "WORKER 0 0 0 of 2\n",
        "worker_1.log": "WORKER 1 1 1 of 2\n",
    }
    assert sorted(finished.out.splitlines()) == ["[0] WORKER 0 0 0 of 2", "[1] WORKER 1 1 1 of 2"]


def test_the_nodes_of_a_job_share_a_directory(here: str, port: str, script: Script) -> None:
    words = ("--worker_num=4", "--local_worker_num=2", "--log_dir=logs", script(WHO))
    assert msrun(here, port, "--node_rank=0", *words).code == 0
    assert msrun(here, port, "--node_rank=1", f"--master_addr={ELSEWHERE}", *words).code == 0
    workers = {f"worker_{rank}.log": f"WORKER {rank} {rank} {rank % 2} of 4\n" for rank in range(4)}
    assert logs(f"{here}/logs") == {"scheduler.log": "SCHED 0 none none of 4\n", **workers}
    for node in (0, 1):
        assert json.loads(Path(here, f"logs/node{node}.outcome.json").read_text())["exit_code"] == 0


@pytest.mark.parametrize("address", ["127.0.0.1", ELSEWHERE])
def test_without_a_node_rank_nobody_has_a_rank(here: str, port: str, script: Script, address: str) -> None:
    words = ("--worker_num=4", "--local_worker_num=2", f"--master_addr={address}", script(WHO))
    finished = msrun(here, port, *words, env={"RANK_ID": "7"})
    assert finished.code == 0
    scheduler = {"scheduler.log": "SCHED 0 none none of 4\n"} if address == "127.0.0.1" else {}
    workers = {f"worker_{index}.log": f"WORKER none none {index} of 4\n" for index in range(2)}
    assert logs(here) == {**scheduler, **workers}
    prefixed = [f"[worker {index}] WORKER none none {index} of 4" for index in range(2)]
    assert sorted(finished.out.splitlines()) == prefixed
    assert re.search(r"started \d processes of a job of 4 ranks, one of 2 nodes, mode dynamic-cluster", finished.err)


def test_a_worker_without_a_rank_has_a_name_in_the_report(here: str, port: str, script: Script) -> None:
    failing = script('echo gone wrong\ntest "${DEVICE_ID}" != 1 || exit 5\nexec sleep 1000')
    finished = msrun(here, port, "--worker_num=4", "--local_worker_num=2", f"--master_addr={ELSEWHERE}", failing)
    assert finished.code == 5
    assert "ma2l: error: worker 1 failed: exit code 5; stopping 1 process within 25 s" in finished.err
    verdict = r"worker 1 failed first: exit code 5 after \d+\.\d s \(pid \d+, device 1\); 1 other stopped"
    assert re.search(verdict, finished.err)
    assert f"--- last lines of {here}/worker_1.log\ngone wrong\n---\n" in finished.err


def test_the_exit_code_is_the_workers_and_nobody_is_left(here: str, port: str, script: Script) -> None:
    failing = script('test "${RANK_ID}${MS_ROLE}" != 1MS_WORKER || exit 7\nexec sleep 1000')
    finished = msrun(here, port, "--worker_num=3", "--local_worker_num=3", failing)
    assert finished.code == 7
    assert "rank 1 failed first: exit code 7" in finished.err


def test_a_scheduler_that_fails_ends_the_job(here: str, port: str, script: Script) -> None:
    failing = script('test "${MS_ROLE}" != MS_SCHED || exit 9\nexec sleep 1000')
    finished = msrun(here, port, "--worker_num=2", "--local_worker_num=2", failing)
    assert finished.code == 9
    assert "scheduler failed first: exit code 9" in finished.err


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_stop_signal_ends_all(here: str, port: str, script: Script, signum: int) -> None:
    staying = script('echo here > "ready.${DEVICE_ID-scheduler}"\nexec sleep 1000')
    words = ("msrun", "--join=True", f"--master_port={port}", "--worker_num=2", "--local_worker_num=2", staying)
    with Running(*words, cwd=here) as running:
        until(lambda: all(Path(here, f"ready.{who}").exists() for who in ("0", "1", "scheduler")) or None)
        running.send(signum)
        assert running.finish().code == 128 + signum


def test_a_second_run_sets_the_logs_of_the_first_aside(here: str, port: str, script: Script) -> None:
    words = ("--worker_num=2", "--local_worker_num=2", script('echo "${RUN}"'))
    for number in ("first", "second", "third"):
        assert msrun(here, port, *words, env={"RUN": number}).code == 0
    names = ("scheduler.log", "worker_0.log", "worker_1.log")
    suffixes = {"": "third\n", ".1": "first\n", ".2": "second\n"}
    assert logs(here) == {f"{name}{suffix}": text for name in names for suffix, text in suffixes.items()}
    for suffix in suffixes:
        assert json.loads(Path(here, f"node0.outcome.json{suffix}").read_text())["exit_code"] == 0


def test_what_a_smaller_run_leaves_alone_stays_with_its_own_run(here: str, port: str, script: Script) -> None:
    """All files of one run get the same number, even where a smaller run has fewer of them."""
    words = ("sh", "-c", 'echo "${RANK_SIZE}"')
    for workers in (1, 2, 2):
        assert msrun(here, port, f"--worker_num={workers}", f"--local_worker_num={workers}", *words).code == 0
    found = {name: text.strip() for name, text in logs(here).items()}
    assert found["worker_0.log.1"] == "1"
    assert (found["worker_0.log.2"], found["worker_1.log.2"]) == ("2", "2")
    assert "worker_1.log.1" not in found


def test_names_of_logs(here: str, port: str, script: Script) -> None:
    words = ("--worker_num=1", "--local_worker_num=1", "--worker_log_name=w_{ip}_{hostname}_test", script(WHO))
    assert msrun(here, port, *words).code == 0
    assert sorted(logs(here)) == ["scheduler.log", f"w_127.0.0.1_{socket.gethostname()}_test_0.log"]


@pytest.mark.parametrize(
    ("words", "env", "shown"),
    [
        ((), {}, ["[0]", "[1]", "[2]"]),
        (("--tail_worker_log=-1",), {}, ["[0]", "[1]", "[2]"]),
        (("--tail_worker_log=0,2",), {}, ["[0]", "[2]"]),
        (("--tail_worker_log=0,2",), {"MA2L_CONSOLE_RANKS": "1"}, ["[1]"]),
        ((), {"MA2L_CONSOLE_RANKS": "none"}, []),
    ],
)
def test_ranks_on_the_console(
    here: str, port: str, script: Script, words: tuple[str, ...], env: dict[str, str], shown: list[str]
) -> None:
    finished = msrun(here, port, "--worker_num=3", "--local_worker_num=3", *words, script("echo x"), env=env)
    assert finished.code == 0
    assert sorted(finished.out.splitlines()) == [f"{prefix} x" for prefix in shown]


def test_a_rank_to_show_that_is_not_there_is_a_warning(here: str, port: str, script: Script) -> None:
    finished = msrun(here, port, "--worker_num=1", "--local_worker_num=1", "--tail_worker_log=0,4", script("echo x"))
    assert (finished.code, finished.out) == (0, "[0] x\n")
    assert complaints(finished) == ["ma2l: warning: --tail_worker_log=0,4: there is no rank 4 in a job of 1"]


def test_devices_that_were_chosen_are_the_workers(here: str, port: str, script: Script) -> None:
    saying = script('echo "${DEVICE_ID-scheduler} ${ASCEND_RT_VISIBLE_DEVICES}"')
    assert msrun(here, port, saying, env={"ASCEND_RT_VISIBLE_DEVICES": "2,3"}).code == 0
    assert logs(here) == {"scheduler.log": "scheduler 2,3\n", "worker_0.log": "0 2,3\n", "worker_1.log": "1 2,3\n"}


def test_a_python_script_and_its_arguments_byte_by_byte(here: str, port: str, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    (tmp_path / "net.py").write_text("import os, sys\nos.write(1, ascii(sys.argv).encode() + b'\\n')\n")
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    arguments = ("--worker_num=9", "--", "-h", "", "näh\n", "\udcff")
    finished = msrun(here, port, "--worker_num=1", "--local_worker_num=1", "net.py", *arguments, env={"PATH": path})
    assert finished.code == 0
    assert logs(here)["worker_0.log"] == ascii(["net.py", *arguments]) + "\n"


def test_a_dry_run_has_no_scheduler(here: str, port: str, script: Script) -> None:
    words = ("--worker_num=64", "--local_worker_num=2", "--node_rank=3", "--sim_level=1", script(WHO))
    assert msrun(here, port, *words, env={"MS_ROLE": "MS_WORKER"}).code == 0
    assert logs(here) == {"worker_6.log": " 6 6 0 of 64\n", "worker_7.log": " 7 7 1 of 64\n"}


def test_settings_of_ours_are_heeded(here: str, port: str, script: Script) -> None:
    Path(here, "ma2l.yaml").write_text("chdir: d{local_rank}\n")
    for local_rank in range(2):
        Path(here, f"d{local_rank}").mkdir()
    finished = msrun(here, port, "--worker_num=2", "--local_worker_num=2", "--log_dir=logs", script("pwd"))
    assert finished.code == 0
    assert logs(f"{here}/logs")["worker_1.log"] == f"{here}/d1\n"


def test_one_rank_of_another_launcher_becomes_the_task(here: str, script: Script) -> None:
    env = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}
    finished = run("msrun", "--join=True", script('echo "${RANK_ID} of ${RANK_SIZE}"'), cwd=here, env=env)
    assert (finished.code, finished.out) == (0, "1 of 2\n")
    assert "--join" in finished.err


@pytest.fixture
def taken() -> Iterator[str]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield str(server.getsockname()[1])


@pytest.fixture
def host() -> Iterator[Host]:
    """A node with a network of its own."""
    with two_hosts() as (first, _):
        yield first


def test_where_the_scheduler_is_with_addresses_of_every_kind(here: str, port: str, script: Script, host: Host) -> None:
    """The first and the second address of an interface, link-local ones with and without the interface, and nobody's;
    also where programs may bind addresses that are not theirs."""
    subprocess.run([*host.enter, "ip", "address", "add", "10.77.0.9/24", "dev", "cable"], check=True)
    subprocess.run([*host.enter, "ip", "address", "add", "fe80::9/64", "dev", "cable", "nodad"], check=True)
    words = ("--worker_num=2", "--local_worker_num=1", script('echo "${MS_ROLE} ${MS_SCHED_HOST}"'))

    def runs_scheduler(address: str) -> bool:
        directory = f"{len(os.listdir(here))}"
        finished = msrun(here, port, f"--log_dir={directory}", f"--master_addr={address}", *words, before=host.enter)
        assert finished.code == 0
        found = logs(f"{here}/{directory}")
        assert found["worker_0.log"] == f"MS_WORKER {address.strip('[]')}\n"
        return "scheduler.log" in found

    own = (host.address, "10.77.0.9", f"[{host.address6}]", "fe80::9", "[fe80::9%cable]")
    foreign = ("10.77.0.2", ELSEWHERE, "fd77::2", "fe80::8", "fe80::9%lo")
    assert [runs_scheduler(address) for address in (*own, *foreign)] == [True] * len(own) + [False] * len(foreign)
    for version in (4, 6):
        setting = f"echo 1 > /proc/sys/net/ipv{version}/ip_nonlocal_bind"
        subprocess.run([*host.enter, "sh", "-c", setting], check=True)
    assert runs_scheduler(host.address)
    assert not runs_scheduler("10.77.0.2")
    assert not runs_scheduler("fd77::2")


def assert_refused(finished: Finished, here: str, code: int, line: str) -> None:
    """One line, its code, and nothing was started or written."""
    assert finished.code == code
    assert [text for text in finished.err.splitlines() if not text.startswith("usage: ")] == [f"ma2l: error: {line}"]
    assert os.listdir(here) == ["worker.sh"]


def test_a_port_that_is_taken(here: str, script: Script, taken: str) -> None:
    finished = msrun(here, taken, "--worker_num=2", "--local_worker_num=2", "--log_dir=logs", script(WHO))
    assert_refused(finished, here, 78, (
        f"cannot start the scheduler on 127.0.0.1 port {taken}: Address already in use; "
        "end who holds it, or choose another --master_port"
    ))  # fmt: skip


def test_a_port_that_is_taken_does_not_matter_elsewhere(here: str, script: Script, taken: str) -> None:
    words = ("--worker_num=2", "--local_worker_num=1", "--node_rank=1", f"--master_addr={ELSEWHERE}", script(WHO))
    assert msrun(here, taken, *words).code == 0


def test_a_first_node_without_the_schedulers_address_is_warned(here: str, port: str, script: Script) -> None:
    words = ("--worker_num=2", "--local_worker_num=1", "--node_rank=0", f"--master_addr={ELSEWHERE}", script(WHO))
    finished = msrun(here, port, *words)
    assert finished.code == 0
    assert complaints(finished) == [
        f"ma2l: warning: no scheduler is started here: {ELSEWHERE} is no address of this node, though it is node 0"
    ]


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        ((), 2, "cannot start: no task script was given; see ma2l msrun --help"),
        (("--worker_num=2", "./worker.sh"), 2, (
            "cannot start 8 workers here: the whole job has 2; write --local_worker_num=2 or fewer")),
        (("--worker_num=16", "--node_rank=2", "./worker.sh"), 2, (
            "cannot be node 2: its 8 workers would be ranks 16 to 23 of a job of 16; "
            "correct --node_rank, --local_worker_num or --worker_num")),
        (("--master_port=80", "./worker.sh"), 2, (
            "cannot use --master_port=80: it is out of range; write a number from 1024 to 65535")),
        (("--join=maybe", "./worker.sh"), 2, (
            "cannot use --join=maybe: it is neither True nor False; write True or False")),
        (("--worker-nun=2", "./worker.sh"), 2, (
            "cannot use the option --worker-nun: msrun has none of that name; "
            "did you mean --worker_num? see ma2l msrun --help")),
        ((f"--master_addr={ELSEWHERE}", "./worker.sh"), 78, (
            f"cannot start the scheduler on {ELSEWHERE}: all workers run here, and this is no address of this node; "
            "correct --master_addr, or leave it out")),
        (("net.py",), 127, (
            "cannot run net.py: there is no such file, and no such program in PATH; check the name")),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_before_anything_starts(
    here: str, script: Script, words: tuple[str, ...], code: int, line: str
) -> None:
    script(WHO)
    assert_refused(run("msrun", *words, cwd=here), here, code, line)


def test_help_names_every_parameter(here: str) -> None:
    finished = run("msrun", "--help", cwd=here)
    assert (finished.code, finished.err) == (0, "")
    for name in ("worker_num N ", "master_addr ADDR ", "join True|False ", "sim_level 0-3 ", "tail_worker_log RANKS "):
        assert f"  --{name}" in finished.out
    assert "(default: 8118)" in finished.out
