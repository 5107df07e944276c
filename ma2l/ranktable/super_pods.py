"""The super pods of a 1.2 document (Atlas A3): which servers share one, and their devices' ids in it.

Source: HCCL user guide, "rank table" for Atlas A3, super pod mode. Without ``super_pod_list`` or without
``super_device_id`` HCCL falls back to "AI server mode"; that is slower between servers, not wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ma2l.ranktable.values import described, natural, shown

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import Any


def in_use(document: Mapping[str, Any]) -> bool:
    """Whether HCCL reads ``super_pod_list`` in this document; in a 1.0 document it is an unknown field."""
    return document.get("version") != "1.0" and "super_pod_list" in document


def described_in(document: Mapping[str, Any]) -> bool:
    """Whether a document of any shape mentions super pods or a device's id in one."""
    if "super_pod_list" in document:
        return True
    servers = document.get("server_list")
    first = servers[0] if isinstance(servers, list) and servers else None
    devices = first.get("device") if isinstance(first, dict) else None
    return isinstance(devices, list) and any(isinstance(d, dict) and "super_device_id" in d for d in devices)


def why_device_ip(document: Mapping[str, Any]) -> str:
    """Why every device needs ``device_ip``, empty when it does not.

    Servers of one super pod reach each other without the network of ``device_ip``; other servers do not.
    """
    servers = document["server_list"]
    if in_use(document) and _has_super_device_ids(servers):
        return "with more than one super pod" if len(document["super_pod_list"]) > 1 else ""
    return "with more than one server" if len(servers) > 1 else ""


def shape(document: Mapping[str, Any]) -> Iterator[str]:
    """What has the wrong type in ``super_pod_list``."""
    if not in_use(document):
        return
    pods = document["super_pod_list"]
    if not isinstance(pods, list):
        yield f"super_pod_list is {described(pods)}, it must be a list"
        return
    for index, pod in enumerate(pods):
        place = f"super_pod_list[{index}]"
        if not isinstance(pod, dict):
            yield f"{place} is {described(pod)}, it must be an object"
            continue
        yield from _string(place, pod, "super_pod_id")
        members = pod.get("server_list")
        if not isinstance(members, list):
            given = described(members) if "server_list" in pod else "missing"
            yield f"{place}.server_list is {given}, it must be a list"
            continue
        for number, member in enumerate(members):
            if isinstance(member, dict):
                yield from _string(f"{place}.server_list[{number}]", member, "server_id")
            else:
                yield f"{place}.server_list[{number}] is {described(member)}, it must be an object"


def _string(place: str, item: Mapping[str, Any], name: str) -> Iterator[str]:
    if name not in item:
        yield f"{place}.{name} is missing"
    elif type(item[name]) is not str:
        yield f"{place}.{name} is {described(item[name])}; every value must be a JSON string"


def violations(document: Mapping[str, Any]) -> Iterator[str]:
    """What HCCL would refuse in the super pods of a document whose shape is right."""
    if document.get("version") == "1.0":
        return
    servers = document["server_list"]
    pods = document.get("super_pod_list")
    if pods is None:
        yield from _super_device_ids(servers, {})
        return
    pod_of: dict[str, int] = {}
    yield from _members(servers, pods, pod_of)
    yield from _contiguous(servers, pods, pod_of)
    yield from _super_device_ids(servers, pod_of)


def _members(servers: list[dict[str, Any]], pods: list[dict[str, Any]], pod_of: dict[str, int]) -> Iterator[str]:
    """Every server is in exactly one super pod; fills ``pod_of`` with the index of that pod by server id."""
    known = {server["server_id"] for server in servers}
    seen: set[str] = set()
    for index, pod in enumerate(pods):
        pod_id = pod["super_pod_id"]
        if not pod_id:
            yield f"super_pod_list[{index}].super_pod_id is empty"
        elif pod_id in seen:
            yield f"super pod {shown(pod_id)}: super_pod_id is used twice"
        seen.add(pod_id)
        for member in pod["server_list"]:
            server_id = member["server_id"]
            if server_id not in known:
                yield f"super pod {shown(pod_id)}: server {shown(server_id)} is not in server_list"
            elif server_id in pod_of:
                first = shown(pods[pod_of[server_id]]["super_pod_id"])
                yield f"super pod {shown(pod_id)}: server {shown(server_id)} is already in super pod {first}"
            else:
                pod_of[server_id] = index
    for server in servers:
        if server["server_id"] not in pod_of:
            yield f"server {shown(server['server_id'])} is in no super pod of super_pod_list"


def _contiguous(servers: list[dict[str, Any]], pods: list[dict[str, Any]], pod_of: dict[str, int]) -> Iterator[str]:
    """The servers of one super pod follow each other in the order of ranks."""
    ordered = sorted(servers, key=lambda server: natural(server["device"][0]["rank_id"]))
    left: set[int] = set()
    current = -1
    for server in ordered:
        pod = pod_of.get(server["server_id"], current)
        if pod == current:
            continue
        left.add(current)
        current = pod
        if pod in left:
            stray = f"super pod {shown(pods[pod]['super_pod_id'])}: server {shown(server['server_id'])}"
            yield f"{stray} comes after servers of another super pod; those of one pod must follow each other"


def _has_super_device_ids(servers: list[dict[str, Any]]) -> bool:
    return any("super_device_id" in device for server in servers for device in server["device"])


def _super_device_ids(servers: list[dict[str, Any]], pod_of: dict[str, int]) -> Iterator[str]:
    """Not empty; where there are super pods, every device has one or none has, and it is unique in its pod."""
    if not _has_super_device_ids(servers):
        return
    users: dict[tuple[int, str], str] = {}
    for server in servers:
        server_id = server["server_id"]
        pod = pod_of.get(server_id)
        for index, device in enumerate(server["device"]):
            super_device_id = device.get("super_device_id")
            if not super_device_id:
                if super_device_id == "":
                    yield f"{_at(server_id, index)} is empty"
                elif pod_of:
                    yield f"{_at(server_id, index)} is missing, other devices have one"
            elif pod is not None:
                if (pod, super_device_id) in users:
                    user = f"server {shown(users[pod, super_device_id])}"
                    yield f"{_at(server_id, index)} {shown(super_device_id)} is also used by {user} in its super pod"
                users[pod, super_device_id] = server_id


def _at(server_id: str, index: int) -> str:
    return f"server {shown(server_id)}: device[{index}].super_device_id"
