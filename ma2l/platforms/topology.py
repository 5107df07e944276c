"""The ordered list of sources: the first that applies tells who takes part, the others say why they do not."""

from __future__ import annotations

from collections.abc import Mapping

from ma2l.ascend import devices
from ma2l.cluster import Cluster, Device, Node
from ma2l.errors import ConfigError, NoUsableDevice
from ma2l.linux.wait import Waiter
from ma2l.platforms import locate, master, share, tables, visible
from ma2l.platforms.bare import BARE
from ma2l.platforms.base import Environ, HostLists, Platform
from ma2l.platforms.mindcluster import MINDCLUSTER
from ma2l.platforms.modelarts import MODELARTS
from ma2l.platforms.volcano import VOLCANO
from ma2l.ranktable import TEMPLATE_2, RankTable, build, parse, restrict
from ma2l.records import dataclass, replace
from ma2l.settings import Settings

PLATFORMS = (MODELARTS, MINDCLUSTER, VOLCANO)


@dataclass(frozen=True)
class Topology:
    """Who takes part, how we know, and what this node sees of its devices."""

    cluster: Cluster
    table: RankTable | None
    platform: Platform
    trail: tuple[str, ...]
    """The source, then why each earlier one did not apply."""
    master: str
    """Name or address of node 0, empty when this node is alone."""
    visible: visible.Visible
    warnings: tuple[str, ...] = ()
    read: tuple[tables.Announced, RankTable] | None = None
    """The platform's table as it was read, and where."""


def current_platform(environ: Environ) -> Platform:
    """The place this process woke up in."""
    return next((platform for platform in PLATFORMS if platform.here(environ)), BARE)


def find(settings: Settings, environ: Environ, waiter: Waiter, guard: int | None) -> Topology:
    """Ask every source in order; in single-server mode only the own server takes part.

    Raises:
        ConfigError: a source applies and contradicts itself or the options.
        GaveUpWaiting: an announced rank table did not become complete.
        NoUsableDevice: no source applies, or not all devices of this node are there.
        Stopped: a stop signal arrived while waiting.
    """
    found = _whole(settings, environ, waiter, guard)
    from ma2l.platforms import aisbench

    because = aisbench.asked_for(settings, environ)
    return aisbench.own_server(found, settings, because) if because else found


def _whole(settings: Settings, environ: Environ, waiter: Waiter, guard: int | None) -> Topology:
    """The topology of the platform's whole job."""
    platform = current_platform(environ)
    announced = tables.announced(settings.rank_table_file, environ)
    if announced:
        table = tables.read_when_complete(announced, settings.rank_table_timeout, waiter, guard)
        found = _from_table(table, announced.by, platform, settings, environ)
        return found if announced.by == tables.OPTION else replace(found, read=(announced, table))
    trail = ["rank table: no variable names one and no platform directory is mounted"]
    for job in (MODELARTS, VOLCANO):
        lists = job.hosts(environ) if job.here(environ) else {}
        if len(lists) == 1 or (lists and not _told_by_flags(settings)):
            return _from_job(job, lists, settings, environ, trail)
    trail.append("job variables: no VC_*_HOSTS")
    if platform is MINDCLUSTER and platform.text(environ, "world_size"):
        return _from_operator(settings, environ, trail)
    trail.append("Ascend Operator variables: none")
    return _from_host(platform, settings, environ, trail)


def _from_table(
    table: RankTable, announced_by: str, platform: Platform, settings: Settings, environ: Environ
) -> Topology:
    granted, shown = devices.visible_devices(environ), devices.device_files()
    given = shown if granted is None else granted
    expected = settings.nnodes or _expected_nodes(platform, environ)
    table = _with_pods(table, expected, given, settings)
    node_rank, how = _own_rank(table, expected, given, platform, settings, environ)
    own = table.nodes[node_rank]
    chosen = devices.rt_visible_devices(environ)
    ids = [device.device_id for device in own.devices]
    seen = visible.select(ids, shown or None, granted, chosen, settings.nproc_per_node)
    warnings = list(_doubts(seen, own))
    if environ.get("RANK_AFTER_ACC"):
        warnings.append("RANK_AFTER_ACC is ignored: the rank table orders the nodes")
    if expected is not None and expected != len(table.nodes):
        warnings.append(f"the platform speaks of {expected} nodes, the rank table has {len(table.nodes)}")
    hosts = _only(platform.hosts(environ))
    master_index = platform.number(environ, "master_index") or 0
    if table.form == TEMPLATE_2:  # it numbers its nodes by their pods, whatever route planning says
        pods = [name.partition(".")[0] for name in hosts]
        master_index = pods.index(table.nodes[0].name) if table.nodes[0].name in pods else 0
    if seen.because:
        table = _cut(table, own, seen)
    cluster = Cluster(table.nodes, node_rank)
    trail = (f"rank table {table.source}, {table.form} ({announced_by}); this node by {how}",)
    node_0 = master.address(cluster, hosts, master_index, settings, platform, environ)
    return Topology(cluster, table, platform, trail, node_0, seen, tuple(warnings))


def _with_pods(table: RankTable, expected: int | None, given: tuple[int, ...], settings: Settings) -> RankTable:
    """The table, its nodes split where several pods share a server; then the number of nodes is what was asked for."""
    if table.form != TEMPLATE_2:
        table = replace(table, nodes=share.split(table.nodes, expected, given, table.source))
    number = len(table.nodes)
    if settings.nnodes not in (None, number):
        raise ConfigError(
            f"start {settings.nnodes} nodes",
            f"the rank table {table.source} has {number}",
            "correct or drop --nnodes",
        )
    if table.form != TEMPLATE_2 and expected is not None and expected > number and not given:
        raise ConfigError(
            f"find {expected} nodes in the rank table {table.source}",
            f"it has {number} servers, and nothing tells which of their devices this container was given",
            "set ASCEND_VISIBLE_DEVICES, or --nnodes if the table is right",
        )
    return table


def _own_rank(
    table: RankTable,
    expected: int | None,
    given: tuple[int, ...],
    platform: Platform,
    settings: Settings,
    environ: Environ,
) -> tuple[int, str]:
    if settings.node_rank is not None:
        return _checked_rank(settings.node_rank, len(table.nodes)), "--node-rank"
    if len(table.nodes) > 1:
        from ma2l.ascend import hccn

        device_ips = tuple(hccn.configured_ips().values())
    else:
        device_ips = ()
    me = locate.Identity(
        pod=platform.text(environ, "pod"),
        ips=platform.texts(environ, "ips"),
        device_ips=device_ips,
        device_ids=given,
        task_index=platform.number(environ, "task_index") if table.form == TEMPLATE_2 else None,
    )
    return locate.own_node(table.nodes, me, table.source, expected)


def _from_job(platform: Platform, lists: HostLists, settings: Settings, environ: Environ, trail: list[str]) -> Topology:
    """ModelArts or Volcano without a rank table: host names by node rank, and the number of devices per node."""
    if len(lists) > 1:
        raise ConfigError(
            "tell which nodes train",
            f"the job has several tasks: {', '.join(lists)}",
            "pass --nnodes, --node-rank and --master-addr",
        )
    ((variable, hosts),) = lists.items()
    number = settings.nnodes or platform.number(environ, "nodes") or len(hosts)
    if number > len(hosts):
        raise ConfigError(
            f"start {number} nodes", f"{variable} names {len(hosts)}", "correct --nnodes or the number of pods"
        )
    rank = settings.node_rank if settings.node_rank is not None else platform.number(environ, "node_rank")
    if rank is None and number > 1:
        raise ConfigError("tell which node this is", "VC_TASK_INDEX is not set", "set it or pass --node-rank")
    count = platform.number(environ, "devices") or settings.nproc_per_node
    trail.insert(0, f"{platform.name} variables {variable} and VC_TASK_INDEX")
    return _uniform(list(hosts), number, rank or 0, count, platform, settings, environ, trail)


def _from_operator(settings: Settings, environ: Environ, trail: list[str]) -> Topology:
    """An AscendJob: world size, devices per pod and the master's address; other pods have no names here."""
    total = MINDCLUSTER.number(environ, "world_size") or 1
    count = MINDCLUSTER.number(environ, "devices") or settings.nproc_per_node or total
    if total % count:
        raise ConfigError(
            f"split {total} ranks into pods of {count}", "it does not come out even", "check MS_LOCAL_WORKER"
        )
    number = settings.nnodes or total // count
    rank = settings.node_rank if settings.node_rank is not None else MINDCLUSTER.number(environ, "node_rank")
    if rank is None and number > 1:
        raise ConfigError("tell which node this is", "neither MS_NODE_RANK nor RANK is set", "pass --node-rank")
    trail.insert(0, "Ascend Operator variables MS_WORKER_NUM, MS_NODE_RANK or WORLD_SIZE, RANK")
    return _uniform([], number, rank or 0, count, MINDCLUSTER, settings, environ, trail)


def _from_host(platform: Platform, settings: Settings, environ: Environ, trail: list[str]) -> Topology:
    """Nothing but this server's own NPUs; other servers exist when flags say so."""
    number = settings.nnodes or _expected_nodes(platform, environ) or 1
    if number > 1 and (settings.node_rank is None or settings.master_addr is None):
        raise ConfigError(
            f"start {number} nodes", "no platform tells which node this is and where node 0 is",
            "pass --node-rank and --master-addr on every node",
        )  # fmt: skip
    trail.insert(0, "this host's NPUs")
    return _uniform([], number, settings.node_rank or 0, None, platform, settings, environ, trail)


def _uniform(
    hosts: list[str],
    number: int,
    node_rank: int,
    count: int | None,
    platform: Platform,
    settings: Settings,
    environ: Environ,
    trail: list[str],
) -> Topology:
    """A cluster whose nodes all have as many devices as this one: ``count``, or those that are here."""
    from ma2l.ascend import host  # its tools are asked only where no table tells

    _checked_rank(node_rank, number)
    npus = host.find(environ, want_ips=number == 1)
    granted = devices.visible_devices(environ)
    found = npus.device_ids if isinstance(npus, host.HostNpus) else ()
    ids = found or granted or tuple(range(count or 0))
    if not ids:
        raise NoUsableDevice(
            "find an NPU to run on",
            f"{'; '.join(trail[1:])}; this host: {npus}",
            "run on an Ascend node, or try --mock 8",
        )
    seen = visible.select(
        _first(ids, granted, count),
        found or None,
        granted,
        devices.rt_visible_devices(environ),
        settings.nproc_per_node,
    )
    names = [*hosts[:number], *[""] * (number - len(hosts))]
    ips = npus.ips if isinstance(npus, host.HostNpus) else {}
    nodes = tuple(_node(rank, name, seen.kept, ips) for rank, name in enumerate(names))
    cluster = Cluster(nodes, node_rank)
    table = None
    if number == 1 and len(seen.kept) > 1 and isinstance(npus, host.HostNpus):
        parsed = parse(_as_bytes(nodes), f"made from {npus.how}")
        table = parsed if isinstance(parsed, RankTable) else None
    node_0 = master.address(cluster, hosts, platform.number(environ, "master_index") or 0, settings, platform, environ)
    return Topology(cluster, table, platform, tuple(trail), node_0, seen, _doubts(seen, nodes[node_rank]))


def _first(ids: tuple[int, ...], granted: tuple[int, ...] | None, count: int | None) -> tuple[int, ...]:
    """The devices of this node where the platform says how many they are."""
    mine = tuple(i for i in ids if granted is None or i in granted)
    if count is not None and mine and len(mine) < count:
        raise NoUsableDevice(
            f"use {count} devices on this node", f"only {len(mine)} are here", "run on a node that has them all"
        )
    return mine[:count] if count is not None and mine else ids


def _as_bytes(nodes: tuple[Node, ...]) -> bytes:
    import json

    return json.dumps(build(nodes)).encode()


def _node(rank: int, name: str, ids: tuple[int, ...], ips: Mapping[int, str]) -> Node:
    first = rank * len(ids)
    members = tuple(Device(first + i, device_id, ips.get(device_id, "")) for i, device_id in enumerate(ids))
    return Node(rank, name or f"node{rank}", name or f"node{rank}", members, (name,) if name else ())


def _cut(table: RankTable, own: Node, seen: visible.Visible) -> RankTable:
    """Cut every node alike: by the places of the kept devices in the own node, which all nodes can compute."""
    places = [
        place for place, device in enumerate(sorted(d.device_id for d in own.devices)) if device in set(seen.kept)
    ]
    keep: set[int] = set()
    for node in table.nodes:
        by_id = sorted(node.devices, key=lambda device: device.device_id)
        if len(by_id) <= places[-1]:
            raise ConfigError(
                f"cut every node to the devices that {seen.because} leaves here",
                f"node {node.name} has only {len(by_id)} devices",
                f"unset {seen.because} or give every node as many devices",
            )
        keep.update(by_id[place].rank for place in places)
    return restrict(table, lambda _node, device: device.rank in keep)


def _expected_nodes(platform: Platform, environ: Environ) -> int | None:
    """Number of nodes as the platform says, ``None`` when it does not."""
    if platform is MINDCLUSTER:
        total, local = platform.number(environ, "world_size"), platform.number(environ, "devices")
        return -(-total // local) if total and local else None
    return platform.number(environ, "nodes") or None


def _told_by_flags(settings: Settings) -> bool:
    """Whether the options say everything that a list of hosts would."""
    return None not in (settings.nnodes, settings.node_rank, settings.master_addr)


def _only(lists: HostLists) -> tuple[str, ...]:
    """The host list where there is exactly one; several tasks leave open which of them trains."""
    return next(iter(lists.values())) if len(lists) == 1 else ()


def _doubts(seen: visible.Visible, own: Node) -> tuple[str, ...]:
    if seen.certain:
        return ()
    ids = ", ".join(str(device.device_id) for device in sorted(own.devices, key=lambda device: device.device_id)[:8])
    return (f"no device file of this node's devices ({ids}) is visible; DEVICE_ID counts them from 0",)


def _checked_rank(rank: int, number: int) -> int:
    if rank >= number:
        raise ConfigError(f"be node {rank}", f"the job has {number} nodes, numbered from 0", "correct the node rank")
    return rank
