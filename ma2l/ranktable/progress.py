"""Whether a rank table is complete, and how far an incomplete one has come.

Producers create the file as ``{"status":"initializing"}``, sometimes with parts of the lists, and set ``completed``
when every device is known; a rescheduled pod turns a table back to ``initializing`` (ModelArts docker-modelarts-0092;
MindCluster "hccl.json file description"). Nothing about the rest of an incomplete document can be relied on.
"""

from __future__ import annotations

from ma2l.ranktable import rank_list
from ma2l.ranktable.values import number, shown

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import Any


def is_complete(document: dict[str, Any]) -> bool:
    """Whether the producer says that the table is complete.

    ``status`` is mandatory, except in form 2.0 (HCCL user guide, rank table for Ascend 950PR/950DT).
    """
    if "status" not in document:
        return "rank_list" in document and document.get("version") == "2.0"
    return bool(document["status"] == "completed")


def progress(document: dict[str, Any]) -> str:
    """What is missing, in one line, such as ``still initializing: 8 of 16 devices``."""
    status = document.get("status")
    if status == "initializing":
        state = "still initializing"
    else:
        state = "no status yet" if status is None else f"status is {shown(status)}"
    known, expected, unit = _counts(document)
    return f"{state}: {known} of {expected} {unit}" if expected > 0 else state


def _counts(document: dict[str, Any]) -> tuple[int, int, str]:
    """How many are listed, how many there will be (0 when not said), and of what."""
    if rank_list.in_use(document):
        return len(_objects(document["rank_list"])), number(document.get("rank_count")), "ranks"
    if "group_list" in document and "server_list" not in document:
        groups = _objects(document["group_list"])
        instances = [instance for group in groups for instance in _objects(group.get("instance_list"))]
        known = sum(len(_objects(instance.get("devices"))) for instance in instances)
        return known, sum(max(0, number(group.get("device_count"))) for group in groups), "devices"
    filled = [server for server in _objects(document.get("server_list")) if _objects(server.get("device"))]
    return len(filled), number(document.get("server_count")), "servers"


def _objects(value: object) -> list[dict[str, Any]]:
    """The objects in what should be a list of objects."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
