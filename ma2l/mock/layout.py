"""Puts a mock job on disk, and publishes its rank table when the caller's timer says so.

Below each node's directory::

    bin/npu-smi  bin/hccn_tool   first on the node's PATH
    npu/                         what they print
    user-config/                 a ConfigMap volume with jobstart_hccl.json (modelarts, volcano)
    hccl/hccl.json, version      what the Ascend Operator writes (ascendjob)
    modelarts/  cache/           the directories of a ModelArts container
"""

from __future__ import annotations

import os

from ma2l.mock import npu_smi, publish
from ma2l.mock.node import MockJob, MockNode
from ma2l.mock.server import physical_ids
from ma2l.mock.table import INITIALIZING


def lay_out(job: MockJob, *, completed: bool) -> None:
    """Write every file of the job.

    Args:
        completed: publish the completed rank table at once; otherwise one that says ``initializing`` (if the platform
            has a table at all), to be replaced by ``complete``.

    Raises:
        OSError: the root of the job is not writable, or the disk is full.
    """
    for rank, node in enumerate(job.nodes):
        os.makedirs(node.home, exist_ok=True)
        for directory in node.directories:
            os.makedirs(directory, exist_ok=True)
        _write_tools(rank, node, job)
    _publish(job, job.table if completed else INITIALIZING)


def complete(job: MockJob) -> None:
    """Publish the completed rank table on every node, the way the job's platform does it."""
    _publish(job, job.table)


def _publish(job: MockJob, text: str) -> None:
    for node in job.nodes:
        if job.platform == "ascendjob":
            publish.operator_file(f"{node.home}/hccl/hccl.json", text)
        elif job.table:
            publish.configmap(f"{node.home}/user-config", "jobstart_hccl.json", text)


def _write_tools(rank: int, node: MockNode, job: MockJob) -> None:
    ids = physical_ids(job.shape.devices, job.soc)
    os.makedirs(f"{node.home}/npu", exist_ok=True)
    os.makedirs(f"{node.home}/bin", exist_ok=True)
    texts = {
        "npu/info": npu_smi.info(ids, job.soc),
        "npu/map": npu_smi.mapping(ids, job.soc),
        "npu/list": npu_smi.listing(ids, job.soc),
        "npu/board": npu_smi.boards(ids, job.soc),
        "npu/topo": npu_smi.topo(ids, job.soc),
        "npu/hccn.conf": npu_smi.hccn_conf(rank, ids),
        "bin/npu-smi": npu_smi.NPU_SMI,
        "bin/hccn_tool": npu_smi.HCCN_TOOL,
    }
    for name, text in texts.items():
        with open(f"{node.home}/{name}", "w", encoding="utf-8") as file:
            file.write(text)
    for tool in ("npu-smi", "hccn_tool"):
        os.chmod(f"{node.home}/bin/{tool}", 0o755)
