"""What ModelArts puts into the container of a job with a custom image.

Sources: "Training with a custom image on Ascend" (docker-modelarts-0092) for ``/user/config``; "Viewing environment
variables of a training container" (develop-modelarts-0104) and the environment of a real job, published with
FaceBoxes_ID1074 in Ascend/ModelZoo-TensorFlow, for the variables; "AtomicWriter" of Kubernetes for the mount's links.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

UUID = "0a1b2c3d-0000-4000-8000-00000000cafe"
MOUNT = "/home/ma-user/modelarts"
JOB_DIR = f"{MOUNT}/user-job-dir"
INITIALIZING = '{"status":"initializing"}'
USER = ("--user", "1000:100")


def pod(node: int) -> str:
    """Name of a node's pod, which is its host name too."""
    return f"ma-job-{UUID}-worker-{node}"


def dns_name(node: int) -> str:
    """The name in ``VC_WORKER_HOSTS``, which the cluster's name server knows."""
    return f"{pod(node)}.ma-job-{UUID}"


def variables(node: int, nodes: int, devices: Sequence[int], address: str) -> dict[str, str]:
    """The environment of one node.

    Args:
        devices: physical ids of its NPUs.
        address: its own address in the pods' network.
    """
    return {
        "HOME": "/home/HwHiAiUser",
        "MA_ENGINE_TYPE": "ascend-powered-engine",
        "MA_ENGINE_VERSION": "",
        "MA_CUSTOM_IMAGE": "1",
        "MA_PYTHON_VERSION": "3",
        "MA_SCRIPT_INTERPRETER": "",
        "MA_VJ_NAME": f"ma-job-{UUID}",
        "MA_TASK_NAME": "worker",
        "MA_CURRENT_INSTANCE_NAME": pod(node),
        "MA_CURRENT_INSTANCE_ID": f"{UUID}-{node}",
        "PAAS_POD_ID": f"{UUID}-{node}",
        "MA_CURRENT_IP": address,
        "MA_NAMESPACE": "default",
        "MA_NUM_HOSTS": str(nodes),
        "MA_NUM_GPUS": str(len(devices)),
        "VC_TASK_INDEX": str(node),
        "VK_TASK_INDEX": str(node),
        "VC_WORKER_NUM": str(nodes),
        "VC_WORKER_HOSTS": ",".join(map(dns_name, range(nodes))),
        "MA_HOME": "/home/ma-user",
        "MA_MOUNT_PATH": MOUNT,
        "MA_JOB_DIR": JOB_DIR,
        "MA_LOG_DIR": f"{MOUNT}/log",
        "MA_TERMINATION_MESSAGE_PATH": f"{MOUNT}/log/termination-log",
        "MA_TRAINING_TOOLKIT_MOUNT_PATH": f"/modelarts-job-{UUID}",
        "FMK_WORKSPACE": f"{JOB_DIR}/workspace",
        "MA_INPUTS": _mounted("inputs", "data_url"),
        "MA_OUTPUTS": _mounted("outputs", "train_url"),
        "MA_DETECT_ITEM": '{"ascend_check":1,"disk_size_check":1,"dns_check":1}',
        "MA_COLLECT_CORE_FILE": "1",
        "MA_DIAG_MODE_ENV": "",
        "MA_RUN_MODE_ENV": "",
        "S3_ENDPOINT": "obs.example.invalid",
        "S3_USE_HTTPS": "1",
        "S3_VERIFY_SSL": "0",
        "DLS_LOCAL_CACHE_PATH": "/cache",
        "NPU-VISIBLE-DEVICES": ",".join(map(str, devices)),
        "RANK_TABLE_FILE": "/user/config",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": JOB_DIR,
        "KUBERNETES_SERVICE_HOST": "192.0.2.1",
    }


def rank_table(devices: Sequence[Sequence[int]]) -> str:
    """The completed table, template 2; as in real ones the last worker comes first.

    Args:
        devices: physical ids of each node's NPUs.
    """
    instances = [
        {
            "devices": [{"device_id": str(i), "device_ip": f"198.51.{node}.{100 + i}"} for i in ids],
            "pod_name": pod(node),
            "server_id": f"192.0.2.{10 + node}",
        }
        for node, ids in enumerate(devices)
    ]
    group = {
        "device_count": str(sum(map(len, devices))),
        "group_name": "job-trainjob",
        "instance_count": str(len(devices)),
        "instance_list": instances[::-1],
    }
    return json.dumps({"group_count": "1", "group_list": [group], "status": "completed"})


class ConfigMap:
    """The directory that the kubelet mounts for a ConfigMap: ``FILE -> ..data/FILE``, ``..data -> ..<time>``.

    An update writes a new directory beside the old one and renames a new ``..data`` over the old.
    """

    def __init__(self, folder: Path, name: str, text: str) -> None:
        self.folder = folder
        self._name = name
        self._updates = 0
        folder.mkdir()
        self.update(text)
        (folder / name).symlink_to(f"..data/{name}")

    def update(self, text: str) -> None:
        """Replace the content, as a reader sees it, in one step."""
        self._updates += 1
        fresh = self.folder / f"..2026_01_01_00_00_{self._updates:02}.1"
        fresh.mkdir()
        (fresh / self._name).write_text(text)
        data = self.folder / "..data"
        old = data.resolve() if data.exists() else None
        (self.folder / "..data_tmp").symlink_to(fresh.name)
        os.replace(self.folder / "..data_tmp", data)
        if old:
            shutil.rmtree(old)


def make_mount(folder: Path) -> Path:
    """The directories below ``/home/ma-user/modelarts``, which belong to the job's user."""
    for name in ("", "log", "user-job-dir/code", "inputs/data_url_0", "outputs/train_url_0"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777)
    return folder


def _mounted(kind: str, name: str) -> str:
    place = {"parameter": {"label": name, "value": f"{MOUNT}/{kind}/{name}_0"}}
    return json.dumps({kind: [{**place, "data_source": {"obs": {"obs_url": f"/bucket/{name}/"}}}]})
