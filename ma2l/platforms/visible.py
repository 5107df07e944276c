"""Which of the own node's devices are ours, and the logical id of each.

The driver numbers the devices that a container sees from 0 in the order of their physical ids, and a rank must name its
device by that number (``DEVICE_ID``), while rank tables hold physical ids.
"""

from __future__ import annotations

from collections.abc import Sequence

from ma2l.errors import ConfigError, NoUsableDevice
from ma2l.records import dataclass


@dataclass(frozen=True)
class Visible:
    """The devices of this node that ranks run on."""

    kept: tuple[int, ...]
    """Physical ids, ascending."""
    order: tuple[int, ...]
    """Physical ids by logical id: what the driver shows to a rank."""
    because: str = ""
    """What cut the devices, empty when nothing did."""
    certain: bool = True
    """False when nothing told which devices the driver shows, and the own ones were assumed."""


def select(
    own: Sequence[int],
    shown: Sequence[int] | None,
    granted: Sequence[int] | None,
    chosen: Sequence[int] | None,
    count: int | None,
) -> Visible:
    """Cut the own node's devices down to those that ranks may use.

    Args:
        own: physical ids of this node in the topology.
        shown: physical ids of the device files in this container, ``None`` when there are none to see.
        granted: physical ids granted by the container runtime (``ASCEND_VISIBLE_DEVICES``).
        chosen: logical ids chosen by the user (``ASCEND_RT_VISIBLE_DEVICES``).
        count: number of ranks asked for on this node.

    Raises:
        ConfigError: nothing would be left, or a chosen device does not exist.
        NoUsableDevice: some of the devices are visible here and others are not.
    """
    kept, because = tuple(sorted(own)), ""
    if granted is not None and not set(kept) <= set(granted):
        kept, because = _keep(kept, granted, "ASCEND_VISIBLE_DEVICES")
    order = tuple(sorted(shown or granted or ()))
    certain = not set(kept).isdisjoint(order) or granted is not None
    if set(kept).isdisjoint(order):
        order = kept
    if chosen is not None:
        order = _chosen(order, chosen)
        if not set(kept) <= set(order):
            kept, because = _keep(kept, order, "ASCEND_RT_VISIBLE_DEVICES")
    missing = [i for i in kept if i not in order]
    if missing:
        raise NoUsableDevice(
            f"use the devices {', '.join(map(str, kept))} of this node",
            f"there is no /dev/davinci{missing[0]}",
            "give this container all of them, or choose with ASCEND_RT_VISIBLE_DEVICES",
        )
    if count is not None and count > len(kept):
        raise ConfigError(
            f"start {count} ranks on this node",
            f"it has {len(kept)} devices",
            "lower --nproc-per-node: one rank per device",
        )
    if count is not None and count < len(kept):
        kept, because = kept[:count], "--nproc-per-node"
    return Visible(kept, order, because, certain)


def _keep(kept: tuple[int, ...], allowed: Sequence[int], because: str) -> tuple[tuple[int, ...], str]:
    left = tuple(i for i in kept if i in set(allowed))
    if not left:
        raise ConfigError("use any device of this node", f"{because} leaves none of {list(kept)}", f"correct {because}")
    return left, because


def _chosen(order: tuple[int, ...], chosen: Sequence[int]) -> tuple[int, ...]:
    beyond = [i for i in chosen if i >= len(order)]
    if beyond:
        raise ConfigError(
            f"use ASCEND_RT_VISIBLE_DEVICES with device {beyond[0]}",
            f"this node has {len(order)} devices, numbered from 0",
            "name devices that exist",
        )
    return tuple(order[i] for i in chosen)
