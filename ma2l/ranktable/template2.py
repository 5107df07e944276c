"""Template 2, the ``group_list`` form of ModelArts, the CCE Volcano plugin and the older hccl-controller.

It lists instances (pods) with their devices and gives no ranks. As Huawei's own runner (davincirun) does, ranks are
numbered through the instances in the order of the number at the end of ``pod_name``, whatever their order in the
file, and the instances of one server become one server of the 1.0 document that the ranks read. Unlike there, the
order runs across all groups, devices go by their ids, and fields that are not known here survive: a lost
``super_device_id`` silently takes an Atlas A3 out of its super pod.

Source: ModelArts docker-modelarts-0092 (sample), davincirun's ``rank_table.py`` and its tests. Every scalar is a
string there; integers are accepted and written as strings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from ma2l.cluster import Device, Node
from ma2l.ranktable.check import LIMIT
from ma2l.ranktable.values import described, number, shown

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import Any

_GROUP_FIELDS = frozenset({"group_name", "device_count", "instance_count", "instance_list"})
_INSTANCE_FIELDS = frozenset({"pod_name", "server_id", "devices", "device"})


def check(document: Mapping[str, Any]) -> list[str]:
    """What keeps a complete document from being converted, one line each, at most ``LIMIT``."""
    return list(islice(_violations(document), LIMIT))


def convert(document: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[Node, ...]]:
    """The 1.0 document and the nodes of a template 2 document that passed ``check``.

    Every instance is a node. Servers stand in the order of their first ranks. Unknown fields of instances and devices
    go to their servers and devices, those of groups and of the document to the top, where none of ours is in the way;
    of two with the same name the one of the lower rank, or nearer to the top, stays.
    """
    servers: dict[str, dict[str, Any]] = {}
    nodes: list[Node] = []
    rank = 0
    for instance in sorted(_instances(document), key=lambda instance: pod_index(instance["pod_name"])):
        server_id = str(instance["server_id"])
        server = servers.setdefault(server_id, {"server_id": server_id, "device": []})
        for name in instance.keys() - _INSTANCE_FIELDS:
            server.setdefault(name, _text(instance[name]))
        devices = []
        for device in sorted(instance["devices"], key=lambda device: number(device["device_id"])):
            written = {name: _text(value) for name, value in device.items()}
            written["rank_id"] = str(rank)
            server["device"].append(written)
            devices.append(Device(rank, number(device["device_id"]), written.get("device_ip", "").partition(",")[0]))
            rank += 1
        nodes.append(Node(len(nodes), instance["pod_name"], server_id, tuple(devices), (server_id,)))
    converted = {
        "status": "completed",
        "version": "1.0",
        "server_count": str(len(servers)),
        "server_list": list(servers.values()),
    }
    for name, value in _unknown_fields(document):
        converted.setdefault(name, value)
    return converted, tuple(nodes)


def pod_index(pod_name: str) -> int:
    """The number after the last ``-`` of a pod name, -1 where there is none."""
    return number(pod_name.rpartition("-")[2])


def _instances(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [instance for group in document["group_list"] for instance in group["instance_list"]]


def _unknown_fields(document: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Fields of the document, then of its groups in the order of their first ranks."""
    for name in document.keys() - {"group_list", "group_count"}:
        yield name, _text(document[name])
    filled = [group for group in document["group_list"] if group["instance_list"]]
    for group in sorted(filled, key=lambda g: min(pod_index(i["pod_name"]) for i in g["instance_list"])):
        for name in group.keys() - _GROUP_FIELDS:
            yield name, _text(group[name])


def _text(value: Any) -> Any:
    """An integer as a string, as everywhere in a 1.0 document; everything else as it is."""
    return str(value) if type(value) is int else value


def _violations(document: Mapping[str, Any]) -> Iterator[str]:
    groups = document["group_list"]
    if not isinstance(groups, list):
        yield f"group_list is {described(groups)}, it must be a list"
        return
    yield from _count("", document, "group_count", len(groups), "groups")
    right = True
    for index, group in enumerate(groups):
        for line in _group_violations(f"group_list[{index}]", group):
            right = False
            yield line
    if right:
        yield from _pod_indices(document)


def _group_violations(place: str, group: Any) -> Iterator[str]:
    if not isinstance(group, dict):
        yield f"{place} is {described(group)}, it must be an object"
        return
    if isinstance(group.get("group_name"), str):
        place = f"group {shown(group['group_name'])}"
    instances = group.get("instance_list")
    if not isinstance(instances, list):
        yield f"{place}: instance_list is {_given(group, 'instance_list')}, it must be a list"
        return
    yield from _count(f"{place}: ", group, "instance_count", len(instances), "instances")
    right = True
    for index, instance in enumerate(instances):
        for line in _instance_violations(f"{place}: instance_list[{index}]", instance):
            right = False
            yield line
    if right:
        listed = sum(len(instance["devices"]) for instance in instances)
        yield from _count(f"{place}: ", group, "device_count", listed, "devices")


def _instance_violations(place: str, instance: Any) -> Iterator[str]:
    if not isinstance(instance, dict):
        yield f"{place} is {described(instance)}, it must be an object"
        return
    pod_name = instance.get("pod_name")
    if isinstance(pod_name, str):
        place = f"instance {shown(pod_name)}"
        if pod_index(pod_name) < 0:
            yield f'{place}: pod_name does not end in "-" and a number, which decides the order of instances'
    else:
        yield f"{place}.pod_name is {_given(instance, 'pod_name')}, it must be a string"
    server_id = instance.get("server_id")
    if not isinstance(server_id, str) and number(server_id) < 0:
        yield f"{place}: server_id is {_given(instance, 'server_id')}, it must be a string"
    devices = instance.get("devices")
    if not isinstance(devices, list) or not devices:
        given = "empty" if devices == [] else _given(instance, "devices")
        yield f"{place}: devices is {given}, it must be a list of devices"
        return
    for index, device in enumerate(devices):
        if not isinstance(device, dict):
            yield f"{place}: devices[{index}] is {described(device)}, it must be an object"
        elif number(device.get("device_id")) < 0:
            given = shown(device["device_id"]) if "device_id" in device else "missing"
            yield f"{place}: devices[{index}].device_id is {given}, it must be a whole number from 0"
        elif not isinstance(device.get("device_ip", ""), str):
            yield f"{place}: devices[{index}].device_ip is {described(device['device_ip'])}, it must be a string"


def _given(item: Mapping[str, Any], name: str) -> str:
    return described(item[name]) if name in item else "missing"


def _count(prefix: str, item: Mapping[str, Any], name: str, listed: int, unit: str) -> Iterator[str]:
    if name in item and number(item[name]) != listed:
        yield f"{prefix}{name} is {shown(item[name])}, {listed} {unit} are listed"


def _pod_indices(document: Mapping[str, Any]) -> Iterator[str]:
    """The order of instances is decided by numbers that no two of them share."""
    first: dict[int, str] = {}
    for instance in _instances(document):
        pod_name = instance["pod_name"]
        index = pod_index(pod_name)
        if index in first:
            both = f"{shown(first[index])} and {shown(pod_name)}"
            yield f"instances {both} both end in {index}; the number decides their order, so it must be unique"
        first.setdefault(index, pod_name)
    if not first:
        yield "group_list has no instance"
