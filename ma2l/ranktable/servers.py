"""HCCL's ``server_list`` form, versions 1.0 and 1.2: its rules, and the nodes it describes.

Source: HCCL user guide, "rank table" for Atlas training products, Atlas A2 and Atlas A3, and the messages of its
``topoinfo_ranktableParser``. Every scalar is a JSON string, counts and ids too; a field HCCL does not know is ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ma2l.cluster import Device, Node
from ma2l.ranktable import super_pods
from ma2l.ranktable.values import are_ipv4, described, is_ip, is_port, natural, naturals, shown

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import Any

_SERVER_ID_CHARACTERS = 64
_PORTS = ("device_port", "backup_device_port", "host_port")
_DEVICE_MUST = frozenset({"device_id", "rank_id"})
_DEVICE_STRINGS = _DEVICE_MUST.union(_PORTS, {"device_ip", "super_device_id", "backup_device_ip"})
_STRING = frozenset({str})
_ADDRESSES = ("container_ip", "pod_ip", "host_ip", "server_ip")


def nodes(document: Mapping[str, Any]) -> tuple[Node, ...]:
    """The nodes of a document that passed every check: one per server, in the order of their lowest ranks.

    A node is called by the ``pod_name`` of its server where there is one. Its addresses are ``container_ip``,
    ``pod_ip``, ``host_ip`` and ``server_ip``, those present, then the server id.
    """
    found = []
    for server in document["server_list"]:
        devices = [
            Device(int(device["rank_id"]), int(device["device_id"]), device.get("device_ip", "").partition(",")[0])
            for device in server["device"]
        ]
        devices.sort(key=lambda device: device.rank)
        found.append((devices[0].rank, server, tuple(devices)))
    found.sort(key=lambda entry: entry[0])
    return tuple(_node(rank, server, devices) for rank, (_, server, devices) in enumerate(found))


def _node(rank: int, server: Mapping[str, Any], devices: tuple[Device, ...]) -> Node:
    server_id = server["server_id"]
    said = (server.get(name) for name in _ADDRESSES)
    addresses = dict.fromkeys([address for address in said if address and isinstance(address, str)] + [server_id])
    pod_name = server.get("pod_name")
    name = pod_name if pod_name and isinstance(pod_name, str) else server_id
    return Node(rank, name, server_id, devices, tuple(addresses))


def violations(document: Mapping[str, Any]) -> Iterator[str]:
    """What HCCL would refuse in a document with ``server_list``; values are looked at only when the shape is right."""
    right = True
    for line in _shape(document):
        right = False
        yield line
    if not right:
        return
    servers: list[dict[str, Any]] = document["server_list"]
    count = document.get("server_count")
    if count is not None and natural(count) != len(servers):
        yield f"server_count is {shown(count)}, {len(servers)} servers are listed"
    yield from _server_ids(servers)
    yield from _device_ids(servers)
    yield from _ports(servers)
    yield from _host_ports(servers)
    yield from _rank_ids(servers)
    yield from super_pods.violations(document)
    yield from _device_ips(servers, super_pods.why_device_ip(document))
    yield from _further_ips(servers)


def _shape(document: Mapping[str, Any]) -> Iterator[str]:
    for name in ("status", "version"):
        if name not in document:
            yield f"{name} is missing"
    yield from _strings("", document, ("status", "version", "server_count"))
    if type(document.get("status")) is str and document["status"] != "completed":
        yield f'status is {shown(document["status"])}, not "completed"'
    servers = document["server_list"]
    if not isinstance(servers, list):
        yield f"server_list is {described(servers)}, it must be a list"
        return
    if not servers:
        yield "server_list is empty"
    for index, server in enumerate(servers):
        if isinstance(server, dict):
            yield from _server_shape(f"server_list[{index}]", server)
        else:
            yield f"server_list[{index}] is {described(server)}, it must be an object"
    yield from super_pods.shape(document)


def _server_shape(place: str, server: dict[str, Any]) -> Iterator[str]:
    if "server_id" in server:
        place = f"server {shown(server['server_id'])}"
    else:
        yield f"{place}: server_id is missing"
    yield from _strings(f"{place}: ", server, ("server_id", "host_ip"))
    devices = server.get("device")
    if not isinstance(devices, list):
        yield f"{place}: device is {'missing' if 'device' not in server else described(devices)}, it must be a list"
        return
    if not devices:
        yield f"{place}: device is empty"
    for index, device in enumerate(devices):
        if type(device) is dict and device.keys() >= _DEVICE_MUST and _STRING.issuperset(map(type, device.values())):
            continue
        if not isinstance(device, dict):
            yield f"{place}: device[{index}] is {described(device)}, it must be an object"
            continue
        for name in sorted(_DEVICE_MUST - device.keys()):
            yield f"{place}: device[{index}].{name} is missing"
        yield from _strings(f"{place}: device[{index}].", device, sorted(_DEVICE_STRINGS))


def _strings(prefix: str, item: Mapping[str, Any], names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if name in item and type(item[name]) is not str:
            yield f"{prefix}{name} is {described(item[name])}; every value must be a JSON string"


def at(server: Mapping[str, Any], index: int) -> str:
    """The place of a device in a message."""
    return f"server {shown(server['server_id'])}: device[{index}]"


def _server_ids(servers: list[dict[str, Any]]) -> Iterator[str]:
    seen: dict[str, int] = {}
    for index, server in enumerate(servers):
        server_id = server["server_id"]
        if not server_id:
            yield f"server_list[{index}]: server_id is empty"
        elif len(server_id) > _SERVER_ID_CHARACTERS:
            length = f"{len(server_id)} characters, at most {_SERVER_ID_CHARACTERS} are allowed"
            yield f"server {shown(server_id)}: server_id has {length}"
        if server_id in seen:
            yield f"server {shown(server_id)}: server_id is used by server_list[{seen[server_id]}] and [{index}]"
        seen.setdefault(server_id, index)


def _device_ids(servers: list[dict[str, Any]]) -> Iterator[str]:
    for server in servers:
        ids = naturals([device["device_id"] for device in server["device"]])
        if min(ids) >= 0 and len(set(ids)) == len(ids):
            continue
        seen: dict[int, int] = {}
        for index, device_id in enumerate(ids):
            if device_id < 0:
                given = shown(server["device"][index]["device_id"])
                yield f"{at(server, index)}.device_id is {given}, not a whole number from 0"
            elif device_id in seen:
                yield f"{at(server, index)}.device_id {device_id} is also that of device[{seen[device_id]}]"
            seen.setdefault(device_id, index)


def _ports(servers: list[dict[str, Any]]) -> Iterator[str]:
    for name in _PORTS:
        distinct = {device.get(name) for server in servers for device in server["device"]}
        distinct.discard(None)
        wrong = {port for port in distinct if not is_port(port)}
        if not wrong:
            continue
        for server in servers:
            for index, device in enumerate(server["device"]):
                if device.get(name) in wrong:
                    yield f"{at(server, index)}.{name} is {shown(device[name])}, not a port (1 to 65535)"


def _host_ports(servers: list[dict[str, Any]]) -> Iterator[str]:
    for server in servers:
        seen: dict[str, int] = {}
        for index, device in enumerate(server["device"]):
            if "host_port" not in device:
                continue
            first = seen.setdefault(device["host_port"], index)
            if first != index:
                yield f"{at(server, index)}.host_port {shown(device['host_port'])} is also that of device[{first}]"


def _rank_ids(servers: list[dict[str, Any]]) -> Iterator[str]:
    """Ranks are 0 to N-1, each once, and those of one server without a foreign one between them."""
    ranks = [naturals([device["rank_id"] for device in server["device"]]) for server in servers]
    count = sum(map(len, ranks))
    owner = [-1] * count
    right = True
    for number, (server, own) in enumerate(zip(servers, ranks)):
        for index, rank in enumerate(own):
            if 0 <= rank < count and owner[rank] < 0:
                owner[rank] = number
                continue
            right = False
            given = shown(server["device"][index]["rank_id"])
            if 0 <= rank < count:
                yield f"{at(server, index)}.rank_id {given} is also used by {_server(servers[owner[rank]])}"
            else:
                yield f"{at(server, index)}.rank_id is {given}, the ranks of {count} devices are 0 to {count - 1}"
    for rank, number in enumerate(owner):
        if number < 0:
            right = False
            yield f"rank_id {rank} is missing, the ranks of {count} devices are 0 to {count - 1}"
    if right:
        yield from _interleaved(servers, ranks, owner)


def _interleaved(servers: list[dict[str, Any]], ranks: list[list[int]], owner: list[int]) -> Iterator[str]:
    for number, own in enumerate(ranks):
        first, last = min(own), max(own)
        if last - first + 1 != len(own):
            foreign = next(owner[rank] for rank in range(first, last) if owner[rank] != number)
            yield (
                f"{_server(servers[number])}: its rank_ids {first} to {last} interleave with those of "
                f"{_server(servers[foreign])}; the ranks of a server must be contiguous"
            )


def _server(server: Mapping[str, Any]) -> str:
    return f"server {shown(server['server_id'])}"


def _device_ips(servers: list[dict[str, Any]], why_needed: str) -> Iterator[str]:
    """Addresses are valid, unique in the job and equally many for every device; ``why_needed`` forbids none."""
    texts = [device.get("device_ip") or "" for server in servers for device in server["device"]]
    if are_ipv4(texts) and len(set(texts)) == len(texts):  # as nearly always: one each
        return
    width = -1
    users: dict[str, dict[str, Any]] = {}
    for server in servers:
        for index, device in enumerate(server["device"]):
            text = device.get("device_ip")
            addresses = text.split(",") if text else []
            if width < 0 and (addresses or not why_needed):
                width = len(addresses)
            if not addresses and why_needed:
                yield f"{at(server, index)}.device_ip is missing; it is needed {why_needed}"
            elif len(addresses) != width:
                yield f"{at(server, index)}.device_ip has {len(addresses)} addresses, that of the first device {width}"
            for address in addresses:
                if not is_ip(address):
                    yield f"{at(server, index)}.device_ip is {shown(text)}, not an IPv4 or IPv6 address"
                elif address in users:
                    yield f"{at(server, index)}.device_ip {address} is also used by {_server(users[address])}"
                else:
                    users[address] = server


def _further_ips(servers: list[dict[str, Any]]) -> Iterator[str]:
    for server in servers:
        if server.get("host_ip") and not is_ip(server["host_ip"]):
            yield f"{_server(server)}: host_ip is {shown(server['host_ip'])}, not an IPv4 or IPv6 address"
        for index, device in enumerate(server["device"]):
            if device.get("backup_device_ip") and not all(map(is_ip, device["backup_device_ip"].split(","))):
                given = shown(device["backup_device_ip"])
                yield f"{at(server, index)}.backup_device_ip is {given}, not an IPv4 or IPv6 address"
