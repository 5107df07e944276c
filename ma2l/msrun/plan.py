"""Arguments + Layout + Here -> Plan: the workers of this node, and the scheduler where it belongs here. Pure."""

from __future__ import annotations

from ma2l.cluster import Device
from ma2l.logs.names import Names
from ma2l.msrun.arguments import UNKNOWN, Arguments
from ma2l.msrun.layout import Layout
from ma2l.plan import dynamic_cluster, torch
from ma2l.plan.hccl import NO_TABLE
from ma2l.plan.make import directory_of, port_in, shared_env
from ma2l.plan.spec import EnvDiff, Plan, ProcessSpec, Site
from ma2l.records import dataclass

NO_CLUSTER: EnvDiff = dict.fromkeys(("MS_ROLE", "MS_NODE_ID", "MS_SCHED_HOST", "MS_SCHED_PORT"))


@dataclass(frozen=True)
class Here:
    """What a plan needs to know of this host."""

    site: Site
    """Its ``master_ip`` is the scheduler's."""
    names: Names
    """How logs are called, except those of workers."""
    hosts_scheduler: bool
    """Whether the scheduler's address is this node's."""
    stem: str = "worker"
    """Logs of workers are called ``<stem>_<number>.log``."""
    chdir: str | None = None


def make(arguments: Arguments, layout: Layout, command: tuple[str, ...], here: Here) -> Plan:
    """Decide everything.

    Raises:
        ConfigError: ``MASTER_PORT`` is set to something that is no port.
    """
    mode = "dry run" if layout.simulated else "dynamic-cluster"
    env, notes = shared_env(here.site, layout.local)
    master_port = port_in(here.site.environ, "MASTER_PORT") or (
        here.site.ports[0] if layout.alone else torch.DEFAULT_PORT
    )
    env |= {**_cluster(arguments, layout, here), **_torch(layout, here, master_port)}
    processes = [_worker(layout, command, here, env, index) for index in range(layout.local)]
    if here.hosts_scheduler and not layout.simulated:
        processes.insert(0, _scheduler(command, here, env))
    return Plan(
        run_id=here.site.run_id,
        mode=mode,
        node_rank=layout.node,
        nodes=layout.nodes,
        world_size=layout.total,
        master_addr=here.site.master_ip,
        master_port=arguments.master_port,
        log_dir=here.site.log_dir,
        processes=tuple(processes),
        files=(),
        trail=(_origin(layout), f"mode {mode}: msrun's own"),
        notes=tuple(notes),
        warnings=tuple(_warnings(arguments, layout, here)),
    )


def _cluster(arguments: Arguments, layout: Layout, here: Here) -> EnvDiff:
    """What MindSpore reads, the same for all processes of this node."""
    table: EnvDiff = {"RANK_TABLE_FILE": arguments.rank_table_file} if arguments.rank_table_file else {}
    if layout.simulated:
        level = {} if arguments.sim_level == UNKNOWN else {"MS_SIMULATION_LEVEL": str(arguments.sim_level)}
        size = layout.rank_size or str(layout.total)
        return {**NO_TABLE, **NO_CLUSTER, "MS_WORKER_NUM": str(layout.total), "RANK_SIZE": size, **level, **table}
    names = dynamic_cluster.cluster_names(
        here.site.environ, here.site.master_ip, arguments.master_port, layout.total, arguments.cluster_time_out
    )
    return {**names, "MS_NODE_ID": None, **table}


def _torch(layout: Layout, here: Here, master_port: int) -> EnvDiff:
    """The names of torch, as far as they are known; a rank of somebody else is not left in."""
    known = {} if layout.node == UNKNOWN else {"NNODES": str(layout.nodes), "NODE_RANK": str(layout.node)}
    return {
        "RANK": None,
        "MASTER_ADDR": here.site.master_ip,
        "MASTER_PORT": str(master_port),
        "WORLD_SIZE": layout.rank_size or str(layout.total),
        "LOCAL_WORLD_SIZE": str(layout.local),
        "NPUS_PER_NODE": str(layout.local),
        **known,
    }


def _worker(layout: Layout, command: tuple[str, ...], here: Here, env: EnvDiff, index: int) -> ProcessSpec:
    rank, node_id, number = layout.rank(index), layout.node_id(index), layout.number(index)
    own: dict[str, str | None] = {"LOCAL_RANK": str(index), "DEVICE_ID": str(index)}
    if not layout.simulated:
        own["MS_ROLE"] = "MS_WORKER"
    if node_id is not None:
        own["MS_NODE_ID"] = str(node_id)
    if rank is not None:
        own |= {**torch.rank_names(Device(rank, index), index), "RANK_ID": str(rank)}
    return ProcessSpec(
        role="rank",
        argv=command,
        program=here.site.program,
        env={**env, **own},
        log=f"{here.names.directory}/{here.stem}_{number}.log",
        rank=rank,
        local_rank=index,
        cwd=directory_of(here.chdir, number, index),
        stdin=layout.total == 1,
    )


def _scheduler(command: tuple[str, ...], here: Here, env: EnvDiff) -> ProcessSpec:
    env, cwd = {**env, **dynamic_cluster.SCHEDULER}, directory_of(here.chdir, 0, 0)
    return ProcessSpec("scheduler", command, here.site.program, env, here.names.scheduler(), cwd=cwd)


def _origin(layout: Layout) -> str:
    ranks = "MindSpore assigns the ranks" if layout.rank(0) is None else f"from rank {layout.rank(0)} on"
    return f"msrun's parameters: {layout.local} of {layout.total} workers here, {ranks}"


def _warnings(arguments: Arguments, layout: Layout, here: Here) -> list[str]:
    lines = []
    if layout.alone and arguments.node_rank > 0:
        lines.append(f"--node_rank={arguments.node_rank} has no effect: all {layout.total} workers run here")
    if not layout.alone and not layout.simulated and layout.node == 0 and not here.hosts_scheduler:
        lines.append(
            f"no scheduler is started here: {here.site.master_ip} is no address of this node, though it is node 0"
        )
    if layout.simulated and layout.local == 1 < arguments.local_worker_num:
        lines.append(f"dry run of one worker, as rank {layout.sim_rank}")
    shown = arguments.tail_worker_log
    beyond = [item for item in shown.split(",") if int(item) >= layout.total]
    if beyond:
        lines.append(f"--tail_worker_log={shown}: there is no rank {', '.join(beyond)} in a job of {layout.total}")
    return lines
