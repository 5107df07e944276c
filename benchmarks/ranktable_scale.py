"""How long the largest rank tables take, and how much memory: read, check, canonical bytes, write.

Makes a table in every form in a temporary directory and handles each in a fresh interpreter::

    python benchmarks/ranktable_scale.py [SERVERS [DEVICES]]      # default 16384 x 16 = 262,144 ranks

Goal: 3 s and 1 GiB (peak RSS) for each form on Python 3.11. The 2.0 form is made with one network layer and one address
for each rank; "2.0 full" is the three addresses of the official sample at 65,536 ranks, the most that form allows.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
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


def handle(source: str, target: str) -> None:
    """The measured run, alone in its interpreter: prints stages and CPU time (s) and peak RSS (MiB) as JSON."""
    from ma2l import ranktable

    cpu, marks = time.process_time(), [time.perf_counter()]
    with open(source, "rb") as file:
        raw = file.read()
    table = ranktable.parse(raw, source)
    assert isinstance(table, ranktable.RankTable), table
    del raw
    marks.append(time.perf_counter())  # parse includes check; a second check would only measure it twice
    content = ranktable.canonical(table.document)
    marks.append(time.perf_counter())
    ranktable.write(content, target)
    ranktable.fingerprint(content)
    marks.append(time.perf_counter())
    stages = [after - before for before, after in zip(marks, marks[1:])]
    print(json.dumps([*stages, time.process_time() - cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def main(servers: int = 16384, devices: int = 16) -> None:
    """Measure every form, plain and packed, and print a table."""
    print(f"{servers} servers x {devices} devices on Python {sys.version.split()[0]}, seconds and MiB")
    print(f"{'form':24}{'file MB':>9}{'parse+check':>13}{'canonical':>11}{'write':>7}{'total':>7}{'CPU':>7}{'RSS':>6}")
    with tempfile.TemporaryDirectory() as directory:
        for form, make in FORMS.items():
            plain = json.dumps(make(servers, devices)).encode()
            for packing, content in (("", plain), (", gzip+base64", base64.b64encode(gzip.compress(plain, 1)))):
                source = os.path.join(directory, "source")
                with open(source, "wb") as file:
                    file.write(content)
                command = [sys.executable, __file__, "--handle", source, os.path.join(directory, "table.json")]
                answer = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
                parse, canonical, write, cpu, peak = json.loads(answer)
                print(
                    f"{form + packing:24}{len(content) / 1e6:9.1f}{parse:13.2f}{canonical:11.2f}{write:7.2f}"
                    f"{parse + canonical + write:7.2f}{cpu:7.2f}{peak:6.0f}"
                )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--handle"]:
        handle(*sys.argv[2:4])
    else:
        main(*map(int, sys.argv[1:3]))
