"""Where node 0 is. Who node 0 is comes from the node ranks, never from comparing addresses."""

from __future__ import annotations

from collections.abc import Sequence

from ma2l.cluster import Cluster
from ma2l.errors import ConfigError
from ma2l.platforms.base import Environ, Platform
from ma2l.platforms.mindcluster import prepared_dynamic_cluster
from ma2l.settings import Settings


def address(
    cluster: Cluster, hosts: Sequence[str], index: int, settings: Settings, platform: Platform, environ: Environ
) -> str:
    """Name or address of node 0: the option, the platform's host list, its variable, else the table's addresses.

    Args:
        hosts: the platform's host list, empty where there is none.
        index: node 0's place in it.

    Returns:
        Empty when this node is alone, or nothing names node 0.

    Raises:
        ConfigError: it is a loopback address, which only nodes on one machine (a mock) can share; or the index is
            beyond the list.
    """
    if settings.master_addr is None and len(cluster.nodes) == 1:
        return platform.text(environ, "master") if prepared_dynamic_cluster(environ) else ""
    if hosts and index >= len(hosts):
        raise ConfigError(
            "tell ranks where node 0 is",
            f"it is number {index} in a host list of {len(hosts)}",
            "correct MA_MASTER_INDEX or pass --master-addr",
        )
    known = list(hosts) or [next(iter(node.addresses), "") for node in cluster.nodes]
    master = settings.master_addr or (hosts[index] if hosts else platform.text(environ, "master")) or known[0]
    if len(cluster.nodes) > 1 and is_loopback(master) and not all(map(is_loopback, known)):
        raise ConfigError(
            f"use {master} as the address of node 0",
            "the job has other nodes, which cannot reach it",
            "pass its name or address with --master-addr",
        )
    return master


def is_loopback(name: str) -> bool:
    """Whether the name or address is one that each host has for itself."""
    return name in ("::1", "localhost") or name.startswith(("127.", "localhost."))
