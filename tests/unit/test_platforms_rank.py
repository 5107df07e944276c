"""Being one rank of another launcher already."""

from __future__ import annotations

import pytest

from ma2l.platforms.rank import already

MPIRUN = {
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
    "PMIX_NAMESPACE": "prterun-h\udcff-1@1",
}
OPERATOR = {
    "MINDX_TASK_ID": "x", "RANK": "0", "LOCAL_RANK": "{0,1}", "WORLD_SIZE": "4", "MASTER_ADDR": "m",
    "LOCAL_WORLD_SIZE": "2", "RANK_TABLE_FILE": "t",
}  # fmt: skip
OPERATOR_MS = {
    "MINDX_TASK_ID": "x", "MS_ROLE": "MS_WORKER", "MS_SCHED_HOST": "s", "MS_SCHED_PORT": "8118", "MS_WORKER_NUM": "4",
    "MS_LOCAL_WORKER": "2", "MS_NODE_RANK": "0",
}  # fmt: skip


def test_under_mpirun_on_one_node_all_ranks_find_each_other() -> None:
    found = already(MPIRUN)
    assert found is not None
    assert found.launcher == "mpirun"
    env = dict(found.env)
    port = env.pop("MASTER_PORT")
    assert 20000 <= int(port) < 30000
    expected = {
        "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "4", "RANK_ID": "3", "RANK_SIZE": "4",
        "DEVICE_ID": "3", "ASCEND_DEVICE_ID": "3", "MASTER_ADDR": "127.0.0.1",
    }  # fmt: skip
    assert env == expected
    other = already({**MPIRUN, "OMPI_COMM_WORLD_RANK": "0"})
    assert other is not None
    assert other.env["MASTER_PORT"] == port


def test_what_the_other_launcher_or_the_user_set_stays() -> None:
    found = already({**MPIRUN, "RANK": "0", "MASTER_ADDR": "h", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"})
    assert found is not None
    assert not {"RANK", "MASTER_ADDR", "MASTER_PORT"} & set(found.env)


def test_under_torchrun() -> None:
    found = already({"TORCHELASTIC_RUN_ID": "none", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"})
    assert found is not None
    assert (found.launcher, found.env) == ("torchrun", {"DEVICE_ID": "1", "ASCEND_DEVICE_ID": "1"})


def test_under_msrun_and_its_scheduler_is_nobodys_rank() -> None:
    worker = {"MS_ROLE": "MS_WORKER", "MS_SCHED_HOST": "h", "RANK_SIZE": "8", "RANK_ID": "3", "DEVICE_ID": "3"}
    found = already(worker)
    assert found is not None
    expected = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "3", "ASCEND_DEVICE_ID": "3"}
    assert (found.launcher, found.env) == ("msrun", expected)
    scheduler = already({"MS_ROLE": "MS_SCHED", "MS_SCHED_HOST": "h", "RANK_SIZE": "8", "RANK_ID": "0"})
    assert scheduler is not None
    assert (scheduler.launcher, scheduler.env) == ("msrun", {})


def test_under_the_boot_program_of_a_preset_image() -> None:
    environ = {"RANK_ID": "1", "RANK_SIZE": "2", "ASCEND_DEVICE_ID": "1", "DEVICE_ID": "1", "RANK_TABLE_FILE": "t"}
    found = already(environ)
    assert found is not None
    assert found.launcher == "the platform's own launcher"
    assert found.env == {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}


def test_under_ma2l_itself_nothing_is_added() -> None:
    found = already({"MA2L_RUN_ID": "x", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"})
    assert found is not None
    assert (found.launcher, found.env) == ("ma2l", {})


@pytest.mark.parametrize(
    "environ",
    [
        {},
        OPERATOR,
        OPERATOR_MS,
        {**OPERATOR_MS, "MS_ROLE": "MS_SCHED"},
        {"RANK": "0", "WORLD_SIZE": "8", "LOCAL_RANK": "0"},
        {"MA2L_RUN_ID": "x", "NODE_RANK": "0"},
        {"RANK_ID": "0", "RANK_SIZE": "8"},
    ],
    ids=["nothing", "operator", "operator MindSpore", "scheduler pod", "left-overs", "per node", "half a rank"],
)
def test_not_a_rank(environ: dict[str, str]) -> None:
    assert already(environ) is None
