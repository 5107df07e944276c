"""Which variables of the caller must not reach a mock node: those of real platforms, and of being a rank already.

What a user may set to steer a run stays: ports, timeouts, ``ASCEND_RT_VISIBLE_DEVICES``, ``HCCL_*`` and the like.
"""

from __future__ import annotations

from collections.abc import Iterable

_PREFIXES = (
    "MA_", "VC_", "VK_", "BATCH_", "DLS_", "KUBERNETES_",  # ModelArts, Volcano, Kubernetes
    "OMPI_", "PMIX_", "PMI_", "TORCHELASTIC_",  # already started by mpirun or torchrun
)  # fmt: skip

_NAMES = (
    # rank tables
    "RANK_TABLE_FILE", "RANK_TABLE_FILE_V_1_0", "MINDSPORE_HCCL_CONFIG_PATH", "GLOBAL_RANK_TABLE_FILE",
    "RANKTABLEFILE", "TOPO_FILE_PATH", "RANK_AFTER_ACC",
    # one rank of something
    "RANK_ID", "RANK_SIZE", "DEVICE_ID", "ASCEND_DEVICE_ID", "JOB_ID", "RANK", "WORLD_SIZE", "LOCAL_RANK",
    "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "NNODES", "NPUS_PER_NODE", "MASTER_ADDR", "MA2L_RUN_ID",
    "MA2L_RESTART_COUNT",
    # Ascend Operator
    "MS_ROLE", "MS_SCHED_HOST", "MS_WORKER_NUM", "MS_SERVER_NUM", "MS_LOCAL_WORKER", "MS_NODE_RANK", "MS_NODE_ID",
    "MINDX_TASK_ID", "REPLICA_TYPE", "HostNetwork", "HCCL_LOGIC_SUPERPOD_ID", "NPU_POD", "XDL_IP", "POD_UID",
    "CM_CHIEF_IP", "CM_CHIEF_PORT", "CM_CHIEF_DEVICE", "CM_WORKER_SIZE", "CM_WORKER_IP",
    # what a container runtime granted
    "ASCEND_VISIBLE_DEVICES", "ASCEND_RUNTIME_OPTIONS", "ASCEND_DOCKER_RUNTIME", "NPU_VISIBLE_DEVICES",
    "NPU-VISIBLE-DEVICES", "PAAS_POD_ID",
)  # fmt: skip


def unset(environ: Iterable[str]) -> dict[str, str | None]:
    """The part of an environment difference that removes every foreign name: all the known ones, and those found.

    Args:
        environ: names of the caller's variables.
    """
    difference: dict[str, str | None] = dict.fromkeys(_NAMES)
    difference.update((name, None) for name in environ if name.startswith(_PREFIXES))
    return difference
