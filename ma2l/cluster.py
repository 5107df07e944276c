"""Who takes part in the job: devices, the nodes that own them, and which node this is. Pure data, no I/O.

A *server* is what a rank table lists: one machine. A *node* is one launcher's share: a pod, or the whole server where
no pods are known. Two pods on one server are two nodes with the same ``server_id``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """One NPU (one die on Atlas A3) and the rank that trains on it."""

    rank: int
    """Global rank, 0 .. world size - 1."""
    device_id: int
    """Physical id on its server, as in ``/dev/davinci<id>``."""
    ip: str = ""
    """Address of its own network port, empty where the source names none."""


@dataclass(frozen=True)
class Node:
    """One launcher's share of the job."""

    rank: int
    """Node rank, 0 .. number of nodes - 1."""
    name: str
    """Pod name, or the server id where no pods are known."""
    server_id: str
    """The machine, as the rank table names it."""
    devices: tuple[Device, ...]
    """Own devices in the order of their ranks."""
    addresses: tuple[str, ...] = ()
    """Names and IPs under which other nodes reach this one, the best first; empty when unknown."""


@dataclass(frozen=True)
class Cluster:
    """The whole job, seen from one of its nodes."""

    nodes: tuple[Node, ...]
    """Every node, in the order of node ranks."""
    node_rank: int
    """Which of them this launcher is."""

    @property
    def own(self) -> Node:
        """The node this launcher serves."""
        return self.nodes[self.node_rank]

    @property
    def world_size(self) -> int:
        """Number of ranks in the whole job."""
        return sum(len(node.devices) for node in self.nodes)
