"""What ``ma2l msrun`` starts on a node: who runs here, and each process's exact environment."""

from __future__ import annotations

import pytest

from ma2l.errors import ConfigError, UsageError
from ma2l.logs.names import Names
from ma2l.msrun.arguments import Arguments
from ma2l.msrun.layout import Layout, layout
from ma2l.msrun.plan import Here, make
from ma2l.plan.spec import Plan, Site
from ma2l.records import replace

COMMAND = ("python", "net.py")
Env = dict[str, "str | None"]

NO_TABLE: Env = dict.fromkeys(
    (
        *("RANK_TABLE_FILE", "RANK_TABLE_FILE_V_1_0", "MINDSPORE_HCCL_CONFIG_PATH"),
        *("RANK_ID", "RANK_SIZE", "DEVICE_ID", "ASCEND_DEVICE_ID"),
    )
)


def site(environ: dict[str, str], master_ip: str) -> Site:
    return Site(
        environ=environ,
        program="/bin/python",
        run_id="RUN",
        run_dir="/run",
        log_dir="/logs",
        attempt=1,
        cpus=8,
        ports=(20001, 20002),
        master_ip=master_ip,
    )


def plan(
    arguments: Arguments, environ: dict[str, str] | None = None, master_ip: str = "127.0.0.1", local: bool = True
) -> Plan:
    environ = environ or {}
    here = Here(site(environ, master_ip), Names("/logs", "node0"), hosts_scheduler=local)
    return make(arguments, layout(arguments, environ), COMMAND, here)


def shared(total: int, local: int, address: str = "127.0.0.1", port: int = 20001) -> Env:
    """What every process of a job with a cluster gets, beside the names of its node."""
    return {
        **NO_TABLE, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", "OMP_NUM_THREADS": str(8 // local),
        "MA2L_RUN_ID": "RUN", "MA2L_LOG_DIR": "/logs", "MA2L_RESTART_COUNT": "0",
        "MS_SCHED_HOST": address, "MS_SCHED_PORT": "8118", "MS_WORKER_NUM": str(total), "RANK_SIZE": str(total),
        "MS_TOPO_TIMEOUT": "600", "MS_CLUSTER_TIMEOUT": "600", "MS_NODE_ID": None,
        "MASTER_ADDR": address, "MASTER_PORT": str(port), "WORLD_SIZE": str(total), "LOCAL_WORLD_SIZE": str(local),
        "NPUS_PER_NODE": str(local), "RANK": None,
    }  # fmt: skip


def of_node(node: int, nodes: int) -> Env:
    return {"NNODES": str(nodes), "NODE_RANK": str(node)}


def worker(index: int, rank: int | None) -> Env:
    env: Env = {"MS_ROLE": "MS_WORKER", "DEVICE_ID": str(index), "LOCAL_RANK": str(index)}
    return env if rank is None else {**env, **dict.fromkeys(("RANK_ID", "MS_NODE_ID", "RANK"), str(rank))}


SCHEDULER: Env = {"MS_ROLE": "MS_SCHED", "RANK_ID": "0", "LOCAL_RANK": None}


def test_all_workers_on_one_node() -> None:
    made = plan(Arguments(worker_num=2, local_worker_num=2))
    common = {**shared(2, 2), **of_node(0, 1)}
    assert [dict(spec.env) for spec in made.processes] == [
        {**common, **SCHEDULER},
        {**common, **worker(0, 0)},
        {**common, **worker(1, 1)},
    ]
    assert [spec.log for spec in made.processes] == ["/logs/scheduler.log", "/logs/worker_0.log", "/logs/worker_1.log"]
    assert {spec.argv for spec in made.processes} == {COMMAND}
    assert (made.mode, made.node_rank, made.nodes, made.world_size) == ("dynamic-cluster", 0, 1, 2)
    assert (made.master_addr, made.master_port, made.warnings) == ("127.0.0.1", 8118, ())


@pytest.mark.parametrize("node", [0, 1])
def test_a_node_that_knows_its_rank(node: int) -> None:
    arguments = Arguments(worker_num=4, local_worker_num=2, node_rank=node)
    made = plan(arguments, master_ip="10.0.0.1", local=node == 0)
    common = {**shared(4, 2, "10.0.0.1", 29500), **of_node(node, 2)}
    workers = [{**common, **worker(index, 2 * node + index)} for index in range(2)]
    assert [dict(spec.env) for spec in made.processes] == [*([{**common, **SCHEDULER}] if node == 0 else []), *workers]
    logs = [spec.log for spec in made.processes if spec.role == "rank"]
    assert logs == [f"/logs/worker_{2 * node}.log", f"/logs/worker_{2 * node + 1}.log"]


@pytest.mark.parametrize("local", [True, False])
def test_ranks_that_mindspore_assigns(local: bool) -> None:
    """A rank is in nobody's environment then, and the scheduler's is not in the workers'."""
    made = plan(Arguments(worker_num=4, local_worker_num=2), {"RANK_ID": "9", "RANK": "9"}, "10.0.0.1", local)
    common = shared(4, 2, "10.0.0.1", 29500)
    workers = [{**common, **worker(index, None)} for index in range(2)]
    assert [dict(spec.env) for spec in made.processes] == [*([{**common, **SCHEDULER}] if local else []), *workers]
    ranks = [spec for spec in made.processes if spec.role == "rank"]
    assert [(spec.name, spec.rank, spec.log) for spec in ranks] == [
        ("worker 0", None, "/logs/worker_0.log"),
        ("worker 1", None, "/logs/worker_1.log"),
    ]
    assert (made.node_rank, made.nodes) == (-1, 2)


@pytest.mark.parametrize("timeout", [-1, 0, 300])
def test_the_timeout_is_passed_on_whatever_it_is(timeout: int) -> None:
    env = plan(Arguments(cluster_time_out=timeout), {"MS_TOPO_TIMEOUT": "7"}).processes[0].env
    assert (env["MS_TOPO_TIMEOUT"], env["MS_CLUSTER_TIMEOUT"]) == (str(timeout), str(timeout))


def test_a_rank_table_is_exported_and_nothing_more() -> None:
    environ = {"RANK_TABLE_FILE": "/theirs.json", "MINDSPORE_HCCL_CONFIG_PATH": "/theirs.json"}
    for spec in plan(Arguments(rank_table_file="t.json"), environ).processes:
        assert (spec.env["RANK_TABLE_FILE"], spec.env["MINDSPORE_HCCL_CONFIG_PATH"]) == ("t.json", None)
    assert plan(Arguments(), environ).processes[0].env["RANK_TABLE_FILE"] is None


def simulated(arguments: Arguments, environ: dict[str, str] | None = None) -> list[tuple[str | None, ...]]:
    """Rank, node id, size, level, device and log of each worker of a dry run; nothing of a cluster is in it."""
    made = plan(arguments, environ)
    assert made.mode == "dry run"
    cluster = ("MS_ROLE", "MS_SCHED_HOST", "MS_SCHED_PORT")
    assert {(spec.role, *(spec.env[name] for name in cluster)) for spec in made.processes} == {
        ("rank", None, None, None)
    }
    assert not any("MS_TOPO_TIMEOUT" in spec.env for spec in made.processes)
    assert {spec.env["MS_WORKER_NUM"] for spec in made.processes} == {str(arguments.worker_num)}
    names = ("RANK_ID", "MS_NODE_ID", "RANK_SIZE", "MS_SIMULATION_LEVEL", "DEVICE_ID")
    return [(*(spec.env.get(name) for name in names), spec.log) for spec in made.processes]


def test_a_dry_run_has_no_scheduler() -> None:
    assert simulated(Arguments(worker_num=2, local_worker_num=2, sim_level=1)) == [
        ("0", "0", "2", "1", "0", "/logs/worker_0.log"),
        ("1", "1", "2", "1", "1", "/logs/worker_1.log"),
    ]
    assert simulated(Arguments(worker_num=8, local_worker_num=2, sim_level=0)) == [
        (None, None, "8", "0", "0", "/logs/worker_0.log"),
        (None, None, "8", "0", "1", "/logs/worker_1.log"),
    ]


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        (Arguments(worker_num=4, sim_level=1, sim_rank_id=3), {}, ("3", None, "4", "1", "0", "/logs/worker_0.log")),
        (Arguments(worker_num=1, sim_level=1, sim_rank_id=3), {}, ("3", "0", "1", "1", "0", "/logs/worker_0.log")),
        (
            Arguments(worker_num=4, node_rank=2, sim_level=1, sim_rank_id=3), {},
            ("3", "2", "4", "1", "0", "/logs/worker_2.log"),
        ),
        (Arguments(sim_level=2), {"RANK_ID": "5"}, ("5", None, "8", "2", "0", "/logs/worker_0.log")),
        (
            Arguments(), {"MS_SIMULATION_LEVEL": "1", "RANK_ID": "5", "RANK_SIZE": "64"},
            ("5", None, "64", None, "0", "/logs/worker_0.log"),
        ),
        (
            Arguments(worker_num=256, local_worker_num=256, sim_level=1), {},
            ("0", None, "256", "1", "0", "/logs/worker_0.log"),
        ),
        (
            Arguments(worker_num=256, local_worker_num=256, sim_level=1, sim_rank_id=9), {},
            ("9", None, "256", "1", "0", "/logs/worker_0.log"),
        ),
    ],
)  # fmt: skip
def test_a_dry_run_of_one_rank(arguments: Arguments, environ: dict[str, str], expected: tuple[str | None, ...]) -> None:
    assert simulated(arguments, environ) == [expected]


def test_a_rank_to_simulate_that_is_no_number() -> None:
    with pytest.raises(ConfigError) as error:
        layout(Arguments(sim_level=1), {"RANK_ID": "x"})
    assert str(error.value) == (
        "cannot simulate the rank RANK_ID='x': it is no number; unset it, or pass --sim_rank_id"
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (Arguments(), Layout(8, 8, 0)),
        (Arguments(node_rank=3), Layout(8, 8, 0)),
        (Arguments(worker_num=16), Layout(16, 8, -1)),
        (Arguments(worker_num=16, node_rank=1), Layout(16, 8, 1)),
        (Arguments(worker_num=12, local_worker_num=4, node_rank=2), Layout(12, 4, 2)),
    ],
)
def test_who_runs_here(arguments: Arguments, expected: Layout) -> None:
    assert layout(arguments, {"RANK_ID": "7"}) == expected


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (Arguments(worker_num=2), (
            "cannot start 8 workers here: the whole job has 2; write --local_worker_num=2 or fewer")),
        (Arguments(worker_num=16, node_rank=2), (
            "cannot be node 2: its 8 workers would be ranks 16 to 23 of a job of 16; "
            "correct --node_rank, --local_worker_num or --worker_num")),
        (Arguments(worker_num=12, node_rank=1), (
            "cannot be node 1: its 8 workers would be ranks 8 to 15 of a job of 12; "
            "correct --node_rank, --local_worker_num or --worker_num")),
    ],
)  # fmt: skip
def test_numbers_that_contradict_each_other(arguments: Arguments, line: str) -> None:
    with pytest.raises(UsageError) as error:
        layout(arguments, {})
    assert str(error.value) == line


@pytest.mark.parametrize(
    ("arguments", "local", "warnings"),
    [
        (Arguments(node_rank=0), True, ()),
        (Arguments(node_rank=2), True, ("--node_rank=2 has no effect: all 8 workers run here",)),
        (Arguments(worker_num=16, node_rank=0), True, ()),
        (Arguments(worker_num=16, node_rank=1), False, ()),
        (Arguments(worker_num=16), False, ()),
        (Arguments(worker_num=16, node_rank=0), False, (
            "no scheduler is started here: 127.0.0.1 is no address of this node, though it is node 0",)),
        (Arguments(tail_worker_log="0,7"), True, ()),
        (Arguments(tail_worker_log="0,8,9"), True, (
            "--tail_worker_log=0,8,9: there is no rank 8, 9 in a job of 8",)),
        (Arguments(sim_level=1, sim_rank_id=4), True, ("dry run of one worker, as rank 4",)),
    ],
)  # fmt: skip
def test_what_is_odd_and_runs_all_the_same(arguments: Arguments, local: bool, warnings: tuple[str, ...]) -> None:
    assert plan(arguments, local=local).warnings == warnings


def test_the_users_own_values_stay() -> None:
    env = plan(Arguments(), {"MASTER_PORT": "6000", "OMP_NUM_THREADS": "3"}).processes[0].env
    assert env["MASTER_PORT"] == "6000"
    assert "OMP_NUM_THREADS" not in env


def test_a_preload_is_for_workers_and_a_range_of_devices_is_written_out() -> None:
    environ = {"MA2L_WORKER_LD_PRELOAD": "lib.so", "ASCEND_RT_VISIBLE_DEVICES": "0-1"}
    env = plan(Arguments(), environ).processes[1].env
    assert (env["LD_PRELOAD"], env["ASCEND_RT_VISIBLE_DEVICES"]) == ("lib.so", "0,1")


def test_a_directory_and_a_log_name_for_each_worker() -> None:
    arguments = Arguments(worker_num=4, local_worker_num=2, node_rank=1)
    names = Names("/logs", "node1")
    here = Here(site({}, "10.0.0.1"), names, hosts_scheduler=False, stem="w_host", chdir="d{rank}.{local_rank}")
    made = make(arguments, layout(arguments, {}), COMMAND, here)
    assert [(spec.cwd, spec.log) for spec in made.processes] == [
        ("d2.0", "/logs/w_host_2.log"),
        ("d3.1", "/logs/w_host_3.log"),
    ]
    moved = make(arguments, layout(arguments, {}), COMMAND, replace(here, hosts_scheduler=True))
    assert (moved.processes[0].cwd, moved.processes[0].log) == ("d0.0", "/logs/scheduler.log")
