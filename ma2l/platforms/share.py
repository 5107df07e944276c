"""Servers that several pods share, in tables that know of no pods: each pod owns only the devices it was given.

Template 2 lists pods. The other forms list servers, and two pods on one server look like one node in them.
"""

from __future__ import annotations

from collections.abc import Collection

from ma2l.cluster import Node
from ma2l.errors import ConfigError


def split(nodes: tuple[Node, ...], expected: int | None, mine: Collection[int], source: str) -> tuple[Node, ...]:
    """Split every server into nodes as large as this one, by device id order, where there are more nodes than servers.

    Args:
        nodes: one node for each server.
        expected: number of nodes of the job as the platform or the user says, ``None`` when nobody does.
        mine: physical ids of the devices that this container was given; empty when nothing tells.
        source: the table, for messages.

    Returns:
        All nodes in the order of their lowest ranks; ``nodes`` as they are where nothing is to be split.

    Raises:
        ConfigError: it does not come out even.
    """
    size = len(mine)
    if expected is None or expected <= len(nodes) or not 0 < size < max(len(node.devices) for node in nodes):
        return nodes
    pieces = [piece for node in nodes for piece in _pieces(node, size)]
    if len(pieces) != expected or any(len(piece.devices) != size for piece in pieces):
        raise ConfigError(
            f"find {expected} nodes in the rank table {source}",
            f"its {len(nodes)} servers with {', '.join(str(len(node.devices)) for node in nodes[:8])}"
            f"{', ...' if len(nodes) > 8 else ''} devices cannot be split into {expected} nodes"
            f" with {size} devices each, as this one has",
            "give every pod as many devices, or correct the number of nodes",
        )
    pieces.sort(key=lambda piece: piece.devices[0].rank)
    return tuple(
        Node(rank, piece.name, piece.server_id, piece.devices, piece.addresses) for rank, piece in enumerate(pieces)
    )


def _pieces(node: Node, size: int) -> list[Node]:
    by_id = sorted(node.devices, key=lambda device: device.device_id)
    chunks = [by_id[start : start + size] for start in range(0, len(by_id), size)]
    return [
        Node(0, f"{node.name}/{i}", node.server_id, tuple(sorted(chunk, key=lambda d: d.rank)), node.addresses)
        for i, chunk in enumerate(chunks)
    ]
