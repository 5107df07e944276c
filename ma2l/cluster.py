"""Who takes part in the job: devices, the nodes that own them, and which node this is. Pure data, no I/O.

A *server* is what a rank table lists: one machine. A *node* is one launcher's share: a pod, or the whole server where
no pods are known. Two pods on one server are two nodes with the same ``server_id``.
"""

from __future__ import annotations

from ma2l.records import dataclass, replace


@dataclass(frozen=True, init=False)
class Device:
    """One NPU (one die on Atlas A3) and the rank that trains on it."""

    rank: int
    """Global rank, 0 .. world size - 1."""
    device_id: int
    """Physical id on its server, as in ``/dev/davinci<id>``."""
    ip: str = ""
    """Address of its own network port, empty where the source names none."""

    def __init__(self, rank: int, device_id: int, ip: str = "") -> None:
        put = object.__setattr__  # a job may have 262,144 of these
        put(self, "rank", rank)
        put(self, "device_id", device_id)
        put(self, "ip", ip)


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
class Part:
    """What a cluster of one server is of the platform's job, where each server is a job of its own."""

    server: int
    """Which of the servers, from 0 in the order of their first ranks."""
    servers: int
    node_rank: int
    """Which of the nodes of the platform's job this launcher is."""

    def __str__(self) -> str:
        return f"server {self.server} of {self.servers}, a job of its own"


@dataclass(frozen=True)
class Cluster:
    """The whole job, seen from one of its nodes."""

    nodes: tuple[Node, ...]
    """Every node, in the order of node ranks."""
    node_rank: int
    """Which of them this launcher is."""
    part: Part | None = None
    """Set where every server of the platform's job is a job of its own."""

    @property
    def own(self) -> Node:
        """The node this launcher serves."""
        return self.nodes[self.node_rank]

    @property
    def world_size(self) -> int:
        """Number of ranks in the whole job."""
        return sum(len(node.devices) for node in self.nodes)

    @property
    def node_number(self) -> int:
        """The node rank that no other node of the platform's job has, for names of files."""
        return self.part.node_rank if self.part else self.node_rank


def of_own_server(cluster: Cluster) -> Cluster:
    """The own server alone, as a job whose ranks and node ranks count from 0 in the old order."""
    own, servers = cluster.own.server_id, list(dict.fromkeys(node.server_id for node in cluster.nodes))
    nodes: list[Node] = []
    first = 0
    for node in cluster.nodes:
        if node.server_id == own:
            devices = tuple(replace(device, rank=first + place) for place, device in enumerate(node.devices))
            nodes.append(replace(node, rank=len(nodes), devices=devices))
            first += len(devices)
    node_rank = sum(node.server_id == own for node in cluster.nodes[: cluster.node_rank])
    return Cluster(tuple(nodes), node_rank, Part(servers.index(own), len(servers), cluster.node_rank))
