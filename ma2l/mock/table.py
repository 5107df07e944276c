"""Rank tables of a mock job, as text: what the platforms' controllers would write.

They are as hostile as real ones: the last worker comes first, devices are unsorted, every scalar is a string.

Sources: template 2 as in "Training with a custom image on Ascend" (ModelArts documentation, docker-modelarts-0092);
1.0 and 1.2 as in "hccl.json file description" of MindCluster and "rank table" of the HCCL user guide.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from ma2l.mock.server import device_ip, host_ip, node_ip, physical_ids, unsorted
from ma2l.mock.shape import Shape

INITIALIZING = '{"status":"initializing"}'
_A3_SUPER_DEVICE_BASE = 37748736  # super device ids of a real super pod start far from 0


def template_2(shape: Shape, soc: str, pods: Sequence[str]) -> str:
    """The completed ``group_list`` table of ModelArts and CCE Volcano.

    Args:
        pods: pod names by node rank; each ends in ``-<node rank>``.
    """
    ids = unsorted(physical_ids(shape.devices, soc))
    instances = [
        {
            "devices": [{"device_id": str(i), "device_ip": device_ip(node, i)} for i in ids],
            "pod_name": pods[node],
            "server_id": host_ip(node),
        }
        for node in reversed(range(shape.nodes))
    ]
    group = {
        "device_count": str(shape.nodes * shape.devices),
        "group_name": "mock-worker",
        "instance_count": str(shape.nodes),
        "instance_list": instances,
    }
    return json.dumps({"group_count": "1", "group_list": [group], "status": "completed"}, separators=(",", ":"))


def server_list(shape: Shape, soc: str) -> str:
    """The completed ``server_list`` table of the Ascend Operator: version 1.0, on A3 1.2 with one super pod."""
    servers = [_server(node, shape, soc) for node in reversed(range(shape.nodes))]
    table: dict[str, object] = {
        "status": "completed",
        "server_list": servers,
        "server_count": str(shape.nodes),
        "version": "1.0",
    }
    if soc == "a3":
        table["version"] = "1.2"
        members = [{"server_id": server["server_id"]} for server in servers]
        table["super_pod_list"] = [{"super_pod_id": "0", "server_list": members}]
    return json.dumps(table, separators=(",", ":"))


def _server(node: int, shape: Shape, soc: str) -> dict[str, object]:
    ids = physical_ids(shape.devices, soc)
    devices = []
    for i in unsorted(ids):
        rank = node * shape.devices + i - ids[0]
        device = {"device_id": str(i), "device_ip": device_ip(node, i), "rank_id": str(rank)}
        if soc == "a3":
            device["super_device_id"] = str(_A3_SUPER_DEVICE_BASE + rank)
        devices.append(device)
    return {
        "device": devices,
        "server_id": host_ip(node),
        "host_ip": host_ip(node),
        "container_ip": node_ip(node),
        "hardware_type": f"mock-{soc}",
    }
