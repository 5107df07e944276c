"""The exact difference to the environment that each process gets, in every mode and place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ma2l.errors import ConfigError
from ma2l.plan.make import scheduler_pod
from ma2l.plan.spec import Plan, ProcessSpec, Site
from ma2l.settings import Settings
from tests.unit.scenario import TRAIN, mock_nodes, plan, server_list

UNSET_TABLE = dict.fromkeys(
    (
        *("RANK_TABLE_FILE", "RANK_TABLE_FILE_V_1_0", "MINDSPORE_HCCL_CONFIG_PATH"),
        *("RANK_ID", "RANK_SIZE", "DEVICE_ID", "ASCEND_DEVICE_ID"),
    )
)
NO_MINDSPORE = {"MS_ROLE": None, "MS_NODE_ID": None}
JOB = "modelarts-job-00000000-mock-mock-mock-000000000000"
Env = dict[str, "str | None"]


def every(log_dir: str, threads: int = 4) -> Env:
    """What every process of every mode gets."""
    return {
        "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", "OMP_NUM_THREADS": str(threads), "MA2L_RUN_ID": "RUN",
        "MA2L_LOG_DIR": log_dir, "MA2L_RESTART_COUNT": "0",
    }  # fmt: skip


def mounted(root: str, node: int, platform: str = "modelarts") -> Env:
    """Inputs and outputs of a ModelArts job, by their names; other platforms have none."""
    if platform != "modelarts":
        return {}
    home = f"{root}/node{node}/modelarts"
    return {
        "data_url": f"{home}/inputs/data_url_0", "train_url": f"{home}/outputs/train_url_0",
        "MA2L_RESULTS_DIR": f"{home}/outputs/train_url_0",
    }  # fmt: skip


def meeting(node: int, nodes: int, local: int, address: str, port: int) -> Env:
    """The names of torch that all processes of a node share."""
    return {
        "MASTER_ADDR": address, "MASTER_PORT": str(port), "WORLD_SIZE": str(nodes * local), "NNODES": str(nodes),
        "NODE_RANK": str(node), "LOCAL_WORLD_SIZE": str(local), "NPUS_PER_NODE": str(local),
    }  # fmt: skip


def ranked(rank: int, local: int) -> Env:
    return {"RANK": str(rank), "LOCAL_RANK": str(local)}


def by_table(rank: int, local: int, size: int, log_dir: str, job_id: str, timeout: int) -> Env:
    return {
        **NO_MINDSPORE, "RANK_TABLE_FILE": "/tmp/ma2l-RUN/rank_table.json", "RANK_TABLE_FILE_V_1_0": None,
        "RANK_ID": str(rank), "RANK_SIZE": str(size), "DEVICE_ID": str(local), "ASCEND_DEVICE_ID": str(local),
        "JOB_ID": job_id, "HCCL_CONNECT_TIMEOUT": str(timeout),
        "ASCEND_PROCESS_LOG_PATH": f"{log_dir}/ascend/process_log/rank_{rank}",
    }  # fmt: skip


def dynamic(size: int, address: str, port: int) -> Env:
    return {
        **UNSET_TABLE, "MS_SCHED_HOST": address, "MS_SCHED_PORT": str(port), "MS_WORKER_NUM": str(size),
        "MS_TOPO_TIMEOUT": "600", "MS_CLUSTER_TIMEOUT": "600", "RANK_SIZE": str(size),
    }  # fmt: skip


def worker(rank: int, local: int) -> Env:
    return {"MS_ROLE": "MS_WORKER", "MS_NODE_ID": str(rank), "RANK_ID": str(rank), "DEVICE_ID": str(local)}


def envs(made: Plan) -> list[Env]:
    return [dict(spec.env) for spec in made.processes]


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.mark.parametrize("node", [0, 1])
def test_a_rank_table_on_modelarts(root: str, node: int) -> None:
    made = plan(mock_nodes("modelarts", "2x4", root)[node])
    log_dir = f"{root}/node{node}/modelarts/log"
    assert made.mode == "ranktable"
    assert envs(made) == [
        {
            **every(log_dir),
            **mounted(root, node),
            **meeting(node, 2, 4, "127.0.0.1", 29500),
            **ranked(4 * node + local, local),
            **by_table(4 * node + local, local, 8, log_dir, JOB, 1800),
        }
        for local in range(4)
    ]
    names = [f"{log_dir}/{JOB}-proc-rank-{4 * node + local}-device-{local}.txt" for local in range(4)]
    assert [spec.log for spec in made.processes] == names


@pytest.mark.parametrize("platform", ["volcano", "ascendjob"])
def test_a_rank_table_elsewhere(root: str, platform: str) -> None:
    plans = [plan(environ) for environ in mock_nodes(platform, "2x4", root)]
    job_id = plans[0].processes[0].env["JOB_ID"]
    assert job_id == "mock-task-00000000" if platform == "ascendjob" else str(job_id).startswith("ma2l-")
    port = 2222 if platform == "ascendjob" else 29500
    for node, made in enumerate(plans):
        assert envs(made) == [
            {
                **every("/logs"),
                **meeting(node, 2, 4, "127.0.0.1", port),
                **ranked(4 * node + local, local),
                **by_table(4 * node + local, local, 8, "/logs", str(job_id), 1200),
            }
            for local in range(4)
        ]
        assert [spec.log for spec in made.processes] == [f"/logs/worker_{4 * node + local}.log" for local in range(4)]


def test_a_rank_table_on_a_bare_server(root: str) -> None:
    made = plan(mock_nodes("bare", "1x4", root)[0])
    assert envs(made) == [
        {
            **every("/logs"),
            **meeting(0, 1, 4, "127.0.0.1", 20001),
            **ranked(local, local),
            **by_table(local, local, 4, "/logs", "RUN", 1200),
        }
        for local in range(4)
    ]


def test_one_device_without_a_table_is_torch_and_sees_no_table(root: str) -> None:
    made = plan(mock_nodes("bare", "1x1", root)[0])
    assert (made.mode, made.files) == ("torch", ())
    assert made.trail[-1] == "mode torch: no rank table, one device"
    assert envs(made) == [
        {
            **every("/logs", 16),
            **meeting(0, 1, 1, "127.0.0.1", 20001),
            **ranked(0, 0),
            **UNSET_TABLE,
            **NO_MINDSPORE,
        }
    ]
    assert made.processes[0].stdin


@pytest.mark.parametrize("platform", ["modelarts", "volcano", "ascendjob"])
def test_torch_gets_the_torch_names_and_nothing_of_a_table(root: str, platform: str) -> None:
    for node, environ in enumerate(mock_nodes(platform, "2x4", root)):
        made = plan(environ, mode="torch", log_dir="/own")
        port = 2222 if platform == "ascendjob" else 29500
        assert made.files == ()
        assert envs(made) == [
            {
                **every("/own"),
                **mounted(root, node, platform),
                **meeting(node, 2, 4, "127.0.0.1", port),
                **ranked(4 * node + local, local),
                **UNSET_TABLE,
                **NO_MINDSPORE,
            }
            for local in range(4)
        ]


@pytest.mark.parametrize("platform", ["modelarts", "volcano", "ascendjob"])
def test_a_dynamic_cluster_has_its_scheduler_on_node_0(root: str, platform: str) -> None:
    nodes = mock_nodes(platform, "2x4", root)
    port = 2222 if platform == "ascendjob" else 29500
    for node, environ in enumerate(nodes):
        made = plan(environ, mode="dynamic-cluster", log_dir="/own")
        shared = {
            **every("/own"),
            **mounted(root, node, platform),
            **meeting(node, 2, 4, "127.0.0.1", port),
            **dynamic(8, "127.0.0.1", 8118),
        }
        expected: list[Env] = [
            {**shared, **ranked(4 * node + local, local), **worker(4 * node + local, local)} for local in range(4)
        ]
        if node == 0:
            unset = {"RANK": None, "LOCAL_RANK": None, "MS_NODE_ID": None}
            expected.insert(0, {**shared, **unset, "MS_ROLE": "MS_SCHED", "RANK_ID": "0"})
            assert (made.processes[0].role, made.processes[0].log) == ("scheduler", "/own/scheduler.log")
        assert envs(made) == expected


def test_a_dynamic_cluster_of_one_node_takes_free_ports(root: str) -> None:
    made = plan(mock_nodes("bare", "1x2", root)[0], mode="dynamic-cluster")
    assert [(env["MASTER_PORT"], env["MS_SCHED_PORT"]) for env in envs(made)] == [("20001", "20002")] * 3


@pytest.mark.parametrize("platform", ["modelarts", "volcano", "ascendjob", "bare"])
@pytest.mark.parametrize("why", ["--per-node", "torchrun"])
def test_once_per_node(root: str, platform: str, why: str) -> None:
    environ = mock_nodes(platform, "1x4", root)[0]
    command = ("torchrun", "train.py") if why == "torchrun" else ("bash", "run.sh")
    made = plan(environ, command, per_node=why == "--per-node", log_dir="/own")
    port = 2222 if platform == "ascendjob" else 20001
    expected = {
        **every("/own"),
        **mounted(root, 0, platform),
        **meeting(0, 1, 4, "127.0.0.1", port),
        **UNSET_TABLE,
        "RANK": None,
        "LOCAL_RANK": None,
        "PET_NNODES": "1",
        "PET_NODE_RANK": "0",
        "PET_NPROC_PER_NODE": "4",
        "PET_MASTER_ADDR": "127.0.0.1",
        "PET_MASTER_PORT": str(port),
    }
    assert envs(made) == [expected]
    (spec,) = made.processes
    assert (spec.role, spec.log, spec.rank, spec.stdin, made.mode) == ("once", "/own/node0.log", None, True, "torch")
    reason = "torchrun starts the ranks itself" if why == "torchrun" else "--per-node"
    assert made.notes[0] == f"{command[0]} runs once per node: {reason}"
    assert made.files == ()


def test_once_per_node_and_a_mode_for_ranks_contradict_each_other(root: str) -> None:
    with pytest.raises(ConfigError) as error:
        plan(mock_nodes("bare", "1x4", root)[0], ("torchrun", "x"), mode="ranktable")
    assert str(error.value) == (
        "cannot use the mode ranktable: torchrun starts the ranks itself, and this mode tells each rank who it is; "
        "leave --mode out, or let ma2l start the ranks"
    )


def test_a_table_that_cannot_be_made_is_one_line(root: str) -> None:
    with pytest.raises(ConfigError) as error:
        plan(mock_nodes("bare", "1x1", root)[0], mode="ranktable")
    assert str(error.value) == (
        "cannot use the mode ranktable: there is no rank table and none can be made here; "
        "choose torch or dynamic-cluster"
    )


OPERATOR_MS = {
    "MINDX_TASK_ID": "job", "MS_ROLE": "MS_WORKER", "MS_SCHED_HOST": "10.0.0.9", "MS_SCHED_PORT": "8200",
    "MS_WORKER_NUM": "4", "MS_LOCAL_WORKER": "2", "MS_NODE_RANK": "0",
}  # fmt: skip


@pytest.mark.parametrize("workers", [4, 2])
def test_workers_of_a_prepared_dynamic_cluster_go_to_its_scheduler(workers: int) -> None:
    made = plan({**OPERATOR_MS, "MS_WORKER_NUM": str(workers)}, shown=(0, 1))
    assert made.mode == "dynamic-cluster"
    assert [spec.role for spec in made.processes] == ["rank", "rank"]
    for env in envs(made):
        assert (env["MS_SCHED_HOST"], env["MS_SCHED_PORT"]) == ("10.0.0.9", "8200")
        assert env["MS_WORKER_NUM"] == str(workers)


def test_a_prepared_dynamic_cluster_is_not_started_in_another_size() -> None:
    with pytest.raises(ConfigError) as error:
        plan({**OPERATOR_MS, "ASCEND_RT_VISIBLE_DEVICES": "1"}, shown=(0, 1))
    assert str(error.value) == (
        "cannot start a cluster of 2: the job's scheduler waits for 4 (MS_WORKER_NUM); "
        "let every pod use all of its devices, or request as many as you need"
    )


def site(environ: dict[str, str]) -> Site:
    return Site(environ, "/usr/bin/python", "RUN", "/tmp/ma2l-RUN", "/logs", 1, 16, (20001, 20002), "")


def test_a_scheduler_pod_runs_the_command_once() -> None:
    made = scheduler_pod(Settings(), TRAIN, site({**OPERATOR_MS, "MS_ROLE": "MS_SCHED", "PYTHONUNBUFFERED": "0"}))
    (spec,) = made.processes
    expected: Env = {**every("/logs", 16), "MS_TOPO_TIMEOUT": "600", "MS_CLUSTER_TIMEOUT": "600"}
    del expected["PYTHONUNBUFFERED"]
    assert (spec.role, spec.log, dict(spec.env)) == ("scheduler", "/logs/scheduler.log", expected)
    assert (made.master_addr, made.master_port, made.world_size) == ("10.0.0.9", 8200, 0)


def test_the_users_values_win_and_identity_is_computed(root: str) -> None:
    users = {
        "PYTHONUNBUFFERED": "0", "PYTHONFAULTHANDLER": "", "OMP_NUM_THREADS": "3", "HCCL_CONNECT_TIMEOUT": "300",
        "ASCEND_PROCESS_LOG_PATH": "/mine", "JOB_ID": "mine", "MASTER_PORT": "29600",
    }  # fmt: skip
    identity = {
        "RANK": "77", "WORLD_SIZE": "77", "LOCAL_RANK": "77", "RANK_ID": "77", "RANK_SIZE": "77", "DEVICE_ID": "77",
        "MASTER_ADDR": "elsewhere", "NODE_RANK": "77", "NNODES": "77", "MA2L_RUN_ID": "old",
    }  # fmt: skip
    environ = {**mock_nodes("modelarts", "1x4", root)[0], **users, **identity}
    for local, env in enumerate(envs(plan(environ))):
        assert not set(env) & (set(users) - {"MASTER_PORT"})
        assert env["MASTER_PORT"] == "29600"
        assert (env["RANK"], env["RANK_ID"], env["LOCAL_RANK"], env["DEVICE_ID"]) == (str(local),) * 4
        assert (env["WORLD_SIZE"], env["RANK_SIZE"], env["NNODES"], env["NODE_RANK"]) == ("4", "4", "1", "0")
        assert (env["MASTER_ADDR"], env["MA2L_RUN_ID"]) == ("127.0.0.1", "RUN")


def test_where_cann_logs_is_left_to_the_users_work_path(root: str) -> None:
    environ = {**mock_nodes("bare", "1x4", root)[0], "ASCEND_WORK_PATH": "/w"}
    assert all("ASCEND_PROCESS_LOG_PATH" not in env for env in envs(plan(environ)))


def test_mindspores_own_name_of_the_table_is_rewritten_because_it_wins(tmp_path: Path) -> None:
    table = tmp_path / "t.json"
    table.write_text(server_list({"server_id": "s", "devices": [(0, 0), (1, 1)]}))
    for env in envs(plan({"MINDSPORE_HCCL_CONFIG_PATH": str(table)}, shown=(0, 1))):
        assert env["MINDSPORE_HCCL_CONFIG_PATH"] == env["RANK_TABLE_FILE"] == "/tmp/ma2l-RUN/rank_table.json"


def test_timeouts_of_a_dynamic_cluster(root: str) -> None:
    bare = mock_nodes("bare", "1x1", root)[0]

    def timeouts(environ: dict[str, str], **options: Any) -> tuple[str | None, str | None]:
        env = envs(plan({**bare, **environ}, mode="dynamic-cluster", **options))[1]
        return env.get("MS_TOPO_TIMEOUT"), env.get("MS_CLUSTER_TIMEOUT")

    assert timeouts({"MS_TOPO_TIMEOUT": "9"}) == (None, "600")
    assert timeouts({"MS_TOPO_TIMEOUT": "9"}, cluster_timeout=30) == ("30", "30")


def test_options_about_the_meeting_point(root: str) -> None:
    made = plan(mock_nodes("bare", "1x2", root)[0], mode="dynamic-cluster", master_addr="10.1.1.1", master_port=7000)
    assert (made.master_addr, made.master_port) == ("10.1.1.1", 7000)
    env = made.processes[0].env
    assert (env["MS_SCHED_HOST"], env["MS_SCHED_PORT"], env["MASTER_PORT"]) == ("10.1.1.1", "7000", "7000")


@pytest.mark.parametrize(
    ("port", "why"),
    [
        ("x", "it is not a whole number; correct or unset MASTER_PORT"),
        ("70000", "it is no port; write 1 to 65535, or unset MASTER_PORT"),
        ("0", "it is no port; write 1 to 65535, or unset MASTER_PORT"),
    ],
)
def test_a_wrong_port_variable_is_one_line(root: str, port: str, why: str) -> None:
    with pytest.raises(ConfigError) as error:
        plan({**mock_nodes("bare", "1x2", root)[0], "MASTER_PORT": port})
    assert str(error.value).startswith("cannot use MASTER_PORT=")
    assert str(error.value).endswith(why)


def test_a_master_that_nothing_names_is_one_line() -> None:
    environ = {"MINDX_TASK_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "1"}
    with pytest.raises(ConfigError) as error:
        plan(environ, shown=(0, 1))
    expected = "cannot tell ranks where node 0 is: no variable or table names it; pass --master-addr"
    assert str(error.value) == expected


def test_chosen_devices_keep_the_list_that_cann_reads(root: str) -> None:
    bare = mock_nodes("bare", "1x4", root)[0]
    made = plan({**bare, "ASCEND_RT_VISIBLE_DEVICES": "1-2"})
    assert [(env["ASCEND_RT_VISIBLE_DEVICES"], env["DEVICE_ID"]) for env in envs(made)] == [("1,2", "0"), ("1,2", "1")]
    assert "ASCEND_RT_VISIBLE_DEVICES" not in envs(plan({**bare, "ASCEND_RT_VISIBLE_DEVICES": "1,2"}))[0]


def test_a_directory_for_each_rank(root: str) -> None:
    made = plan(mock_nodes("bare", "1x2", root)[0], chdir="/w/{rank}/{local_rank}/{other}")
    assert [spec.cwd for spec in made.processes] == ["/w/0/0/{other}", "/w/1/1/{other}"]
    assert [spec.cwd for spec in plan(mock_nodes("bare", "1x2", f"{root}/b")[0]).processes] == [None, None]


def test_standard_input_is_for_a_sole_worker(root: str) -> None:
    assert [spec.stdin for spec in plan(mock_nodes("bare", "1x2", root)[0]).processes] == [False, False]


def test_threads_are_at_least_one(root: str) -> None:
    assert envs(plan(mock_nodes("bare", "1x4", root)[0], cpus=2))[0]["OMP_NUM_THREADS"] == "1"


def test_the_table_is_the_same_bytes_on_every_node(root: str) -> None:
    plans = [plan(environ) for environ in mock_nodes("modelarts", "3x4", root)]
    assert len({made.files for made in plans}) == 1
    assert len({file.sha256() for made in plans for file in made.files}) == 1


def _identity(spec: ProcessSpec) -> tuple[int, int]:
    return int(spec.env["RANK"] or -1), int(spec.env["WORLD_SIZE"] or -1)


@settings(deadline=None, max_examples=30)
@given(
    platform=st.sampled_from(["modelarts", "volcano", "ascendjob"]),
    soc=st.sampled_from(["910", "910b", "a3"]),
    nodes=st.integers(1, 4),
    devices=st.integers(1, 8),
    mode=st.sampled_from(["auto", "ranktable", "torch", "dynamic-cluster"]),
    count=st.none() | st.integers(1, 8),
)
def test_the_nodes_of_any_job_make_plans_that_fit_together(
    tmp_path_factory: pytest.TempPathFactory,
    platform: str,
    soc: str,
    nodes: int,
    devices: int,
    mode: str,
    count: int | None,
) -> None:
    root = str(tmp_path_factory.mktemp("job"))
    local = min(count or devices, devices)
    environs = mock_nodes(platform, f"{nodes}x{devices}", root, soc)
    plans = [plan(environ, mode=mode, nproc_per_node=local, log_dir="/own") for environ in environs]
    specs = [spec for made in plans for spec in made.processes]
    ranks = [spec for spec in specs if spec.role == "rank"]
    assert sorted(map(_identity, ranks)) == [(rank, nodes * local) for rank in range(nodes * local)]
    assert sum(spec.role == "scheduler" for spec in specs) == (mode == "dynamic-cluster")
    logs = [spec.log for spec in specs]
    assert len(set(logs)) == len(logs)
    alone = nodes == 1
    for name in ("MASTER_ADDR", "WORLD_SIZE", "NNODES", "MS_SCHED_HOST", "RANK_SIZE", "JOB_ID", "MASTER_PORT"):
        assert len({spec.env.get(name) for spec in specs}) == 1, name
    for made in plans:
        assert made.world_size == nodes * local
        assert made.master_port == (2222 if platform == "ascendjob" else 20001 if alone else 29500)
        for position, spec in enumerate(spec for spec in made.processes if spec.role == "rank"):
            assert (spec.local_rank, spec.env["LOCAL_RANK"]) == (position, str(position))
            if spec.env.get("DEVICE_ID") is not None:
                assert spec.env["DEVICE_ID"] == str(position)
        in_table = [spec.env.get("RANK_TABLE_FILE") is not None for spec in made.processes]
        assert set(in_table) == {made.mode == "ranktable"}


def test_what_is_preloaded_for_workers_reaches_only_them() -> None:
    made = plan({"MA2L_WORKER_LD_PRELOAD": "/x.so", "ASCEND_RT_VISIBLE_DEVICES": "0-1"}, TRAIN, shown=(4, 5, 6, 7))
    for spec in made.processes:
        assert (spec.env["LD_PRELOAD"], spec.env["MA2L_WORKER_LD_PRELOAD"]) == ("/x.so", None)
