"""The names of torch's ``env://`` initialisation, which other frameworks and run scripts read as well.

Source: "torchrun (Elastic Launch)" of the PyTorch documentation, section on environment variables.
"""

from __future__ import annotations

from collections.abc import Mapping

from ma2l.cluster import Cluster, Device
from ma2l.plan.spec import EnvDiff

DEFAULT_PORT = 29500
"""Where node 0 listens when nobody says otherwise and several nodes must agree (torchrun's own default)."""


def node_names(cluster: Cluster, master_addr: str, master_port: int) -> EnvDiff:
    """What is the same for all ranks of a node."""
    return {
        "MASTER_ADDR": master_addr,
        "MASTER_PORT": str(master_port),
        "WORLD_SIZE": str(cluster.world_size),
        "LOCAL_WORLD_SIZE": str(len(cluster.own.devices)),
        "NNODES": str(len(cluster.nodes)),
        "NODE_RANK": str(cluster.node_rank),
        "NPUS_PER_NODE": str(len(cluster.own.devices)),
    }


def rank_names(device: Device, local_rank: int) -> EnvDiff:
    """What tells one rank from the others."""
    return {"RANK": str(device.rank), "LOCAL_RANK": str(local_rank)}


def torchrun_names(cluster: Cluster, master_addr: str, master_port: int, environ: Mapping[str, str]) -> EnvDiff:
    """Defaults of torchrun's own options, for a torchrun that is started once per node without any; the user's stay."""
    names = {
        "PET_NNODES": str(len(cluster.nodes)),
        "PET_NODE_RANK": str(cluster.node_rank),
        "PET_NPROC_PER_NODE": str(len(cluster.own.devices)),
        "PET_MASTER_ADDR": master_addr,
        "PET_MASTER_PORT": str(master_port),
    }
    return {name: value for name, value in names.items() if name not in environ}


NO_RANK: EnvDiff = {"RANK": None, "LOCAL_RANK": None}
"""For a process that is not a rank."""
