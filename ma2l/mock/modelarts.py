"""What ModelArts gives to the container of a training job, mocked.

Sources: the environment of a real job, published with FaceBoxes_ID1074 in Ascend/ModelZoo-TensorFlow
(``models/run00/my_env.log``), and "Viewing environment variables of a training container" (ModelArts documentation,
develop-modelarts-0104). Deliberate differences:

* ``VC_WORKER_HOSTS`` holds addresses. A real job has DNS names of its pods there, which no laptop can resolve.
* What is tied to credentials or to a cloud service (``S3_*``, ``MA_PIP_*``, ``CREDENTIAL_PROFILES_FILE``,
  ``KUBERNETES_*``) is left out, and so is what the platform's own runner adds per rank (``RANK_ID`` and so on).
* Paths lie below the directory of the mock instead of ``/home/ma-user``; outputs below the log directory, because they
  outlive a job: the platform uploads them.

As in the dump there is no ``MA_CURRENT_HOST_IP``, ``MA_CURRENT_IP`` is not the ``server_id`` of the table, and the
device list has a hyphen in its name.
"""

from __future__ import annotations

import json

from ma2l.mock.server import node_ip, physical_ids
from ma2l.mock.shape import Shape

_UUID = "00000000-mock-mock-mock-000000000000"
JOB = f"modelarts-job-{_UUID}"


def pod_name(node: int) -> str:
    """Name of the pod of one node; the integer at its end is the node rank."""
    return f"{JOB}-worker-{node}"


def variables(node: int, shape: Shape, soc: str, home: str, log_dir: str = "") -> dict[str, str]:
    """Everything ModelArts sets for one node.

    Args:
        node: node rank.
        home: the node's directory, in the place of ``/home/ma-user``.
        log_dir: shared log directory of all nodes; empty for one below ``home``.
    """
    mount = f"{home}/modelarts"
    pod_id = f"00000000-mock-mock-pod0-{node:012d}"
    return {
        "HOSTNAME": pod_name(node),
        "MA_ENGINE_TYPE": "ascend-powered-engine",
        "MA_ENGINE_VERSION": f"mock-ascend-{soc}",
        "MA_CUSTOM_IMAGE": "1",
        "MA_PYTHON_VERSION": "3",
        "MA_SCRIPT_INTERPRETER": "",
        "MA_VJ_NAME": f"ma-job-{_UUID}",
        "MA_TASK_NAME": "worker",
        "MA_CURRENT_INSTANCE_NAME": pod_name(node),
        "MA_CURRENT_INSTANCE_ID": pod_id,
        "PAAS_POD_ID": pod_id,
        "MA_CURRENT_IP": node_ip(node),
        "MA_NAMESPACE": "default",
        "MA_NUM_HOSTS": str(shape.nodes),
        "MA_NUM_GPUS": str(shape.devices),
        "VC_TASK_INDEX": str(node),
        "VK_TASK_INDEX": str(node),
        "VC_WORKER_NUM": str(shape.nodes),
        "VC_WORKER_HOSTS": ",".join(node_ip(n) for n in range(shape.nodes)),
        "MA_HOME": home,
        "MA_MOUNT_PATH": mount,
        "MA_JOB_DIR": f"{mount}/user-job-dir",
        "MA_LOG_DIR": log_dir or f"{mount}/log",
        "MA_TERMINATION_MESSAGE_PATH": f"{mount}/log/termination-log",
        "MA_TRAINING_TOOLKIT_MOUNT_PATH": f"{home}/{JOB}",
        "FMK_WORKSPACE": f"{mount}/user-job-dir/workspace",
        "DLS_LOCAL_CACHE_PATH": f"{home}/cache",
        "MA_INPUTS": _mounted("inputs", "data_url", f"{mount}/inputs"),
        "MA_OUTPUTS": _mounted("outputs", "train_url", _outputs(node, home, log_dir)),
        "MA_DETECT_ITEM": '{"ascend_check":1,"disk_size_check":1,"dns_check":1}',
        "MA_COLLECT_CORE_FILE": "1",
        "MA_DIAG_MODE_ENV": "",
        "MA_RUN_MODE_ENV": "",
        "NPU-VISIBLE-DEVICES": ",".join(map(str, physical_ids(shape.devices, soc))),
        "RANK_TABLE_FILE": f"{home}/user-config",
    }


def directories(home: str) -> tuple[str, ...]:
    """The directories that exist when a job's container starts, but for outputs below a log directory: nothing is
    written there before a run begins."""
    mount = f"{home}/modelarts"
    inside = (f"{mount}/user-job-dir", f"{mount}/log", f"{mount}/inputs/data_url_0", f"{mount}/outputs/train_url_0")
    return (*inside, f"{home}/cache")


def _outputs(node: int, home: str, log_dir: str) -> str:
    return f"{log_dir}/outputs/node{node}" if log_dir else f"{home}/modelarts/outputs"


def _mounted(kind: str, name: str, directory: str) -> str:
    entry = {
        "name": name,
        "local_dir": f"{directory}/{name}_0",
        "remote": {"obs": {"obs_url": f"s3://mock-bucket/{name}/"}},
    }
    return json.dumps({kind: [entry]})
