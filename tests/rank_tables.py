"""Rank tables of every form, and what may come of any bytes at all that are given to the reader."""

from __future__ import annotations

import json
from typing import Any

from ma2l.errors import ConfigError
from ma2l.ranktable import Incomplete, canonical, check, parse, restrict

Table = dict[str, Any]
FORMS = ("template 2", "1.0", "1.2", "2.0")


def with_ranks(sizes: list[int]) -> list[list[int]]:
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    return [list(range(start, start + size)) for start, size in zip(starts, sizes)]


def template2(sizes: list[int]) -> Table:
    """Instances in pairs on one server: pod 0 and 1 on server 0, and so on."""
    instances = [
        {
            "pod_name": f"job-{index}",
            "server_id": f"10.1.0.{index // 2}",
            "devices": [
                {"device_id": str(8 * (index % 2) + k), "device_ip": f"10.2.0.{r}"} for k, r in enumerate(ranks)
            ],
        }
        for index, ranks in enumerate(with_ranks(sizes))
    ]
    half = len(instances) // 2
    return {
        "status": "completed",
        "group_list": [{"instance_list": instances[:half]}, {"instance_list": instances[half:]}],
    }


def server_list(sizes: list[int]) -> Table:
    servers = [
        {
            "server_id": f"node_{index}",
            "host_ip": f"10.1.0.{index}",
            "device": [
                {"device_id": str(k), "device_ip": f"10.2.0.{r}", "super_device_id": str(r), "rank_id": str(r)}
                for k, r in enumerate(ranks)
            ],
        }
        for index, ranks in enumerate(with_ranks(sizes))
    ]
    return {"status": "completed", "version": "1.0", "server_count": str(len(sizes)), "server_list": servers, "x": 1}


def super_pods(sizes: list[int]) -> Table:
    pairs = [range(first, min(first + 2, len(sizes))) for first in range(0, len(sizes), 2)]
    pods = [
        {"super_pod_id": f"pod{pair[0]}", "server_list": [{"server_id": f"node_{index}"} for index in pair], "x": 1}
        for pair in pairs
    ]
    return {**server_list(sizes), "version": "1.2", "super_pod_list": pods}


def rank_list(sizes: list[int]) -> Table:
    ranks = []
    for index, own in enumerate(with_ranks(sizes)):
        for k, r in enumerate(own):
            address = {"addr_type": "IPV4", "addr": f"10.2.0.{r}", "ports": ["1/0"]}
            layer = {"net_layer": 0, "net_instance_id": f"rack{index}", "net_type": "TOPO_FILE_DESC"}
            level = {**layer, "rank_addr_list": [address]}
            ranks.append({"rank_id": r, "local_id": k, "device_id": k, "level_list": [level], "x": [1]})
    return {"status": "completed", "version": "2.0", "rank_count": len(ranks), "rank_list": ranks}


MAKERS = dict(zip(FORMS, (template2, server_list, super_pods, rank_list)))


def places(document: Any) -> list[tuple[Any, Any]]:
    """Every container with every key or index in it."""
    found: list[tuple[Any, Any]] = []
    keys = document.keys() if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    for key in list(keys):
        found.append((document, key))
        found.extend(places(document[key]))
    return found


def only_known_outcomes(raw: bytes) -> str:
    """A table that passed can be written and cut; everything else is ``Incomplete`` or one line.

    Returns:
        Which of the three it was.
    """
    try:
        table = parse(raw, "t")
    except ConfigError as error:
        line = str(error)
        assert "\n" not in line
        assert line.isascii()
        return "refused"
    if isinstance(table, Incomplete):
        assert table.summary
        assert table.summary.isprintable()
        return "incomplete"
    assert check(table.document) == []
    assert canonical(table.document) == canonical(json.loads(canonical(table.document)))
    assert check(restrict(table, lambda _, device: device.rank == 0).document) == []
    return "table"
