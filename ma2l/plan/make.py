"""Puts the plan together: Topology + Settings + command + Site -> Plan. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ma2l.ascend.devices import rt_visible_devices
from ma2l.cluster import Device
from ma2l.errors import ConfigError
from ma2l.logs.names import Names
from ma2l.plan import dynamic_cluster, figures, hccl, torch
from ma2l.plan.launchers import foreign_launcher
from ma2l.plan.spec import EnvDiff, Plan, PlannedFile, ProcessSpec, Site
from ma2l.platforms.base import whole_number
from ma2l.platforms.mindcluster import check_prepared_size, prepared_dynamic_cluster
from ma2l.platforms.modelarts import MODELARTS, channels
from ma2l.platforms.topology import Topology
from ma2l.ranktable import canonical, fingerprint
from ma2l.records import dataclass, replace
from ma2l.settings import Settings

PRELOAD = "MA2L_WORKER_LD_PRELOAD"
"""Where the entrypoint keeps the container's ``LD_PRELOAD``, which is meant for workers and not for the launcher."""


@dataclass(frozen=True)
class Choice:
    """A decision and its reason."""

    value: str
    why: str


@dataclass(frozen=True)
class Draft:
    """What every step of making a plan looks at."""

    settings: Settings
    topology: Topology
    command: tuple[str, ...]
    site: Site
    names: Names
    mode: str


def choose_mode(settings: Settings, topology: Topology, environ: Mapping[str, str]) -> Choice:
    """The mode asked for, or the one that fits what was found."""
    if settings.mode != "auto":
        if settings.mode == "ranktable" and topology.table is None:
            raise ConfigError(
                "use the mode ranktable",
                "there is no rank table and none can be made here",
                "choose torch or dynamic-cluster",
            )
        return Choice(settings.mode, "asked for")
    if prepared_dynamic_cluster(environ):
        return Choice("dynamic-cluster", "MS_ROLE is set: the platform prepared one")
    if topology.table is not None:
        return Choice("ranktable", "there is a rank table")
    return Choice("torch", "no rank table, one device" if topology.cluster.world_size == 1 else "no rank table")


def choose_per_node(settings: Settings, command: tuple[str, ...]) -> Choice | None:
    """Whether the command runs once per node, and why."""
    if settings.per_node:
        return Choice("once", "--per-node")
    if settings.shim_msrun:
        return Choice("once", "--shim-msrun")
    launcher = foreign_launcher(command)
    return Choice("once", f"{launcher} starts the ranks itself") if launcher else None


def fitted(settings: Settings, command: tuple[str, ...]) -> Settings:
    """The settings for this command: a profile's mode is for commands whose ranks we start."""
    if settings.mode_of_profile and choose_per_node(settings, command):
        return replace(settings, mode="auto")
    return settings


def _mode_per_node(settings: Settings, once: Choice) -> Choice:
    """A command that runs once per node gets the names of the node and no more, as the mode torch gives them."""
    if settings.mode in ("auto", "torch"):
        return Choice("torch", once.why)
    raise ConfigError(
        f"use the mode {settings.mode}",
        f"{once.why}, and this mode tells each rank who it is",
        "leave --mode out, or let ma2l start the ranks",
    )


def needs_master_ip(
    settings: Settings, topology: Topology, environ: Mapping[str, str], command: tuple[str, ...]
) -> bool:
    """Whether a name of node 0 is not enough."""
    if choose_per_node(settings, command):
        return False
    return choose_mode(settings, topology, environ).value == "dynamic-cluster"


def names_of(settings: Settings, topology: Topology, site: Site) -> Names:
    """How this run's logs are called: as the platform's, unless the user chose a directory of their own."""
    platforms_own = topology.platform is MODELARTS and settings.log_dir is None
    job_id = topology.platform.job_id(site.environ) if platforms_own else ""
    cluster = topology.cluster
    return Names(site.log_dir, f"node{cluster.node_number}", job_id, site.attempt, counts_alone=bool(cluster.part))


def make(settings: Settings, topology: Topology, command: tuple[str, ...], site: Site) -> Plan:
    """Decide everything.

    Raises:
        ConfigError: the wishes contradict each other or the topology.
    """
    cluster = topology.cluster
    once = choose_per_node(settings, command)
    mode = _mode_per_node(settings, once) if once else choose_mode(settings, topology, site.environ)
    draft = Draft(settings, topology, command, site, names_of(settings, topology, site), mode.value)
    master_addr, master_port, scheduler_port = _meeting_point(draft)
    env, notes = shared_env(site, len(cluster.own.devices))
    env |= torch.node_names(cluster, master_addr, master_port)
    env |= figures.names(settings, site.environ, command, cluster.part)
    files: tuple[PlannedFile, ...] = ()
    warnings = topology.warnings
    if once:
        notes.insert(0, f"{command[0]} runs once per node: {once.why}")
        if settings.bind != "none":
            notes.append(f"--bind {settings.bind} has no effect: it binds ranks, and these are started by {command[0]}")
        env |= torch.torchrun_names(cluster, master_addr, master_port, site.environ)
        if settings.shim_msrun:
            from ma2l.plan import shim  # rarely wanted

            files = (shim.program(site.run_dir),)
            env |= shim.names(settings, site)
        processes = [_once(draft, env)]
    else:
        if mode.value == "ranktable":
            files = (_rank_table(draft),)
        env |= _convention(draft, scheduler_port, files)
        processes = [_rank(draft, env, local_rank, device) for local_rank, device in enumerate(cluster.own.devices)]
        if site.processors:
            from ma2l.plan.binding import bind_ranks  # rarely wanted

            ids = [device.device_id for device in cluster.own.devices]
            bound = bind_ranks(processes, settings.bind, site.processors, ids, site.environ, mode.value)
            processes, notes, warnings = bound[0], bound[1], (*warnings, *bound[2])
        if mode.value == "dynamic-cluster" and cluster.node_rank == 0 and not prepared_dynamic_cluster(site.environ):
            processes.insert(0, _scheduler(draft, env))
    return Plan(
        run_id=site.run_id,
        mode=mode.value,
        node_rank=cluster.node_rank,
        nodes=len(cluster.nodes),
        world_size=cluster.world_size,
        master_addr=master_addr,
        master_port=master_port,
        log_dir=site.log_dir,
        processes=tuple(processes),
        files=files,
        trail=(*topology.trail, f"mode {mode.value}: {mode.why}"),
        notes=tuple(notes),
        warnings=warnings,
        part=cluster.part,
    )


def scheduler_pod(settings: Settings, command: tuple[str, ...], site: Site) -> Plan:
    """The plan of a pod that the platform made the scheduler: it runs CMD once, with the platform's own variables."""
    env, _ = shared_env(site, 1)
    env |= dynamic_cluster.timeout_names(site.environ, settings.cluster_timeout)  # it must not outlast the workers
    log = Names(site.log_dir, "scheduler", attempt=site.attempt).scheduler()
    spec = ProcessSpec("scheduler", command, site.program, env, log, cwd=directory_of(settings.chdir, 0, 0))
    address = site.environ.get("MS_SCHED_HOST", "")
    port = port_in(site.environ, "MS_SCHED_PORT") or dynamic_cluster.DEFAULT_PORT
    trail = (
        "MS_ROLE=MS_SCHED: the platform made this pod the scheduler",
        "mode dynamic-cluster: asked for by the platform",
    )
    return Plan(site.run_id, "dynamic-cluster", 0, 0, 0, address, port, site.log_dir, (spec,), (), trail, ())


def _meeting_point(draft: Draft) -> tuple[str, int, int]:
    """Master address, master port and scheduler port; one node alone takes free ports, so that two jobs never meet."""
    settings, topology, site = draft.settings, draft.topology, draft.site
    nodes = topology.cluster.nodes
    address = topology.master or ("127.0.0.1" if len(nodes) == 1 else "")
    if not address:
        raise ConfigError("tell ranks where node 0 is", "no variable or table names it", "pass --master-addr")
    asked = settings.master_port or port_in(site.environ, "MASTER_PORT")
    scheduler = settings.master_port or port_in(site.environ, "MS_SCHED_PORT")
    if len(nodes) == 1:
        return address, asked or site.ports[0], scheduler or site.ports[1]
    return address, asked or torch.DEFAULT_PORT, scheduler or dynamic_cluster.DEFAULT_PORT


def shared_env(site: Site, ranks: int) -> tuple[dict[str, str | None], list[str]]:
    """What every mode gives every process of a node with that many ranks; the user's value wins."""
    threads = max(1, site.cpus // ranks)
    defaults = {"PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", "OMP_NUM_THREADS": str(threads)}
    env: dict[str, str | None] = {name: value for name, value in defaults.items() if name not in site.environ}
    notes = [f"OMP_NUM_THREADS={threads}: {site.cpus} CPUs for {ranks} ranks"] if "OMP_NUM_THREADS" in env else []
    env |= {"MA2L_RUN_ID": site.run_id, "MA2L_LOG_DIR": site.log_dir, "MA2L_RESTART_COUNT": str(site.restarts)}
    env |= {
        name: place
        for name, place in channels(site.environ).items()
        if name not in site.environ and name.isidentifier()  # as ModelArts does for channels that come as variables
    }
    if PRELOAD in site.environ:
        env |= {"LD_PRELOAD": site.environ[PRELOAD], PRELOAD: None}
    chosen = site.environ.get("ASCEND_RT_VISIBLE_DEVICES", "")
    if "-" in chosen:  # CANN does not know ranges and would stop reading there
        env["ASCEND_RT_VISIBLE_DEVICES"] = ",".join(map(str, rt_visible_devices(site.environ) or ()))
    return env, notes


def _rank_table(draft: Draft) -> PlannedFile:
    table = draft.topology.table
    assert table is not None, "choose_mode picks ranktable only with a table"
    return PlannedFile(f"{draft.site.run_dir}/rank_table.json", canonical(table.document))


def _convention(draft: Draft, scheduler_port: int, files: tuple[PlannedFile, ...]) -> EnvDiff:
    """What the mode adds for all processes of the node."""
    site, world_size = draft.site, draft.topology.cluster.world_size
    platform = draft.topology.platform
    if draft.mode == "ranktable":
        job_id = platform.job_id(site.environ) or _job_id(draft, files[0])
        return hccl.table_names(site.environ, files[0].path, world_size, job_id, platform.connect_timeout)
    if draft.mode == "dynamic-cluster":
        check_prepared_size(site.environ, world_size)
        timeout = draft.settings.cluster_timeout
        return dynamic_cluster.cluster_names(site.environ, site.master_ip, scheduler_port, world_size, timeout)
    return {**hccl.NO_TABLE, **hccl.NO_DYNAMIC_CLUSTER}


def _job_id(draft: Draft, table: PlannedFile) -> str:
    """A name for a job that has none, alike on all of its nodes."""
    alone = len(draft.topology.cluster.nodes) == 1
    return draft.site.run_id if alone else f"ma2l-{fingerprint(table.content)[:16]}"


def _rank(draft: Draft, env: EnvDiff, local_rank: int, device: Device) -> ProcessSpec:
    site, topology = draft.site, draft.topology
    logical_id = topology.visible.order.index(device.device_id)
    own = dict(torch.rank_names(device, local_rank))
    if draft.mode == "ranktable":
        own |= hccl.rank_names(site.environ, device, logical_id, draft.names.device_logs(device.rank))
    elif draft.mode == "dynamic-cluster":
        own |= dynamic_cluster.worker_names(device, logical_id)
    return ProcessSpec(
        role="rank",
        argv=draft.command,
        program=site.program,
        env={**env, **own},
        log=draft.names.rank(device.rank, logical_id),
        rank=device.rank,
        local_rank=local_rank,
        cwd=directory_of(draft.settings.chdir, device.rank, local_rank),
        stdin=topology.cluster.world_size == 1,
    )


def _scheduler(draft: Draft, env: EnvDiff) -> ProcessSpec:
    env = {**env, **dynamic_cluster.SCHEDULER}
    cwd = directory_of(draft.settings.chdir, 0, 0)
    return ProcessSpec("scheduler", draft.command, draft.site.program, env, draft.names.scheduler(), cwd=cwd)


def _once(draft: Draft, env: EnvDiff) -> ProcessSpec:
    env = {**env, **hccl.NO_TABLE, **torch.NO_RANK}
    cwd = directory_of(draft.settings.chdir, 0, 0)
    return ProcessSpec("once", draft.command, draft.site.program, env, draft.names.once(), cwd=cwd, stdin=True)


def directory_of(template: str | None, rank: int, local_rank: int) -> str | None:
    """The directory that ``--chdir`` means for one rank."""
    if template is None:
        return None
    return template.replace("{rank}", str(rank)).replace("{local_rank}", str(local_rank))


def port_in(environ: Mapping[str, str], name: str) -> int | None:
    """The port in a variable, ``None`` when unset."""
    if not environ.get(name):
        return None
    port = whole_number(name, environ[name])
    if not 0 < port < 65536:
        raise ConfigError(f"use {name}={port}", "it is no port", f"write 1 to 65535, or unset {name}")
    return port
