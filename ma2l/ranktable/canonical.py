"""The bytes of a rank table: the same on every node, whatever the order in which the platform wrote the lists.

HCCL compares a checksum of the table across ranks and refuses to start when two nodes differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from ma2l.errors import ConfigError
from ma2l.ranktable import rank_list, super_pods
from ma2l.ranktable.pause import CollectorPause
from ma2l.ranktable.values import number

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import Any


def canonical(document: Mapping[str, object]) -> bytes:
    """One document, one sequence of bytes, in every version of Python.

    Keys are sorted by code point; servers, devices, ranks and super pods stand in the order of their (lowest) ranks;
    other lists keep their order. JSON without white space, ASCII only, one newline at the end.

    Args:
        document: a document that passed ``check``.

    Raises:
        ConfigError: an unknown field of the document is nested too deeply to be written.
    """
    try:
        with CollectorPause():
            text = json.dumps(_ordered(document), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except RecursionError:
        raise ConfigError("write the rank table", "its JSON is nested too deeply") from None
    return text.encode("ascii") + b"\n"


def _ordered(document: Mapping[str, Any]) -> dict[str, Any]:
    ordered = dict(document)
    if rank_list.in_use(document):
        ordered["rank_list"] = sorted(document["rank_list"], key=_rank)
    else:
        ordered["server_list"] = servers = sorted(map(_ordered_server, document["server_list"]), key=_first_rank)
        if super_pods.in_use(document):
            ordered["super_pod_list"] = _ordered_pods(document["super_pod_list"], servers)
    return ordered


def _ordered_server(server: Mapping[str, Any]) -> dict[str, Any]:
    return {**server, "device": sorted(server["device"], key=_rank)}


def _ordered_pods(pods: list[dict[str, Any]], servers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    place = {server["server_id"]: index for index, server in enumerate(servers)}
    ordered = [
        {**pod, "server_list": sorted(pod["server_list"], key=lambda member: place[member["server_id"]])}
        for pod in pods
    ]
    # A pod without servers has no rank; its id keeps the order the same everywhere.
    return sorted(
        ordered,
        key=lambda pod: (min([place[m["server_id"]] for m in pod["server_list"]], default=-1), pod["super_pod_id"]),
    )


def _rank(item: Mapping[str, Any]) -> int:
    return number(item["rank_id"])


def _first_rank(server: Mapping[str, Any]) -> int:
    return number(server["device"][0]["rank_id"])
