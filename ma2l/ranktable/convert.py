"""One form of rank table from another. What the other form has no place for is named, and what it must have and nobody
knows is never made up.

====  ======================================  ==================================================================
to    from                                    what it takes, and what is lost
====  ======================================  ==================================================================
1.0   template 2, 1.0                         nothing
1.0   1.2                                     loses the super pods, and every device's id in one
1.0   2.0                                     loses the network layers; a device has its first layer-0 IP address
1.2   a 1.0 table that tells of super pods    nothing
2.0   2.0                                     nothing
====  ======================================  ==================================================================
"""

from __future__ import annotations

from ma2l.errors import ConfigError
from ma2l.ranktable import super_pods
from ma2l.ranktable.build import build
from ma2l.ranktable.table import RankTable
from ma2l.ranktable.values import is_ip
from ma2l.records import dataclass

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import Any

FORMS = ("1.0", "1.2", "2.0")
_OF_SUPER_PODS = ("super_device_id",)


@dataclass(frozen=True)
class Converted:
    """A document in its new form."""

    document: dict[str, Any]
    lost: tuple[str, ...] = ()
    """Fields of the old form that have no place in the new one."""


def convert(table: RankTable, to: str) -> Converted:
    """The table in another form.

    Args:
        to: one of ``FORMS``.

    Raises:
        ConfigError: the new form needs what this table does not say.
    """
    document: dict[str, Any] = dict(table.document)
    if document["version"] == to:
        return Converted(document)
    attempt = f"convert the rank table {table.source} to {to}"
    if to == "2.0":
        why = f"form {document['version']} says nothing of the network layers and ports of a rank"
        raise ConfigError(attempt, why, "have the platform write it")
    if to == "1.2":
        if document["version"] == "2.0" or not super_pods.described_in(document):
            why = "it tells neither the super pods nor a device's id in one (super_device_id)"
            raise ConfigError(attempt, why, "have the platform write it; HCCL takes 1.0 on a super pod too")
        return Converted({**document, "version": "1.2"})
    return _without_layers(table) if document["version"] == "2.0" else _without_super_pods(document)


def _without_super_pods(document: dict[str, Any]) -> Converted:
    lost = [name for name in ("super_pod_list",) if name in document]
    servers = document["server_list"]
    lost += [name for name in _OF_SUPER_PODS if any(name in device for s in servers for device in s["device"])]
    kept = [
        {**s, "device": [{k: v for k, v in device.items() if k not in _OF_SUPER_PODS} for device in s["device"]]}
        for s in servers
    ]
    rest = {name: value for name, value in document.items() if name != "super_pod_list"}
    return Converted({**rest, "version": "1.0", "server_list": kept}, tuple(lost))


def _without_layers(table: RankTable) -> Converted:
    built = build(table.nodes)
    for server in built["server_list"]:
        for device in server["device"]:
            if not is_ip(device.get("device_ip", "")):  # an EID
                device.pop("device_ip", None)
    ranks: list[dict[str, Any]] = table.document["rank_list"]  # type: ignore[assignment]
    names = sorted({name for rank in ranks for name in rank} - {"rank_id", "device_id"})
    return Converted(built, tuple(names))
