"""What HCCL and the frameworks above it read when ranks find each other through a rank table.

Sources: "Cluster information configuration" and "Environment variables" of the HCCL user guide; torch_npu's
"RANK_TABLE_FILE" page (no symlink, readable; on sight of a table it leaves root-info negotiation); MindSpore's list of
environment variables (``MINDSPORE_HCCL_CONFIG_PATH`` wins over ``RANK_TABLE_FILE``); the CANN log reference for
``ASCEND_PROCESS_LOG_PATH``.
"""

from __future__ import annotations

from collections.abc import Mapping

from ma2l.cluster import Device
from ma2l.plan.spec import EnvDiff

NO_TABLE: EnvDiff = {
    "RANK_TABLE_FILE": None,
    "RANK_TABLE_FILE_V_1_0": None,
    "MINDSPORE_HCCL_CONFIG_PATH": None,
    "RANK_ID": None,
    "RANK_SIZE": None,
    "DEVICE_ID": None,
    "ASCEND_DEVICE_ID": None,
}
"""Keeps a framework from finding a table, or an identity left over from one, when ranks meet in another way."""

NO_DYNAMIC_CLUSTER: EnvDiff = {"MS_ROLE": None, "MS_NODE_ID": None}
"""Keeps MindSpore from looking for a scheduler when a table is meant."""


def table_names(environ: Mapping[str, str], path: str, world_size: int, job_id: str, connect_timeout: int) -> EnvDiff:
    """What is the same for all ranks of a node.

    Args:
        path: a regular file that ends in ``.json``.
        job_id: name of the job, the same on all nodes; used where the user has set none.
        connect_timeout: seconds, used where the user has set none.
    """
    names: dict[str, str | None] = {
        **NO_DYNAMIC_CLUSTER,
        "RANK_TABLE_FILE": path,
        "RANK_TABLE_FILE_V_1_0": None,
        "RANK_SIZE": str(world_size),
    }
    if not environ.get("JOB_ID"):
        names["JOB_ID"] = job_id
    if "MINDSPORE_HCCL_CONFIG_PATH" in environ:
        names["MINDSPORE_HCCL_CONFIG_PATH"] = path
    if "HCCL_CONNECT_TIMEOUT" not in environ:
        names["HCCL_CONNECT_TIMEOUT"] = str(connect_timeout)
    return names


def rank_names(environ: Mapping[str, str], device: Device, logical_id: int, device_logs: str) -> EnvDiff:
    """One rank, its device by its number among those the driver shows to this container, and where CANN logs."""
    names = {"RANK_ID": str(device.rank), "DEVICE_ID": str(logical_id), "ASCEND_DEVICE_ID": str(logical_id)}
    if "ASCEND_PROCESS_LOG_PATH" not in environ and "ASCEND_WORK_PATH" not in environ:
        names["ASCEND_PROCESS_LOG_PATH"] = device_logs
    return names
