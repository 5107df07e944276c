"""Who is where in the whole job: a row per node, folded where many are alike."""

from __future__ import annotations

from collections.abc import Sequence

from ma2l.cluster import Cluster, Node
from ma2l.linux import cpulist

MOST_ROWS = 12
"""More nodes or processes than this are folded."""
_EDGE = 3
"""Rows at either end that folding keeps."""


def servers(cluster: Cluster) -> list[dict[str, object]]:
    """Every node for programs: its server, its ranks and their devices, in the same order."""
    return [
        {
            "node_rank": node.rank,
            "name": node.name,
            "server_id": node.server_id,
            "ranks": [device.rank for device in node.devices],
            "device_ids": [device.device_id for device in node.devices],
        }
        for node in cluster.nodes
    ]


def size(cluster: Cluster) -> str:
    """``2 servers x 8 NPUs``, or how many there are where servers differ."""
    per_server: dict[str, int] = {}
    for node in cluster.nodes:
        per_server[node.server_id] = per_server.get(node.server_id, 0) + len(node.devices)
    counts = sorted(set(per_server.values()))
    each = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{len(per_server)} server{'s'[: len(per_server) != 1]} x {each} NPU{'s'[: counts != [1]]}"


def rows(cluster: Cluster) -> list[tuple[str, ...]]:
    """Titles, then a row per node: node rank, name, server, ranks, devices, and which one this is."""
    table: list[tuple[str, ...]] = [("NODE", "NAME", "SERVER", "RANKS", "DEVICES", "")]
    kept = folded(len(cluster.nodes), [cluster.node_rank] if cluster.node_rank >= 0 else [])
    for position, place in enumerate(kept):
        gap = range(kept[position - 1] + 1, place) if position else range(0)
        if gap:
            table.append(_gap([cluster.nodes[hidden] for hidden in gap]))
        node = cluster.nodes[place]
        here = "<- this node" if place == cluster.node_rank else ""
        table.append((str(node.rank), node.name, node.server_id, _ranks(node), _devices(node), here))
    return table


def folded(number: int, keep: Sequence[int] = ()) -> list[int]:
    """Places that are shown of so many: all, or both ends and those to keep."""
    if number <= MOST_ROWS:
        return list(range(number))
    return sorted({*range(_EDGE), *range(number - _EDGE, number), *keep})


def _gap(nodes: Sequence[Node]) -> tuple[str, ...]:
    alike = len({len(node.devices) for node in nodes}) == 1 and len({_devices(node) for node in nodes}) == 1
    ranks = cpulist.text(device.rank for node in nodes for device in node.devices)
    which = f"{nodes[0].rank}..{nodes[-1].rank}" if len(nodes) > 1 else str(nodes[0].rank)
    return (which, "alike" if alike else "...", "", ranks, _devices(nodes[0]) if alike else "...", "")


def _ranks(node: Node) -> str:
    return cpulist.text(device.rank for device in node.devices)


def _devices(node: Node) -> str:
    return cpulist.text(device.device_id for device in node.devices)
