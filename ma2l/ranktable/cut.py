"""A smaller rank table out of a larger one: only some devices take part, ranks are numbered again without gaps."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ma2l.cluster import Device, Node
from ma2l.errors import ConfigError
from ma2l.ranktable import rank_list, super_pods
from ma2l.ranktable.table import RankTable
from ma2l.ranktable.values import number

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import Any


def restrict(table: RankTable, keep: Callable[[Node, Device], bool]) -> RankTable:
    """The table of only those devices for which ``keep`` says yes; the given table stays as it is.

    Ranks and node ranks are numbered from 0 in the old order. Nodes, servers and super pods without a device vanish,
    counts agree again, unknown fields survive.

    Raises:
        ConfigError: no device is kept.
    """
    new_rank: dict[int, int] = {}
    nodes: list[Node] = []
    for node in table.nodes:
        devices = []
        for device in node.devices:
            if keep(node, device):
                devices.append(Device(len(new_rank), device.device_id, device.ip))
                new_rank[device.rank] = len(new_rank)
        if devices:
            nodes.append(Node(len(nodes), node.name, node.server_id, tuple(devices), node.addresses))
    if not nodes:
        raise ConfigError(f"cut down the rank table {table.source}", "none of its devices would be left")
    return RankTable(table.source, table.form, _cut(table.document, new_rank), tuple(nodes))


def _cut(document: Mapping[str, Any], new_rank: Mapping[int, int]) -> dict[str, Any]:
    cut = dict(document)
    if rank_list.in_use(document):
        cut["rank_list"] = ranks = _renumbered(document["rank_list"], new_rank)
        _recount(cut, "rank_count", len(ranks))
        return cut
    servers = [{**server, "device": _renumbered(server["device"], new_rank)} for server in document["server_list"]]
    cut["server_list"] = servers = [server for server in servers if server["device"]]
    _recount(cut, "server_count", len(servers))
    if super_pods.in_use(document):
        left = {server["server_id"] for server in servers}
        pods = [{**p, "server_list": _members(p["server_list"], left)} for p in document["super_pod_list"]]
        cut["super_pod_list"] = [pod for pod in pods if pod["server_list"]]
    return cut


def _renumbered(items: list[dict[str, Any]], new_rank: Mapping[int, int]) -> list[dict[str, Any]]:
    """The kept devices (ranks in form 2.0), each with its new ``rank_id`` in the type of the old one."""
    kept = [(item, new_rank.get(number(item["rank_id"]))) for item in items]
    return [{**item, "rank_id": type(item["rank_id"])(rank)} for item, rank in kept if rank is not None]


def _members(members: list[dict[str, Any]], left: set[str]) -> list[dict[str, Any]]:
    return [member for member in members if member["server_id"] in left]


def _recount(document: dict[str, Any], name: str, count: int) -> None:
    if name in document:
        document[name] = type(document[name])(count)
