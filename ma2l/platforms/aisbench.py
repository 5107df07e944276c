"""What Ais-Bench says to a training job: its single-server mode.

Source: ``ais-bench_workload`` of Ascend/tools. Its launcher appends ``export SINGLESERVER_MODE=True`` to the pre-start
hook of the job; the training code then treats each of the n servers as a job of its own, and writes what server n
measured below a directory, or into a file, with that number (``VC_TASK_INDEX``) in the name.
"""

from __future__ import annotations

from ma2l import cluster
from ma2l.platforms.base import Environ
from ma2l.platforms.topology import Topology
from ma2l.ranktable import restrict
from ma2l.records import replace
from ma2l.settings import Settings

VARIABLE = "SINGLESERVER_MODE"


def asked_for(settings: Settings, environ: Environ) -> str:
    """Who wants every server to be a job of its own; empty when nobody does."""
    if settings.single_server:
        return "--single-server"
    wanted = environ.get(VARIABLE, "")
    return f"{VARIABLE}={wanted}" if wanted.lower() in ("true", "1") else ""


def own_server(found: Topology, settings: Settings, because: str) -> Topology:
    """The part of a topology that is the own server, with ranks from 0.

    Args:
        because: what asked for it, for ``ma2l plan``.
    """
    whole = found.cluster
    own = whole.own.server_id
    part = cluster.of_own_server(whole)
    others = len(part.nodes) > 1
    address = settings.master_addr or next(iter(part.nodes[0].addresses), "") if others else settings.master_addr or ""
    return replace(
        found,
        cluster=part,
        table=restrict(found.table, lambda node, _device: node.server_id == own) if found.table else None,
        master=address,
        trail=(*found.trail, f"{because}: {part.part}"),
    )
