"""What the Ascend Operator of MindCluster gives to a pod of an AscendJob (framework PyTorch), mocked.

Source: "Environment variables" in the scheduling documentation of MindCluster. Two of them mislead: ``RANK`` is the
rank of the *node*, and ``LOCAL_RANK`` is a list in braces. In a real pod the rank table is
``/user/serverid/devindex/config/hccl.json``. A MindSpore AscendJob is not mocked: it has a further pod for its
scheduler, which is no node of the training.
"""

from __future__ import annotations

from ma2l.mock.server import host_ip, node_ip, physical_ids
from ma2l.mock.shape import Shape


def pod_name(node: int) -> str:
    """``<job>-master-0`` for the first node, then ``<job>-worker-0``, ``-1`` and so on."""
    return "mock-ascendjob-master-0" if node == 0 else f"mock-ascendjob-worker-{node - 1}"


def variables(node: int, shape: Shape, soc: str, home: str, port: str) -> dict[str, str]:
    """Everything the operator, the device plugin and Ascend Docker Runtime set for one node.

    Args:
        home: the node's directory.
        port: ``MASTER_PORT``; the operator's own choice is 2222.
    """
    return {
        "HOSTNAME": pod_name(node),
        "MASTER_ADDR": node_ip(0),
        "MASTER_PORT": port,
        "WORLD_SIZE": str(shape.nodes * shape.devices),
        "RANK": str(node),
        "LOCAL_WORLD_SIZE": str(shape.devices),
        "LOCAL_RANK": "{" + ",".join(map(str, range(shape.devices))) + "}",
        "HostNetwork": "false",
        "REPLICA_TYPE": "Worker" if node else "Master",
        "MINDX_TASK_ID": "mock-task-00000000",
        "POD_UID": f"00000000-mock-mock-pod0-{node:012d}",
        "XDL_IP": host_ip(node),
        "ASCEND_DOCKER_RUNTIME": "true",
        "ASCEND_RUNTIME_OPTIONS": "",
        "ASCEND_VISIBLE_DEVICES": ",".join(map(str, physical_ids(shape.devices, soc))),
        "RANK_TABLE_FILE": f"{home}/hccl/hccl.json",
    }
