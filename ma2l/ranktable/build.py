"""A rank table where the platform wrote none: from the nodes of a job to a 1.0 document."""

from __future__ import annotations

from ma2l.cluster import Node

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import Any


def build(nodes: tuple[Node, ...]) -> dict[str, Any]:
    """The 1.0 document of a job; nodes with the same ``server_id`` are one server in it.

    ``device_ip`` is left out where it is unknown; HCCL needs it with more than one server, and ``check`` says so.

    Args:
        nodes: every node, in the order of node ranks.
    """
    servers: dict[str, list[dict[str, str]]] = {}
    for node in nodes:
        devices = servers.setdefault(node.server_id, [])
        for device in node.devices:
            entry = {"device_id": str(device.device_id), "rank_id": str(device.rank)}
            devices.append({**entry, "device_ip": device.ip} if device.ip else entry)
    return {
        "status": "completed",
        "version": "1.0",
        "server_count": str(len(servers)),
        "server_list": [{"server_id": server_id, "device": devices} for server_id, devices in servers.items()],
    }
