"""An AscendJob of MindCluster (MindX DL): the Ascend Operator sets the variables of both frameworks.

``RANK`` is the *node* rank here and ``LOCAL_RANK`` a list in braces, so neither is ever taken for a rank's.
Source: "Environment variable description" and "hccl.json file description" of the MindCluster scheduling guide.
"""

from __future__ import annotations

from ma2l.errors import ConfigError
from ma2l.platforms.base import Environ, Platform

CONFIG_DIR = "/user/serverid/devindex/config"
"""Mount of the job's rank table."""
TABLE = "hccl.json"


def is_scheduler_pod(environ: Environ) -> bool:
    """Whether the operator made this pod the scheduler of a MindSpore dynamic cluster; it runs nothing else."""
    return environ.get("MS_ROLE") == "MS_SCHED" and MINDCLUSTER.here(environ)


def prepared_dynamic_cluster(environ: Environ) -> bool:
    """Whether the operator prepared a MindSpore dynamic cluster, whose scheduler has a pod of its own."""
    return environ.get("MS_ROLE") == "MS_WORKER" and MINDCLUSTER.here(environ)


def check_prepared_size(environ: Environ, world_size: int) -> None:
    """See that a prepared cluster is started in the size that its scheduler, in another pod, waits for.

    Raises:
        ConfigError: it would not form, because options or visible devices have changed the number of workers.
    """
    expected = MINDCLUSTER.number(environ, "world_size") if prepared_dynamic_cluster(environ) else None
    if expected not in (None, world_size):
        raise ConfigError(
            f"start a cluster of {world_size}",
            f"the job's scheduler waits for {expected} (MS_WORKER_NUM)",
            "let every pod use all of its devices, or request as many as you need",
        )


MINDCLUSTER = Platform(
    name="MindCluster",
    signs=("MINDX_TASK_ID", "MS_LOCAL_WORKER", "MS_NODE_RANK", "HCCL_LOGIC_SUPERPOD_ID", "XDL_IP"),
    variables={
        "node_rank": ("MS_NODE_RANK", "RANK"),
        "world_size": ("MS_WORKER_NUM", "WORLD_SIZE"),
        "devices": ("MS_LOCAL_WORKER", "LOCAL_WORLD_SIZE"),
        "master": ("MS_SCHED_HOST", "MASTER_ADDR"),
        "pod": ("POD_NAME", "HOSTNAME"),
        "ips": ("XDL_IP", "POD_IP", "HOST_IP"),
    },
    job_id=lambda environ: environ.get("MINDX_TASK_ID", ""),
)
