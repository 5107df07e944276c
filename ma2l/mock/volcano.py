"""What a Volcano job with Ascend NPUs on a CCE cluster (ModelArts Lite) gives to a pod, mocked.

Sources: the ``env`` and ``svc`` plugins in volcano-sh/volcano (``pkg/controllers/job/plugins``) and "Running a training
job in a Lite cluster" (ModelArts documentation, umn-cluster-modelarts-0014). ``VC_WORKER_HOSTS`` holds addresses,
because the DNS names of the ``svc`` plugin resolve nowhere outside a cluster.
"""

from __future__ import annotations

from ma2l.mock.server import node_ip
from ma2l.mock.shape import Shape


def pod_name(node: int) -> str:
    """``<job>-<task>-<index>``, as Volcano names pods."""
    return f"mock-vcjob-worker-{node}"


def variables(node: int, shape: Shape, home: str) -> dict[str, str]:
    """Everything Volcano sets for one node; ``home`` is the node's directory."""
    return {
        "HOSTNAME": pod_name(node),
        "VC_TASK_INDEX": str(node),
        "VK_TASK_INDEX": str(node),
        "VC_WORKER_NUM": str(shape.nodes),
        "VC_WORKER_HOSTS": ",".join(node_ip(n) for n in range(shape.nodes)),
        "RANK_TABLE_FILE": f"{home}/user-config/jobstart_hccl.json",
    }
