"""MindSpore's dynamic cluster among the ranks of an mpirun: what each of them gets, and what rank 0 keeps. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ma2l.cluster import Device
from ma2l.logs.names import Names
from ma2l.plan import dynamic_cluster
from ma2l.plan.make import port_in
from ma2l.plan.spec import EnvDiff, Plan, ProcessSpec, Site
from ma2l.platforms import openmpi
from ma2l.settings import Settings

_MPI = ("OMPI_", "PMIX_", "PRTE_")
"""Names by which a process is a rank of mpirun."""


def rank_names(settings: Settings, environ: Mapping[str, str], host: str) -> EnvDiff:
    """What makes a rank of mpirun a worker of the cluster, beside the translation of OpenMPI's own names.

    Args:
        host: address of rank 0's host, an IP.
    """
    rank, size, device = openmpi.rank(environ), openmpi.size(environ), openmpi.local_rank(environ)
    common = openmpi.common_port(environ)
    port = settings.master_port or port_in(environ, "MS_SCHED_PORT") or common + 1
    master_port = settings.master_port or port_in(environ, "MASTER_PORT") or common
    return {
        **dynamic_cluster.cluster_names(environ, host, port, size, settings.cluster_timeout),
        **dynamic_cluster.worker_names(Device(rank, device), device),
        "MASTER_ADDR": host,
        "MASTER_PORT": str(master_port),
    }


def plan(env: EnvDiff, command: tuple[str, ...], site: Site, names: Names) -> Plan:
    """Rank 0 and the scheduler. The rank has mpirun's streams; the scheduler, which is nobody's rank, has a log.

    Args:
        env: what rank 0 gets.
    """
    no_mpi: EnvDiff = {name: None for name in site.environ if name.startswith(_MPI)}
    scheduler = {**env, **no_mpi, **dynamic_cluster.SCHEDULER, "DEVICE_ID": None}
    size = openmpi.size(site.environ)
    return Plan(
        run_id=site.run_id,
        mode="dynamic-cluster",
        node_rank=0,
        nodes=openmpi.hosts(site.environ),
        world_size=size,
        master_addr=str(env["MASTER_ADDR"]),
        master_port=int(str(env["MASTER_PORT"])),
        log_dir=site.log_dir,
        processes=(
            ProcessSpec("scheduler", command, site.program, scheduler, names.scheduler()),
            ProcessSpec("rank", command, site.program, env, None, rank=0, local_rank=0, stdin=True),
        ),
        files=(),
        trail=("already one rank, started by mpirun", "mode dynamic-cluster: asked for; rank 0 keeps the scheduler"),
        notes=(),
    )
