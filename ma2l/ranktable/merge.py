"""One rank table of several: servers in the order of the tables, ranks numbered through."""

from __future__ import annotations

from collections.abc import Sequence

from ma2l.errors import ConfigError
from ma2l.ranktable import super_pods
from ma2l.ranktable.table import RankTable
from ma2l.ranktable.values import number

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import Any


def merge(tables: Sequence[RankTable]) -> dict[str, Any]:
    """The document of one job on the servers of all tables; what only HCCL's rules forbid in it ``check`` tells.

    Fields of the top that are not ours come from the first table that has them. Super pods with the same id are one.

    Raises:
        ConfigError: the tables are of different forms.
    """
    versions = {str(table.document["version"]): table.source for table in tables}
    if len(versions) > 1:
        said = ", ".join(f"{source} is {version}" for version, source in versions.items())
        raise ConfigError("merge these rank tables", f"their forms differ: {said}", "convert them to one form first")
    documents: list[dict[str, Any]] = [dict(table.document) for table in tables]
    merged: dict[str, Any] = {}
    for document in reversed(documents):
        merged.update(document)
    if "rank_list" in merged:
        ranks = [rank for document in documents for rank in _in_order(document["rank_list"])]
        merged["rank_list"] = [{**rank, "rank_id": new} for new, rank in enumerate(ranks)]
        merged["rank_count"] = len(ranks)
        return merged
    servers = [server for document in documents for server in document["server_list"]]
    merged["server_list"] = _numbered(documents)
    merged["server_count"] = str(len(servers))
    if super_pods.in_use(merged):
        merged["super_pod_list"] = _pods(documents)
    return merged


def _in_order(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(items, key=lambda item: number(item["rank_id"]))


def _numbered(documents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """All servers, each table's in the order of its ranks, and their devices with new ranks."""
    servers = []
    first = 0
    for document in documents:
        listed = [{**server, "device": _in_order(server["device"])} for server in document["server_list"]]
        for server in sorted(listed, key=lambda server: number(server["device"][0]["rank_id"])):
            devices = [{**device, "rank_id": str(first + place)} for place, device in enumerate(server["device"])]
            servers.append({**server, "device": devices})
            first += len(devices)
    return servers


def _pods(documents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    pods: dict[str, dict[str, Any]] = {}
    for document in documents:
        for pod in document.get("super_pod_list", ()):
            known = pods.setdefault(pod["super_pod_id"], {**pod, "server_list": []})
            known["server_list"] = [*known["server_list"], *pod["server_list"]]
    return list(pods.values())
