"""HCCL's ``rank_list`` form, version 2.0 (Ascend 950): its rules, and the nodes it describes.

Source: HCCL user guide, "rank table" for Ascend 950PR/950DT. Numbers may be JSON integers or decimal strings here.
The limits of one product (65,536 ranks, local ids up to 64) are left to HCCL.

The form names no servers, so nodes are an inference: ranks in order belong to one node as long as ``local_id`` grows,
no ``device_id`` comes twice and the instance of network layer 0 ("connections inside a server" in the guide's sample)
stays the same. A table that numbers the devices of several hosts through in one layer-0 instance makes them one node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ma2l.cluster import Device, Node
from ma2l.ranktable.values import described, is_ipv4, is_ipv6, is_port, number, shown

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import Any

_IDS = ("rank_id", "local_id", "device_id")
_RANK_MUST = frozenset(_IDS) | {"level_list"}
_LEVEL_MUST = frozenset({"net_layer", "net_instance_id", "net_type", "rank_addr_list"})
_ADDRESS_MUST = frozenset({"addr_type", "addr", "ports"})
_PORTS = ("device_port", "host_port")
_STRING = frozenset({str})
_HEXADECIMAL = "0123456789abcdefABCDEF"
_MOST_LEVELS = 8
_MOST_ADDRESSES = 24


def in_use(document: Mapping[str, Any]) -> bool:
    """Whether HCCL reads ``rank_list`` in this document, where another list may stand beside it."""
    return "rank_list" in document and (document.get("version") == "2.0" or "server_list" not in document)


def nodes(document: Mapping[str, Any]) -> tuple[Node, ...]:
    """The nodes of a document that passed every check.

    ``server_id`` is the layer-0 ``net_instance_id`` where that differs for every node, else ``node<i>``. The ip of a
    device is its first layer-0 address, an EID on some products. Addresses of nodes are unknown.
    """
    shares = _shares(document["rank_list"])
    instances = [instance for instance, _ in shares]
    distinct = len(set(instances)) == len(instances) and all(instances)
    return tuple(
        Node(rank, name, name, devices)
        for rank, (instance, devices) in enumerate(shares)
        for name in (instance if distinct else f"node{rank}",)
    )


def _shares(ranks: list[dict[str, Any]]) -> list[tuple[str, tuple[Device, ...]]]:
    """The layer-0 instance and the devices of each node."""
    shares: list[tuple[str, list[Device]]] = []
    last_local, last_instance = -1, None
    used: set[int] = set()
    for rank in sorted(ranks, key=lambda rank: number(rank["rank_id"])):
        local, device_id, level = number(rank["local_id"]), number(rank["device_id"]), rank["level_list"][0]
        instance, addresses = level["net_instance_id"], level["rank_addr_list"]
        if local <= last_local or instance != last_instance or device_id in used:
            shares.append((instance, []))
            used = set()
        used.add(device_id)
        last_local, last_instance = local, instance
        shares[-1][1].append(Device(number(rank["rank_id"]), device_id, addresses[0]["addr"] if addresses else ""))
    return [(instance, tuple(devices)) for instance, devices in shares]


def violations(document: Mapping[str, Any]) -> Iterator[str]:
    """What HCCL would refuse in a document with ``rank_list``; at most one violation for each rank's content."""
    if "version" not in document:
        yield "version is missing"
    status = document.get("status", "completed")
    if status != "completed":
        yield f'status is {shown(status)}, not "completed"'
    ranks = document["rank_list"]
    if not isinstance(ranks, list):
        yield f"rank_list is {described(ranks)}, it must be a list"
        return
    if not ranks:
        yield "rank_list is empty"
    if "rank_count" not in document:
        yield "rank_count is missing"
    elif number(document["rank_count"]) != len(ranks):
        yield f"rank_count is {shown(document['rank_count'])}, {len(ranks)} ranks are listed"
    right = True
    for index, rank in enumerate(ranks):
        fault = _rank_fault(rank)
        if fault:
            right = False
            yield f"{_place(rank, index)}{fault}"
    if right:
        yield from _rank_ids(ranks)


def _place(rank: Any, index: int) -> str:
    """A rank in a message; by its place in the list where its id is of no use."""
    known = isinstance(rank, dict) and number(rank.get("rank_id")) >= 0
    return f"rank {number(rank['rank_id'])}" if known else f"rank_list[{index}]"


def _rank_ids(ranks: list[dict[str, Any]]) -> Iterator[str]:
    count = len(ranks)
    first: dict[int, int] = {}
    for index, rank in enumerate(ranks):
        rank_id = number(rank["rank_id"])
        if rank_id >= count:
            yield f"rank_list[{index}].rank_id is {rank_id}, the ids of {count} ranks are 0 to {count - 1}"
        elif first.setdefault(rank_id, index) != index:
            yield f"rank_list[{index}].rank_id {rank_id} is also that of rank_list[{first[rank_id]}]"
    if len(first) < count:
        missing = (rank_id for rank_id in range(count) if rank_id not in first)
        yield from (
            f"rank_id {rank_id} is missing, the ids of {count} ranks are 0 to {count - 1}" for rank_id in missing
        )


def _rank_fault(rank: Any) -> str:
    """The first thing wrong with one rank, empty when nothing is."""
    if type(rank) is not dict:
        return f" is {described(rank)}, it must be an object"
    if not rank.keys() >= _RANK_MUST:
        return f".{min(_RANK_MUST - rank.keys())} is missing"
    for name in _IDS:
        if number(rank[name]) < 0:
            return f".{name} is {shown(rank[name])}, not a whole number from 0"
    for name in _PORTS:
        if name in rank and not is_port(rank[name]):
            return f".{name} is {shown(rank[name])}, not a port (1 to 65535)"
    return _levels_fault(rank["level_list"])


def _levels_fault(levels: Any) -> str:
    if type(levels) is not list or not 0 < len(levels) <= _MOST_LEVELS:
        given = f"has {len(levels)} entries" if isinstance(levels, list) else f"is {described(levels)}"
        return f".level_list {given}, it must be a list of 1 to {_MOST_LEVELS}"
    last = -1
    for index, level in enumerate(levels):
        fault = _level_fault(level, last)
        if fault:
            return f".level_list[{index}]{fault}"
        last = number(level["net_layer"])
    return ""


def _level_fault(level: Any, last: int) -> str:
    if type(level) is not dict:
        return f" is {described(level)}, it must be an object"
    if not level.keys() >= _LEVEL_MUST:
        return f".{min(_LEVEL_MUST - level.keys())} is missing"
    layer, net_type, addresses = number(level["net_layer"]), level["net_type"], level["rank_addr_list"]
    if not 0 <= layer < _MOST_LEVELS:
        return f".net_layer is {shown(level['net_layer'])}, not a layer (0 to {_MOST_LEVELS - 1})"
    if layer <= last or (last < 0 < layer):
        return f".net_layer is {layer}; layers start with 0 and grow"
    if type(level["net_instance_id"]) is not str:
        return f".net_instance_id is {described(level['net_instance_id'])}, it must be a string"
    if net_type != "TOPO_FILE_DESC" and (layer == 0 or net_type != "CLOS"):
        return f".net_type is {shown(net_type)}, layer {layer} allows TOPO_FILE_DESC{' or CLOS' if layer else ''}"
    if type(addresses) is not list or len(addresses) > _MOST_ADDRESSES:
        given = f"has {len(addresses)} entries" if isinstance(addresses, list) else f"is {described(addresses)}"
        return f".rank_addr_list {given}, it must be a list of at most {_MOST_ADDRESSES}"
    for index, address in enumerate(addresses):
        fault = _address_fault(address)
        if fault:
            return f".rank_addr_list[{index}]{fault}"
    return ""


def _address_fault(address: Any) -> str:
    if type(address) is not dict:
        return f" is {described(address)}, it must be an object"
    if not address.keys() >= _ADDRESS_MUST:
        return f".{min(_ADDRESS_MUST - address.keys())} is missing"
    given, text, ports = address["addr_type"], address["addr"], address["ports"]
    family = given.upper() if type(given) is str else ""
    if family not in ("IPV4", "IPV6", "EID"):
        return f".addr_type is {shown(given)}, not IPV4, IPV6 or EID"
    if type(text) is not str:
        return f".addr is {described(text)}, it must be a string"
    if family == "IPV4" and not is_ipv4(text):
        return f".addr is {shown(text)}, not an IPv4 address"
    if family == "IPV6" and not is_ipv6(text):
        return f".addr is {shown(text)}, not an IPv6 address"
    if family == "EID" and (len(text) != 32 or text.strip(_HEXADECIMAL)):
        return f".addr is {shown(text)}, not an EID (32 hexadecimal digits)"
    if type(ports) is not list or not ports or not _STRING.issuperset(map(type, ports)):
        return f".ports is {shown(ports)}, it must be a list of strings, not empty"
    return ""
