"""Huawei Cloud ModelArts training jobs, preset and custom images, current and v1 variables.

Source: "Viewing environment variables of a training container" of the ModelArts user guide, and an environment dump of
a real job (Ascend ModelZoo-TensorFlow, FaceBoxes, ``my_env.log``).
"""

from __future__ import annotations

from collections.abc import Mapping

from ma2l.platforms.base import Environ, HostLists, Platform
from ma2l.platforms.volcano import task_hosts

CONFIG_DIR = "/user/config"
"""Mount of the job's ConfigMap; present in every Ascend job, whether or not a variable names it."""
TABLE = "jobstart_hccl.json"
ROUTE_PLAN_TABLE = "jobstart_routeplan.json"
"""Written beside the table by dynamic route planning; once completed it replaces the table."""

UNNAMED = "modelarts-job"


def _job_id(environ: Environ) -> str:
    """``modelarts-job-<uuid>``; a Volcano job is called ``ma-job-<uuid>``. Never empty: log names begin with it."""
    named = environ.get("BATCH_JOB_ID") or environ.get("MA_VJ_NAME", "").replace("ma-job", "modelarts-job", 1)
    return named or UNNAMED


def _hosts(environ: Environ) -> HostLists:
    """The own task's pods: a job may have parameter servers or learners beside its workers."""
    lists = task_hosts(environ)
    own = f"VC_{environ.get('MA_TASK_NAME') or 'worker'}_HOSTS".upper()
    return {own: lists[own]} if own in lists else lists


def _log_dir(environ: Environ) -> str:
    mount = environ.get("MA_MOUNT_PATH", "")
    return environ.get("MA_LOG_DIR") or environ.get("BATCH_TASK_LOG_PATH") or (f"{mount}/log" if mount else "")


def keeps_core_files(environ: Environ) -> bool:
    """Whether the job asked for core files; otherwise those of 8 ranks only fill the container's disk."""
    return environ.get("MA_COLLECT_CORE_FILE") == "1"


def hang_detect_time(environ: Environ) -> float | None:
    """Seconds without a write after which the platform takes the job for hung; ``None`` where the job does not say
    (``MA_HANG_DETECT_TIME``, in minutes; the platform's default is 30)."""
    try:
        return 60 * float(environ.get("MA_HANG_DETECT_TIME", ""))
    except ValueError:
        return None


def termination_message(environ: Environ) -> str:
    """File whose text the platform shows as the reason of a container's end; empty where ModelArts names none."""
    return environ.get("MA_TERMINATION_MESSAGE_PATH", "")


TRAIN_URL = "train_url"
"""The output by which training code knows where its results go."""


def channels(environ: Environ) -> Mapping[str, str]:
    """Inputs and outputs of the job by name (``data_url``, ``train_url``): directories of this node, or URLs in v1.

    ``MA_INPUTS`` and ``MA_OUTPUTS`` hold JSON in one of two forms, that of the API and the older one, into which the
    platform's own boot program rewrites it::

        {"inputs": [{"name": "data_url", "local_dir": "/home/...", "remote": {"obs": {"obs_url": "s3://..."}}}]}
        {"inputs": [{"parameter": {"label": "data_url", "value": "/home/..."}, "data_source": {...}}]}

    What has neither form is left out: training code may know what to do with it.
    """
    found: dict[str, str] = {}
    for variable, kind in (("MA_INPUTS", "inputs"), ("MA_OUTPUTS", "outputs")):
        if environ.get(variable):
            found.update(_channels(environ[variable], kind))
    return found


def _channels(text: str, kind: str) -> dict[str, str]:
    import json  # takes longer to import than all else here

    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    entries = document.get(kind) if isinstance(document, dict) else None
    found = {}
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            parameter = entry.get("parameter")
            older = parameter if isinstance(parameter, dict) else {}
            name, place = entry.get("name", older.get("label")), entry.get("local_dir", older.get("value"))
            if name and place and isinstance(name, str) and isinstance(place, str):
                found[name] = place
    return found


MODELARTS = Platform(
    name="ModelArts",
    signs=("MA_VJ_NAME", "MA_JOB_DIR", "MA_NUM_HOSTS", "MA_CURRENT_INSTANCE_NAME", "BATCH_JOB_ID"),
    variables={
        "node_rank": ("RANK_AFTER_ACC", "VC_TASK_INDEX", "VK_TASK_INDEX", "DLS_TASK_INDEX", "BATCH_TASK_INDEX"),
        "task_index": ("VC_TASK_INDEX", "VK_TASK_INDEX", "DLS_TASK_INDEX", "BATCH_TASK_INDEX"),
        "nodes": ("MA_NUM_HOSTS", "VC_WORKER_NUM", "DLS_TASK_NUMBER"),
        "master_index": ("MA_MASTER_INDEX",),
        "devices": ("MA_NUM_GPUS",),
        "pod": ("MA_CURRENT_INSTANCE_NAME", "BATCH_TASK_CURRENT_INSTANCE", "HOSTNAME"),
        "ips": ("MA_CURRENT_IP", "MA_CURRENT_HOST_IP", "POD_IP", "HOST_IP"),
        "process_starts": ("MA_PROC_START_CNT",),
        "attempt": ("MA_PROC_START_CNT", "MA_SCHEDULE_CNT"),
    },
    connect_timeout=1800,
    hosts=_hosts,
    job_id=_job_id,
    unnamed=UNNAMED,
    log_dir=_log_dir,
)
