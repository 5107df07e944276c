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


DYING_CHECKPOINT = 720.0
"""Seconds after a failure in which the other ranks may save a dying checkpoint: MindIO TFT's own limit (``TTP_OT``)."""


def dying_checkpoint(environ: Environ) -> float:
    """Seconds that the survivors of a failure need for a dying checkpoint; 0 where nothing announces one.

    MindIO TFT makes the ranks that are left save the state of before the failure (TTP), after repairs (UCE, ARF) have
    failed; whoever stops them ends that. MindSpore switches it on with ``MS_ENABLE_TFT={TTP:1,UCE:1,ARF:1}``, TaskD with
    ``TASKD_PROCESS_ENABLE``, MindIO's own controller has a ``TTP_PORT``. Sources: "Environment variables" of the MindIO
    TFT guide (``TTP_OT``: 720 s, of which ``TTP_SAVE_CKPT_TIME_LIMIT`` 180 s for the writing), MindSpore's
    ``mindspore/utils/utils.py``, "TaskD environment variables" of the MindCluster guide.
    """
    features = environ.get("MS_ENABLE_TFT", "").replace(" ", "")
    named = any(f"{feature}:1" in features for feature in ("TTP", "UCE", "ARF"))
    taskd = environ.get("TASKD_PROCESS_ENABLE", "off").lower() not in ("", "off")
    if not (named or taskd or environ.get("TTP_PORT")):
        return 0.0
    limit = environ.get("TTP_OT", "")
    return float(limit) if limit.isascii() and limit.isdecimal() else DYING_CHECKPOINT


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
