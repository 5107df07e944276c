"""A Volcano job outside ModelArts (CCE, self-managed clusters).

Source: the ``env`` and ``svc`` job plugins of volcano-sh/volcano, which set the task index and the host lists.
"""

from __future__ import annotations

from ma2l.platforms.base import Environ, HostLists, Platform


def task_hosts(environ: Environ) -> HostLists:
    """``VC_<TASK>_HOSTS``: the pods of each task of the job, in the order of their task indices."""
    lists = {
        name: tuple(host.strip() for host in value.split(",") if host.strip())
        for name, value in environ.items()
        if name.startswith("VC_") and name.endswith("_HOSTS")
    }
    return {name: hosts for name, hosts in sorted(lists.items()) if hosts}


VOLCANO = Platform(
    name="Volcano",
    signs=("VC_TASK_INDEX", "VK_TASK_INDEX", "VC_WORKER_HOSTS"),
    variables={
        "node_rank": ("RANK_AFTER_ACC", "VC_TASK_INDEX", "VK_TASK_INDEX"),
        "task_index": ("VC_TASK_INDEX", "VK_TASK_INDEX"),
        "nodes": ("VC_WORKER_NUM",),
        "master_index": ("MA_MASTER_INDEX",),
        "pod": ("POD_NAME", "HOSTNAME"),
        "ips": ("POD_IP", "HOST_IP"),
    },
    hosts=task_hosts,
)
