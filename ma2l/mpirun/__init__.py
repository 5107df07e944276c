"""The mode ``mpirun``: the real mpirun starts the ranks, ma2l supervises it and everything below it."""

from __future__ import annotations

from collections.abc import Mapping

from ma2l import site
from ma2l.ascend.devices import present
from ma2l.cluster import Cluster, Device, Node
from ma2l.errors import ConfigError, UsageError
from ma2l.execution import Prepared
from ma2l.linux.wait import Waiter
from ma2l.mpirun import nodes
from ma2l.mpirun.program import find
from ma2l.plan import openmpi
from ma2l.plan.launchers import foreign_launcher
from ma2l.plan.make import names_of
from ma2l.plan.spec import Site
from ma2l.platforms import topology
from ma2l.platforms.topology import Topology
from ma2l.platforms.visible import Visible
from ma2l.records import replace
from ma2l.settings import Settings


def prepare(
    settings: Settings,
    environ: Mapping[str, str],
    command: tuple[str, ...],
    facts: Mapping[str, str],
    waiter: Waiter,
    guard_fd: int | None,
) -> Prepared:
    """Everything up to the plan of one mpirun.

    Args:
        facts: ``program``, ``run_id`` and ``run_dir`` of the run, as ``site.gather`` takes them.

    Raises:
        Ma2lError, Stopped: as ``ma2l.run.prepare``; or mpirun is missing, or the hosts are not clear.
    """
    launcher = foreign_launcher(command)
    if launcher or settings.per_node:
        why = f"{launcher} starts the ranks itself" if launcher else "--per-node asks for one process per node"
        raise ConfigError("use the mode mpirun", why, "leave --mode out, or let mpirun start the ranks")
    mpirun, doubt = find(environ)
    openmpi.extra_words(settings, mpirun.major)  # on every node: the others would wait for a node 0 that gave up here
    listed = listed_hosts(settings)
    found = _of_hosts(listed, settings, environ) if listed else topology.find(settings, environ, waiter, guard_fd)
    several = not listed and len(found.cluster.nodes) > 1
    node_rank = found.cluster.node_rank
    doubts = found.warnings if not doubt or (several and node_rank > 0) else (*found.warnings, doubt)
    found = replace(found, warnings=doubts)

    def attempt(restarts: int) -> Prepared:
        own = {**facts, "run_dir": site.attempt_dir(facts["run_dir"], restarts)}
        node = found.cluster.node_number
        here = site.gather(settings, environ, found.platform, node, **own, master_ip="", restarts=restarts)
        if several and node_rank > 0:
            return nodes.let_in(settings, found, here)
        hosts = _hosts(listed, settings, found, here)
        plan = openmpi.plan(settings, found, hosts, command, here, mpirun)
        again = attempt if plan.nodes == 1 else None
        npus = () if listed else present(found.visible.kept)
        prepared = Prepared(
            plan, environ, names_of(settings, found, here), again=again, npus=npus, cluster=found.cluster
        )
        return nodes.reach(prepared, settings, found.cluster, here, waiter) if several else prepared

    return attempt(0)


def _hosts(listed: list[tuple[str, int]], settings: Settings, found: Topology, here: Site) -> openmpi.Hosts:
    """Where mpirun starts the ranks, and how it is told."""
    if listed:
        return openmpi.Hosts(flags_of(listed, settings), tuple(slots for _, slots in listed), ours=False)
    slots = tuple(len(node.devices) for node in found.cluster.nodes)
    return openmpi.Hosts(("--hostfile", openmpi.file_of(here.run_dir)), slots, ours=True)


def listed_hosts(settings: Settings) -> list[tuple[str, int]]:
    """The hosts that the user names, each once, with the number of its ranks; none where the topology tells.

    Raises:
        UsageError: they are named twice.
        ConfigError: they cannot be read.
    """
    if settings.host and settings.hostfile:
        raise UsageError("use -H and --hostfile", "both name the hosts", "leave one of them out")
    if settings.host:
        slots: dict[str, int] = {}
        for name, more in openmpi.parse_hosts(settings.host, settings.nproc_per_node):
            slots[name] = slots.get(name, 0) + more
        return list(slots.items())
    if not settings.hostfile:
        return []
    try:
        with open(settings.hostfile, encoding="utf-8", errors="surrogateescape") as file:
            return openmpi.parse_hostfile(file.read(), settings.hostfile, settings.nproc_per_node)
    except OSError as error:
        raise ConfigError(f"use the hostfile {settings.hostfile}", str(error.strerror), "check the path") from None


def flags_of(listed: list[tuple[str, int]], settings: Settings) -> tuple[str, str]:
    """How mpirun is told of them; where ``--nproc-per-node`` fills in slots the user's own file would not do."""
    if settings.hostfile and not settings.nproc_per_node:
        return "--hostfile", settings.hostfile
    return "-H", ",".join(f"{name}:{slots}" for name, slots in listed)


def _of_hosts(listed: list[tuple[str, int]], settings: Settings, environ: Mapping[str, str]) -> Topology:
    """A topology of nothing but hosts and slots: what NPUs they have only they can tell."""
    made, first = [], 0
    for rank, (name, slots) in enumerate(listed):
        made.append(Node(rank, name, name, tuple(Device(first + i, i) for i in range(slots)), (name,)))
        first += slots
    ids = tuple(range(listed[0][1]))
    master = settings.master_addr or (listed[0][0] if len(listed) > 1 else "127.0.0.1")
    trail = (f"the hosts of {'-H' if settings.host else f'--hostfile {settings.hostfile}'}",)
    cluster = Cluster(tuple(made), 0)
    return Topology(cluster, None, topology.current_platform(environ), trail, master, Visible(ids, ids))
