"""MindSpore's dynamic cluster: one scheduler on node 0, and workers that register with it.

Source: "Dynamic cluster startup" of the MindSpore documentation, and msrun of MindSpore 2.10 for what it sets.
"""

from __future__ import annotations

from collections.abc import Mapping

from ma2l.cluster import Device
from ma2l.plan.hccl import NO_TABLE
from ma2l.plan.spec import EnvDiff
from ma2l.plan.torch import NO_RANK

DEFAULT_PORT = 8118
"""msrun's default, for several nodes that must agree."""


DEFAULT_TIMEOUT = 600
"""Seconds, as msrun; MindSpore's own 30 minutes keep NPUs waiting for a node that will not come."""


def cluster_names(
    environ: Mapping[str, str], scheduler_ip: str, scheduler_port: int, world_size: int, timeout: int | None
) -> EnvDiff:
    """What the scheduler and all workers share. The host must be an IP: MindSpore does not resolve names.

    Args:
        timeout: as ``timeout_names``.
    """
    return {
        **NO_TABLE,
        "MS_SCHED_HOST": scheduler_ip,
        "MS_SCHED_PORT": str(scheduler_port),
        "MS_WORKER_NUM": str(world_size),
        **timeout_names(environ, timeout),
        "RANK_SIZE": str(world_size),
    }


def timeout_names(environ: Mapping[str, str], timeout: int | None) -> EnvDiff:
    """How long scheduler and workers wait for each other.

    Args:
        timeout: seconds, negative without limit, ``None`` for the user's variable or else ours; MindSpore reads
            ``MS_TOPO_TIMEOUT``, older documents speak of ``MS_CLUSTER_TIMEOUT``.
    """
    return {
        name: str(DEFAULT_TIMEOUT if timeout is None else timeout)
        for name in ("MS_TOPO_TIMEOUT", "MS_CLUSTER_TIMEOUT")
        if timeout is not None or not environ.get(name)
    }


def worker_names(device: Device, logical_id: int) -> EnvDiff:
    """One worker; its node id is its rank, so that ranks are where the topology says."""
    rank = str(device.rank)
    return {"MS_ROLE": "MS_WORKER", "MS_NODE_ID": rank, "RANK_ID": rank, "DEVICE_ID": str(logical_id)}


SCHEDULER: EnvDiff = {**NO_RANK, "MS_ROLE": "MS_SCHED", "MS_NODE_ID": None, "RANK_ID": "0"}
"""The scheduler is nobody's rank, but msrun's believes to be rank 0: scripts read ``RANK_ID`` before ``init()``."""
