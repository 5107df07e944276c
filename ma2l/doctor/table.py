"""The rank table, and this node's place in the job."""

from __future__ import annotations

import time

from ma2l.doctor.finding import Finding, fail, ok, unknown, warn
from ma2l.doctor.scene import Scene
from ma2l.errors import ConfigError, GaveUpWaiting, Ma2lError
from ma2l.linux import net
from ma2l.platforms import tables
from ma2l.ranktable import Incomplete, violations

_NAMES = 16
"""Names of other nodes that are looked up: a job of thousands has them all from one name server."""
_PATIENCE = 5.0
"""Seconds for all of them."""


def complete(scene: Scene) -> Finding:
    """It is there, complete, and HCCL would take it."""
    announced = scene.announced
    if announced is None:
        return ok("none is announced; ranks meet without one, or ma2l makes it")
    path = tables.file_of(announced)
    try:
        found = violations(tables.content(path), path)
    except OSError as error:
        return warn(f"{path} ({announced.by}): {error.strerror}", "a run waits for it; see that the platform writes it")
    except ConfigError as error:
        return fail(str(error), "have the platform write it again")
    if isinstance(found, Incomplete):
        return warn(f"{path}: {found.summary}", "a run waits for it; see why the platform does not complete it")
    if found:
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        return fail(f"{path}: {found[0]}{more}", f"see ma2l ranktable check {path}")
    return ok(f"{path} is complete and follows HCCL's rules")


def place(scene: Scene) -> Finding:
    """This node is found in the job."""
    found = scene.topology
    if isinstance(found, GaveUpWaiting):
        return unknown("the rank table is not complete")
    if isinstance(found, Ma2lError):
        return fail(str(found), "correct what it names", elsewhere=found.exit_code >= 128)
    cluster = found.cluster
    if found.warnings:
        return warn("; ".join(found.warnings), "see ma2l plan")
    return ok(
        f"node {cluster.node_rank} of {len(cluster.nodes)} with {len(cluster.own.devices)} NPUs: {found.trail[0]}"
    )


def names(scene: Scene) -> Finding:
    """The other nodes' names are known."""
    found = scene.topology
    if isinstance(found, Ma2lError):
        return unknown("the nodes of the job are not known")
    hosts = [next(iter(node.addresses), "") for node in found.cluster.nodes]
    wanted = list(dict.fromkeys(name for name in (found.master, *hosts) if name and not net.is_address(name)))[:_NAMES]
    if not wanted:
        return ok("no name has to be looked up")
    give_up = time.monotonic() + _PATIENCE
    missing = [name for name in wanted if not net.resolve(name, scene.waiter, give_up)[0]]
    if not missing:
        return ok(f"{', '.join(wanted[:3])}{', ...' if len(wanted) > 3 else ''} can be looked up")
    if found.master in missing:
        return fail(
            f"nobody knows {found.master}, where node 0 is", "wait for its pod, or pass --master-addr with an IP"
        )
    return warn(f"nobody knows {', '.join(missing[:4])}", "see whether these pods run")
