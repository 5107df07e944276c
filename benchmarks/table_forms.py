"""Makes large rank tables of every form.

The 2.0 form has one network layer and one address for each rank; "2.0 full" is the three addresses of the official
sample at 65,536 ranks, the most that form allows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Table = dict[str, Any]


def _ip(first: int, number: int) -> str:
    return f"{first}.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def template2(servers: int, devices: int) -> Table:
    """Instances in reverse order, as far from the order of ranks as can be."""
    instances = [
        {
            "pod_name": f"job-0-worker-{s}",
            "server_id": _ip(192, s),
            "devices": [{"device_id": str(d), "device_ip": _ip(10, s * devices + d)} for d in range(devices)],
        }
        for s in reversed(range(servers))
    ]
    group = {"group_name": "job-0", "device_count": str(servers * devices), "instance_count": str(servers)}
    return {"status": "completed", "group_count": "1", "group_list": [{**group, "instance_list": instances}]}


def version_1_0(servers: int, devices: int) -> Table:
    """One server list with every optional field of the Atlas A2 sample."""
    listed = []
    for s in range(servers):
        ranks = range(s * devices, (s + 1) * devices)
        own = [
            {"device_id": str(r % devices), "device_ip": _ip(10, r), "device_port": "16666", "rank_id": str(r)}
            for r in ranks
        ]
        listed.append({"server_id": f"node_{s}", "host_ip": _ip(192, s), "device": own})
    return {"status": "completed", "version": "1.0", "server_count": str(servers), "server_list": listed}


def version_1_2(servers: int, devices: int) -> Table:
    """Super pods of 24 servers."""
    table = version_1_0(servers, devices)
    for s, server in enumerate(table["server_list"]):
        for d, device in enumerate(server["device"]):
            device["super_device_id"] = str(37748736 + s % 24 * devices + d)
    pods = [
        {
            "super_pod_id": str(p),
            "server_list": [{"server_id": f"node_{s}"} for s in range(p * 24, (p + 1) * 24) if s < servers],
        }
        for p in range((servers + 23) // 24)
    ]
    return {**table, "version": "1.2", "super_pod_list": pods}


def version_2_0(servers: int, devices: int) -> Table:
    """One network layer, one address."""
    ranks = []
    for r in range(servers * devices):
        address = {"addr_type": "IPV4", "addr": _ip(10, r), "ports": ["1/0"]}
        level = {
            "net_layer": 0,
            "net_instance_id": f"az0-rack{r // devices}",
            "net_type": "TOPO_FILE_DESC",
            "net_attr": "",
        }
        level["rank_addr_list"] = [address]
        own = {"rank_id": r, "local_id": r % devices, "device_id": r % devices, "device_port": 16666}
        ranks.append({**own, "level_list": [level]})
    return {"status": "completed", "version": "2.0", "rank_count": len(ranks), "rank_list": ranks}


def version_2_0_full(servers: int, devices: int) -> Table:
    """The two layers and three addresses of the official sample, at most 65,536 ranks."""
    table = version_2_0(min(servers, 65536 // devices), devices)
    for rank in table["rank_list"]:
        r = rank["rank_id"]
        addresses = [
            {"addr_type": "IPV4", "addr": _ip(11, r), "ports": ["0/4", "0/5", "0/6", "0/7"], "plane_id": "plane0"},
            {"addr_type": "IPV4", "addr": _ip(12, r), "ports": ["1/5", "1/6"], "plane_id": "plane1"},
        ]
        clos = {
            "net_layer": 1,
            "net_instance_id": "az0",
            "net_type": "CLOS",
            "net_attr": "",
            "rank_addr_list": addresses,
        }
        rank["level_list"].append(clos)
    return table


FORMS: dict[str, Callable[[int, int], Table]] = {
    "template 2": template2,
    "1.0": version_1_0,
    "1.2": version_1_2,
    "2.0": version_2_0,
    "2.0 full": version_2_0_full,
}
