"""What reading a rank table results in: the table, or the reason why it is not complete yet."""

from __future__ import annotations

from collections.abc import Mapping

from ma2l.cluster import Node
from ma2l.records import dataclass


@dataclass(frozen=True)
class RankTable:
    """A complete rank table that passed every check."""

    source: str
    """Where it was read, for messages."""
    form: str
    """``template 2``, ``1.0``, ``1.2`` or ``2.0``: the form it was read in."""
    document: Mapping[str, object]
    """The document for the ranks: template 2 converted to 1.0, other forms as read. Nobody may change it."""
    nodes: tuple[Node, ...]
    """Every node, in the order of node ranks."""


@dataclass(frozen=True)
class Incomplete:
    """Content that may become a rank table when it is read again later."""

    summary: str
    """What is missing, such as ``still initializing: 8 of 16 devices``."""
