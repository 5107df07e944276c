"""Which node of a rank table is ours. Never a guess: the wrong answer trains on somebody else's ranks."""

from __future__ import annotations

from collections.abc import Callable

from ma2l.cluster import Node
from ma2l.errors import ConfigError
from ma2l.ranktable.template2 import pod_index
from ma2l.records import dataclass


@dataclass(frozen=True)
class Identity:
    """What this node knows of itself."""

    pod: str = ""
    ips: tuple[str, ...] = ()
    device_ips: tuple[str, ...] = ()
    """Addresses of the NPUs of this host."""
    device_ids: tuple[int, ...] = ()
    """Physical ids of the NPUs that this container was given; empty when nothing tells."""
    task_index: int | None = None
    """Index of the pod in its job, as at the end of its name; only for template 2, which names pods."""


def own_node(nodes: tuple[Node, ...], me: Identity, source: str, expected: int | None = None) -> tuple[int, str]:
    """Find the own node.

    Args:
        nodes: all nodes of the table.
        me: what is known of this node.
        expected: number of nodes as the platform says; a sole node of the table is ours only if it is no less.
        source: the table, for messages.

    Returns:
        The node rank, and by what it was found.

    Raises:
        ConfigError: nothing fits, or more than one node does.
    """
    if len(nodes) == 1 and (expected or 1) == 1:
        return 0, "the only node"
    tried: list[str] = []
    for what, fits in _tests(me):
        found = [node for node in nodes if fits(node)]
        if len({node.server_id for node in found}) == 1 < len(found):
            found = [node for node in found if {device.device_id for device in node.devices} == set(me.device_ids)]
            what += " and the devices given to it"
        if len(found) == 1:
            return found[0].rank, what
        tried.append(f"{what} fits {'several nodes' if found else 'none'}")
    names = ", ".join(node.name for node in nodes[:4]) + (", ..." if len(nodes) > 4 else "")
    raise ConfigError(
        f"find this node in the rank table {source}",
        f"{'; '.join(tried) or 'this node knows no name or address of its own'}; its nodes are {names}",
        "set MA_CURRENT_INSTANCE_NAME, POD_IP or --node-rank",
    )


def _tests(me: Identity) -> list[tuple[str, Callable[[Node], bool]]]:
    tests: list[tuple[str, Callable[[Node], bool]]] = []
    if me.pod:
        tests.append((f"pod name {me.pod}", lambda node: node.name == me.pod))
    tests += [(f"address {ip}", lambda node, ip=ip: ip in node.addresses) for ip in me.ips]  # type: ignore[misc]
    if me.device_ips:
        local = set(me.device_ips)
        what = f"{len(local)} local device addresses"
        tests.append((what, lambda node: any(address in local for d in node.devices for address in d.ip.split(","))))
    if me.task_index is not None:
        tests.append((f"task index {me.task_index}", lambda node: pod_index(node.name) == me.task_index))
    return tests
