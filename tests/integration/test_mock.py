"""Mock jobs with real launchers: what ranks see on each platform, how a job ends, and when ma2l mocks at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from ma2l.linux import processes
from tests.integration.harness import MA2L, Finished, Running, run, until

Script = Callable[..., str]

DUMP = 'env -0 > "env.$RANK.part"; mv "env.$RANK.part" "env.$RANK"; '
TABLE = 'if [ -n "$RANK_TABLE_FILE" ]; then cp "$RANK_TABLE_FILE" "table.$RANK"; fi; '
WAIT = "while :; do sleep 1000 & wait; done"
STEADY = f"trap 'echo TERM >> \"term.$RANK\"; exit 0' TERM; {DUMP}{WAIT}"
# The machines that run these tests may be larger or smaller than what a mock chooses by itself.
ASKED_FOR = [
    (platform, shape)
    for platform in ("modelarts", "volcano", "ascendjob", "bare")
    for shape in ("1", "8", "2x4")
    if (platform, shape) != ("bare", "2x4")
]


def seen(here: str) -> dict[int, dict[str, str]]:
    """The environment of every rank that ran."""
    found = {}
    for path in Path(here).glob("env.*[0-9]"):
        variables = path.read_bytes().decode(errors="surrogateescape").split("\0")
        found[int(path.suffix[1:])] = dict(variable.split("=", 1) for variable in variables if variable)
    return dict(sorted(found.items()))


def all_seen(here: str, ranks: int) -> Callable[[], bool]:
    return lambda: all(Path(here, f"env.{rank}").exists() for rank in range(ranks))


def values(here: str, name: str) -> list[str | None]:
    """A variable as each rank saw it, by rank."""
    return [environ.get(name) for environ in seen(here).values()]


@pytest.mark.parametrize(("platform", "shape"), ASKED_FOR)
def test_every_rank_is_told_who_it_is(here: str, script: Script, platform: str, shape: str) -> None:
    finished = run("--mock", shape, "--mock-platform", platform, script(DUMP + TABLE), cwd=here)
    assert finished.code == 0
    nodes, _, devices = shape.rpartition("x")
    per_node, world = int(devices), int(nodes or 1) * int(devices)
    environs = seen(here)
    assert list(environs) == list(range(world))
    for rank, environ in environs.items():
        expected = {
            "RANK": str(rank),
            "WORLD_SIZE": str(world),
            "LOCAL_RANK": str(rank % per_node),
            "LOCAL_WORLD_SIZE": str(per_node),
            "NNODES": str(world // per_node),
            "NODE_RANK": str(rank // per_node),
            "NPUS_PER_NODE": str(per_node),
            "MASTER_ADDR": "127.0.0.1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONFAULTHANDLER": "1",
            "MA2L_RESTART_COUNT": "0",
        }
        assert {name: environ.get(name) for name in expected} == expected
        assert {"MASTER_PORT", "OMP_NUM_THREADS", "MA2L_RUN_ID", "MA2L_LOG_DIR"} <= environ.keys()
        assert environ.keys() & {"MS_ROLE", "RANK_TABLE_FILE_V_1_0", "MINDSPORE_HCCL_CONFIG_PATH"} == set()
        has_table = (platform, shape) != ("bare", "1")
        check_table_names(here, environ, rank, world, platform) if has_table else check_no_table_names(environ)
    assert len({environ["MASTER_PORT"] for environ in environs.values()}) == 1


def check_table_names(here: str, environ: Mapping[str, str], rank: int, world: int, platform: str) -> None:
    """A rank that meets the others through a rank table."""
    own = environ["LOCAL_RANK"]
    expected = {
        "RANK_ID": str(rank),
        "RANK_SIZE": str(world),
        "DEVICE_ID": own,
        "ASCEND_DEVICE_ID": own,
        "HCCL_CONNECT_TIMEOUT": "1800" if platform == "modelarts" else "1200",
        "ASCEND_PROCESS_LOG_PATH": f"{environ['MA2L_LOG_DIR']}/ascend/process_log/rank_{rank}",
    }
    assert {name: environ.get(name) for name in expected} == expected
    assert environ["JOB_ID"]
    table = json.loads(Path(here, f"table.{rank}").read_text())
    devices = [(d["rank_id"], int(d["device_id"])) for server in table["server_list"] for d in server["device"]]
    assert [rank_id for rank_id, _ in devices] == [str(number) for number in range(world)]
    mine = devices[rank - int(own) : rank - int(own) + int(environ["LOCAL_WORLD_SIZE"])]
    assert mine == sorted(mine, key=lambda entry: entry[1]), "DEVICE_ID counts devices in the order of physical ids"


def check_no_table_names(environ: Mapping[str, str]) -> None:
    """A rank that is alone, on a server without a platform: no table is invented."""
    names = ("RANK_TABLE_FILE", "RANK_ID", "RANK_SIZE", "DEVICE_ID", "ASCEND_DEVICE_ID", "JOB_ID")
    assert [name for name in names if name in environ] == []


def test_the_table_that_completes_late_is_waited_for(here: str, script: Script) -> None:
    before = time.monotonic()
    finished = run("--mock", "2x1", "--mock-table-delay", "0.5", script(DUMP), cwd=here)
    assert finished.code == 0
    assert time.monotonic() - before >= 0.5
    assert finished.err.count("still initializing") == 2
    assert list(seen(here)) == [0, 1]


def test_without_any_sign_one_loud_line_says_mock(here: str, script: Script) -> None:
    finished = run(script(DUMP), cwd=here)
    assert finished.code == 0
    lines = [line for line in finished.err.splitlines() if "MOCK" in line]
    assert len(lines) == 1
    assert "no NPU and no sign of a platform; MA2L_MOCK=0 forbids it" in lines[0]
    world = len(seen(here))
    assert 1 <= world <= 8
    assert f"1 node with {world} NPU" in lines[0]


@pytest.mark.parametrize("env", [{"MA2L_MOCK": "0"}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}])
def test_with_a_sign_or_forbidden_there_is_no_mock(here: str, env: Mapping[str, str]) -> None:
    finished = run("touch", "started", cwd=here, env=env)
    assert finished.code == 197
    assert finished.err.count("\n") == 1
    assert finished.err.startswith("ma2l: error: cannot find an NPU to run on: ")
    assert "MOCK" not in finished.err
    assert not Path(here, "started").exists()


def test_granted_devices_are_used_and_not_mocked(here: str, script: Script) -> None:
    finished = run(script(DUMP), cwd=here, env={"ASCEND_VISIBLE_DEVICES": "4-6"})
    assert "MOCK" not in finished.err
    assert finished.code == 0
    assert list(seen(here)) == [0, 1, 2]


def test_npu_smi_in_a_worker_is_the_mocks(here: str) -> None:
    assert run("--mock", "4", "--log-dir", "logs", "npu-smi", "info", cwd=here).code == 0
    for rank in range(4):
        text = Path(here, f"logs/worker_{rank}.log").read_text()
        assert "npu-smi mock-" in text
        assert [line.split()[1] for line in text.splitlines() if "910B2" in line] == ["4", "5", "6", "7"]


def test_a_failing_rank_stops_the_other_node_and_its_code_comes_out(here: str, script: Script) -> None:
    fails = f"""\
if [ "$RANK" = 3 ]; then
    until [ -e env.0 ] && [ -e env.1 ] && [ -e env.2 ]; do sleep 0.01; done
    echo no space left; exit 11
fi
{STEADY}"""
    finished = run("--mock", "2x2", "--stop-grace", "3600", script(fails), cwd=here)
    assert finished.code == 11
    assert "rank 3 failed first: exit code 11" in finished.err
    assert "the launcher of node 1 failed first: exit code 11" in finished.err
    assert "no space left" in finished.err
    assert terminated(here) == {0: 1, 1: 1, 2: 1}


def terminated(here: str) -> dict[int, int]:
    """How often each rank got SIGTERM."""
    paths = sorted(Path(here).glob("term.*"))
    return {int(path.suffix[1:]): len(path.read_text().splitlines()) for path in paths}


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_reaches_every_worker_of_every_node_once(here: str, script: Script, signum: int) -> None:
    worker = f"""\
trap 'echo TERM >> "term.$RANK"; stopping=1' TERM
{DUMP}
until [ "$stopping" ]; do sleep 1000 & wait $!; done
until [ -e term.0 ] && [ -e term.1 ] && [ -e term.2 ] && [ -e term.3 ]; do sleep 0.01; done
sleep 0.2
touch "saved.$RANK"
"""
    with Running("--mock", "2x2", "--stop-grace", "3600", script(worker), cwd=here) as running:
        until(all_seen(here, 4))
        running.send(signum)
        assert running.finish().code == 128 + signum
    assert terminated(here) == {0: 1, 1: 1, 2: 1, 3: 1}
    assert len(list(Path(here).glob("saved.*"))) == 4


def launcher_of_node(running: Running, node: int) -> tuple[int, int]:
    """Pids of a node's guard and launcher, below the outer launcher."""
    for guard in processes.children(running.launcher):
        environ = Path(f"/proc/{guard}/environ").read_bytes().split(b"\0")
        if f"VC_TASK_INDEX={node}".encode() in environ:
            return guard, processes.children(guard)[0]
    raise AssertionError(f"node {node} has no launcher")


@pytest.mark.parametrize("victim", ["outer guard", "outer launcher", "inner guard", "inner launcher"])
def test_sigkill_anywhere_leaves_nothing(here: str, script: Script, victim: str) -> None:
    stubborn = f"trap '' TERM; env -i setsid sleep 1000 & {DUMP}{WAIT}"
    own = {"TMPDIR": here}  # nobody removes the files of a killed launcher
    with Running("--mock", "2x2", "--stop-grace", "0.3", script(stubborn), cwd=here, env=own) as running:
        until(all_seen(here, 4))
        guard, launcher = launcher_of_node(running, 1)
        pids = {"outer guard": running.pid, "outer launcher": running.launcher}
        os.kill({**pids, "inner guard": guard, "inner launcher": launcher}[victim], signal.SIGKILL)
        assert running.finish().code == 137


@contextlib.contextmanager
def job(directory: str, *words: str) -> Iterator[Running]:
    os.mkdir(directory)
    with Running("--mock", "2x2", *words, cwd=directory) as running:
        yield running


@pytest.mark.parametrize("platform", ["modelarts", "ascendjob"])
def test_two_jobs_at_the_same_time_meet_at_different_ports(here: str, script: Script, platform: str) -> None:
    words = ("--mock-platform", platform, "--mode", "dynamic-cluster")
    worker = script(f'[ -n "$RANK" ] || RANK=9; {STEADY}')  # 9: the scheduler
    first, second = f"{here}/first", f"{here}/second"
    with job(first, *words, worker) as one, job(second, *words, worker) as other:
        for directory in (first, second):
            until(all_seen(directory, 4))
            until(Path(directory, "env.9").exists)
        one.send(signal.SIGTERM)
        other.send(signal.SIGTERM)
        ends = [running.process.communicate(timeout=60) for running in (one, other)]
        assert len(ends) == 2
    ports = [
        {environ[name] for environ in seen(directory).values()}
        for directory in (first, second)
        for name in ("MASTER_PORT", "MS_SCHED_PORT")
    ]
    assert [len(alike) for alike in ports] == [1, 1, 1, 1]
    assert len(set.union(*ports)) == 4


def test_ports_that_the_user_chose_stay(here: str, script: Script) -> None:
    env = {"MASTER_PORT": "29511", "MS_SCHED_PORT": "8222"}
    assert run("--mock", "2x1", "--mode", "dynamic-cluster", script(DUMP), cwd=here, env=env).code == 0
    assert values(here, "MASTER_PORT") == ["29511"] * len(seen(here))
    assert values(here, "MS_SCHED_PORT") == ["8222"] * len(seen(here))


MODES = {
    "flag": (("--mode", "torch"), {}, ""),
    "variable": ((), {"MA2L_MODE": "torch"}, ""),
    "file": ((), {}, "mode: torch\n"),
    "flag over variable": (("--mode", "torch"), {"MA2L_MODE": "dynamic-cluster"}, ""),
    "variable over file": ((), {"MA2L_MODE": "torch"}, "mode: dynamic-cluster\n"),
}


@pytest.mark.parametrize("way", MODES)
def test_options_reach_the_nodes_from_wherever_they_come(here: str, script: Script, way: str) -> None:
    words, env, text = MODES[way]
    if text:
        Path(here, "ma2l.yaml").write_text(text)
    finished = run("--mock", "2x1", *words, script(DUMP), cwd=here, env=env)
    assert finished.code == 0
    assert finished.err.count("mode torch") == 2
    assert list(seen(here)) == [0, 1]
    assert values(here, "RANK_TABLE_FILE") == [None, None]


def test_the_file_may_ask_for_the_mock_and_share_its_log_directory(here: str, script: Script) -> None:
    config = "mock: 2x2\nmock_platform: volcano\nlog_dir: here/logs\nconsole-ranks: 3\nstop_grace: 7\n"
    Path(here, "my.yaml").write_text(config)
    finished = run("--config", "my.yaml", script(f"{DUMP} echo rank $RANK speaks"), cwd=here)
    assert finished.code == 0
    assert finished.out == "[3] rank 3 speaks\n"
    assert values(here, "HCCL_CONNECT_TIMEOUT") == ["1200"] * 4
    written = sorted(path.name for path in Path(here, "here/logs").iterdir())
    assert [f"worker_{rank}.log" for rank in range(4)] == [name for name in written if name.startswith("worker_")]
    assert {"node0.plan.json", "node1.plan.json", "node0.outcome.json", "node1.outcome.json"} <= set(written)


@pytest.mark.parametrize("platform", ["modelarts", "volcano"])
def test_nodes_share_the_log_directory_of_the_flag(here: str, script: Script, platform: str) -> None:
    words = ("--mock", "2x2", "--mock-platform", platform, "--log-dir", "logs", script("echo $RANK"))
    assert run(*words, cwd=here).code == 0
    assert [Path(here, f"logs/worker_{rank}.log").read_text() for rank in range(4)] == ["0\n", "1\n", "2\n", "3\n"]


def test_words_of_the_command_reach_the_nodes_as_they_are(here: str, script: Script) -> None:
    worker = script('printf "%s\\n" "$@" > "words.$RANK"')
    words = ("--mode", "--", "a b", "", "$HOME", "\udcff\udce4", "--mock=7", "é")
    assert run("--mock", "2x1", "--", worker, *words, cwd=here).code == 0
    for rank in range(2):
        assert os.fsdecode(Path(here, f"words.{rank}").read_bytes()).split("\n")[:-1] == list(words)


ONCE = """env -0 > "once.$NODE_RANK"; printf '%s\\n' "$*" >> calls"""


@pytest.mark.parametrize("way", ["torchrun on PATH", "--per-node"])
def test_a_command_that_starts_ranks_itself_runs_once_per_node(here: str, script: Script, way: str) -> None:
    program = script(ONCE, "torchrun" if way == "torchrun on PATH" else "run.sh")
    options, command = ((), "torchrun") if way == "torchrun on PATH" else (("--per-node",), program)
    env = {"PATH": f"{here}:{os.environ['PATH']}"}
    finished = run("--mock", "2x4", *options, command, "--nproc_per_node", "4", "x.py", cwd=here, env=env)
    assert finished.code == 0
    assert finished.err.count("started 1 process of a job of 8 ranks") == 2
    assert Path(here, "calls").read_text() == "--nproc_per_node 4 x.py\n" * 2
    for node in range(2):
        variables = Path(here, f"once.{node}").read_bytes().decode().split("\0")
        environ = dict(variable.split("=", 1) for variable in variables if variable)
        expected = {
            "NNODES": "2",
            "NODE_RANK": str(node),
            "MASTER_ADDR": "127.0.0.1",
            "NPUS_PER_NODE": "4",
            "WORLD_SIZE": "8",
        }
        assert {name: environ.get(name) for name in expected} == expected
        assert environ["MASTER_PORT"].isdigit()
        assert environ.keys() & {"RANK", "LOCAL_RANK", "RANK_ID", "DEVICE_ID", "RANK_TABLE_FILE"} == set()


def test_that_it_runs_once_per_node_is_said(here: str, script: Script) -> None:
    env = {"PATH": f"{here}:{os.environ['PATH']}"}
    script(ONCE, "torchrun")
    assert run("--mock", "2", "--log-dir", "logs", "torchrun", cwd=here, env=env).code == 0
    assert (
        "torchrun runs once per node: torchrun starts the ranks itself"
        in Path(here, "logs/node0.launcher.log").read_text()
    )


def under_mpirun(here: str, *words: str, env: Mapping[str, str | None] | None = None) -> Finished:
    """Run with a real mpirun in front of ma2l."""
    mpirun = shutil.which("mpirun")
    if mpirun is None:
        pytest.skip("install openmpi-bin")
    options = ("--allow-run-as-root", "--oversubscribe", "-n", "2")
    with Running(*words, cwd=here, env=env, before=(mpirun, *options)) as running:
        return running.finish()


def test_under_mpirun_the_command_takes_the_place_of_ma2l(here: str, script: Script) -> None:
    worker = script(f'{DUMP} echo "$$ $(cat /proc/$PPID/comm) $(tr "\\0" " " < /proc/$$/cmdline)" > "who.$RANK"')
    finished = under_mpirun(here, worker, "a word")
    assert finished.code == 0
    assert "ma2l" not in finished.err
    environs = seen(here)
    assert list(environs) == [0, 1]
    for rank, environ in environs.items():
        own = dict.fromkeys(("RANK", "LOCAL_RANK", "DEVICE_ID", "ASCEND_DEVICE_ID", "RANK_ID"), str(rank))
        expected = {**own, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        assert {name: environ.get(name) for name in expected} == expected
        assert environ["OMPI_COMM_WORLD_RANK"] == str(rank)
        pid, parent, command = Path(here, f"who.{rank}").read_text().strip().split(" ", 2)
        assert parent.startswith(("mpirun", "orted")), "the worker is the very process that mpirun started"
        assert command == f"/bin/sh {worker} a word"
        assert int(pid) > 1
    assert len(set(values(here, "MASTER_PORT"))) == 1
    assert not Path(here, "ma2l-log").exists()


def test_under_mpirun_what_the_user_set_stays_and_the_code_comes_out(here: str, script: Script) -> None:
    env = {"MASTER_ADDR": "127.0.0.9", "MASTER_PORT": "29777", "DEVICE_ID": "5"}
    finished = under_mpirun(here, script(f'{DUMP} [ "$RANK" = 0 ] || exit 6'), env=env)
    assert finished.code == 6
    assert seen(here)[0]["MASTER_ADDR"] == "127.0.0.9"
    assert values(here, "MASTER_PORT") == ["29777"] * 2
    assert values(here, "DEVICE_ID") == ["5"] * 2


@pytest.mark.parametrize(("name", "code"), [("none", 127), ("plain", 126), ("no-interpreter", 126)])
def test_a_command_that_cannot_take_the_place_is_one_line(here: str, script: Script, name: str, code: int) -> None:
    script("#!/nowhere/python\n", "no-interpreter")
    path = Path(here, "plain")
    path.write_text("echo no interpreter line\n")
    path.chmod(0o755)
    env = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}
    finished = run(f"./{name}", cwd=here, env=env)
    assert finished.code == code
    assert finished.err.count("\n") == 1
    assert name in finished.err


def test_a_scheduler_that_calls_ma2l_is_one_process_too(here: str, script: Script) -> None:
    worker = script('echo "${RANK-scheduler} of $WORLD_SIZE" >> calls')
    assert run("--mock", "2", "--mode", "dynamic-cluster", *MA2L, worker, cwd=here).code == 0
    assert sorted(Path(here, "calls").read_text().splitlines()) == ["0 of 2", "1 of 2", "scheduler of 2"]


def test_the_exit_code_is_that_of_the_rank_that_failed_first_not_of_the_node_that_ended_first(
    here: str, script: Script
) -> None:
    worker = script("""\
wait_for() { until [ -e "$1" ]; do sleep 0.01; done; }
case $RANK in
    0) wait_for ready.1; wait_for ready.3; exit 5 ;;
    1) trap 'touch saving; wait_for logs/node1.outcome.json; exit 0' TERM ;;
    2) wait_for saving; exit 7 ;;
esac
touch "ready.$RANK"
while :; do sleep 1000 & wait; done""")
    finished = run("--mock", "2x2", "--stop-grace", "3600", "--log-dir", "logs", worker, cwd=here)
    assert finished.code == 5
    assert "the launcher of node 1 failed: exit code 7" in finished.err
    assert "the launcher of node 0 failed first: exit code 5" in finished.err
