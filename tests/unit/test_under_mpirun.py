"""MindSpore's dynamic cluster among ranks of mpirun: who is where, and what each of them gets."""

from __future__ import annotations

import pytest

from ma2l.errors import ConfigError
from ma2l.logs.names import Names
from ma2l.plan import under_mpirun
from ma2l.plan.spec import Site, applied
from ma2l.platforms import openmpi
from ma2l.settings import Settings

ALONE = {
    "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4", "OMPI_MCA_orte_num_nodes": "1", "PMIX_NAMESPACE": "563150849",
}  # fmt: skip
MPIRUN = "1603272704.0;tcp://10.77.0.1:45127"
FIRST = {
    **ALONE, "OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_LOCAL_RANK": "0", "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "OMPI_MCA_orte_num_nodes": "2", "OMPI_MCA_orte_hnp_uri": MPIRUN, "OMPI_MCA_orte_local_daemon_uri": MPIRUN,
}  # fmt: skip
LAST = {
    **FIRST, "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_MCA_orte_local_daemon_uri": "1603272704.1;tcp://10.77.0.2:48571",
}  # fmt: skip
SEVERAL = "563150848.0;tcp://192.0.2.2,10.232.248.1:56041;tcp6://[fd00::2]:50009"


@pytest.mark.parametrize("environ", [FIRST, LAST])
def test_on_several_hosts_rank_0_is_with_mpirun(environ: dict[str, str]) -> None:
    assert openmpi.host_of_rank_0(None, environ) == "10.77.0.1"
    assert openmpi.hosts(environ) == 2


def test_where_there_is_only_ipv6() -> None:
    uri = "7.0;tcp6://[fd77::1]:50009"
    environ = {**FIRST, "OMPI_MCA_orte_hnp_uri": uri, "OMPI_MCA_orte_local_daemon_uri": uri}
    assert openmpi.host_of_rank_0(None, environ) == "fd77::1"


def test_on_one_host_nothing_leaves_it() -> None:
    environ = {**ALONE, "MASTER_ADDR": "left.over"}
    assert openmpi.host_of_rank_0(None, environ) == "127.0.0.1"
    assert openmpi.host_of_rank_0("10.0.0.9", environ) == "10.0.0.9"
    assert openmpi.hosts(environ) == 1


def test_on_several_hosts_the_user_knows_better() -> None:
    uncertain = {**LAST, "OMPI_MCA_orte_hnp_uri": SEVERAL, "MASTER_ADDR": "h0"}
    assert openmpi.host_of_rank_0("h1", uncertain) == "h1"
    assert openmpi.host_of_rank_0(None, uncertain) == "h0"
    with pytest.raises(ConfigError, match="cannot use .* as the address of rank 0: other hosts cannot reach it"):
        openmpi.host_of_rank_0("127.0.0.1", uncertain)


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        (
            {**LAST, "OMPI_MCA_orte_hnp_uri": SEVERAL},
            r"mpirun's host has several addresses \(192.0.2.2, 10.232.248.1\)",
        ),
        ({**LAST, "OMPI_MCA_orte_hnp_uri": ""}, "this OpenMPI does not name mpirun's"),
        ({**LAST, "OMPI_COMM_WORLD_RANK": "0"}, "it is not on mpirun's host"),
    ],
)
def test_what_is_uncertain_is_asked_for(environ: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError, match=f"{why}; pass --master-addr"):
        openmpi.host_of_rank_0(None, environ)


def test_half_an_environment_is_one_line() -> None:
    with pytest.raises(ConfigError, match="OMPI_COMM_WORLD_LOCAL_RANK"):
        under_mpirun.rank_names(Settings(), {**ALONE, "OMPI_COMM_WORLD_LOCAL_RANK": "x"}, "127.0.0.1")


def test_what_a_rank_gets() -> None:
    env = dict(under_mpirun.rank_names(Settings(cluster_timeout=9), {**LAST, "RANK_TABLE_FILE": "old"}, "10.77.0.1"))
    port = int(env.pop("MASTER_PORT") or "")
    assert env.pop("MS_SCHED_PORT") == str(port + 1)
    assert 20000 <= port < 30000
    set_here = {name: value for name, value in env.items() if value is not None}
    assert set_here == {
        "MS_ROLE": "MS_WORKER", "MS_NODE_ID": "3", "RANK_ID": "3", "DEVICE_ID": "1", "RANK_SIZE": "4",
        "MS_SCHED_HOST": "10.77.0.1", "MS_WORKER_NUM": "4", "MS_TOPO_TIMEOUT": "9", "MS_CLUSTER_TIMEOUT": "9",
        "MASTER_ADDR": "10.77.0.1",
    }  # fmt: skip
    assert env["RANK_TABLE_FILE"] is None


def test_the_users_ports() -> None:
    environ = {**LAST, "MS_SCHED_PORT": "2222", "MASTER_PORT": "3333"}

    def ports(settings: Settings) -> tuple[object, object]:
        env = under_mpirun.rank_names(settings, environ, "h")
        return env["MS_SCHED_PORT"], env["MASTER_PORT"]

    assert ports(Settings()) == ("2222", "3333")
    assert ports(Settings(master_port=4444)) == ("4444", "4444")


def test_rank_0_keeps_the_scheduler_which_is_nobodys_rank() -> None:
    environ = {**FIRST, "PMIX_RANK": "0", "PRTE_LAUNCHED": "1", "HOME": "/h"}
    site = Site(environ, "/bin/true", "RUN", "/tmp/ma2l-RUN", "/logs", 1, 4, (1, 2), "")
    env = {"RANK": "0", "LOCAL_RANK": "0", **under_mpirun.rank_names(Settings(), environ, "10.77.0.1")}
    plan = under_mpirun.plan(env, ("true",), site, Names("/logs", "node0"))
    scheduler, rank = plan.processes
    assert (plan.nodes, plan.world_size, plan.master_addr) == (2, 4, "10.77.0.1")
    assert (rank.role, rank.rank, rank.log, rank.stdin, rank.env) == ("rank", 0, None, True, env)
    assert (scheduler.role, scheduler.log) == ("scheduler", "/logs/scheduler.log")
    seen = applied(scheduler.env, environ)
    assert seen.pop("MS_ROLE") == "MS_SCHED"
    assert seen["HOME"] == "/h"
    assert not [name for name in seen if name.startswith(("OMPI_", "PMIX_", "PRTE_"))]
    assert seen.pop("RANK_ID") == "0", "as with msrun"
    assert not {"RANK", "LOCAL_RANK", "DEVICE_ID", "MS_NODE_ID"} & set(seen)
