"""Who runs on this node: which workers, with which ranks, and whether it is a dry run. Pure.

Source: ``mindspore/parallel/cluster/process_entity/_api.py`` of MindSpore 2.10.
"""

from __future__ import annotations

from collections.abc import Mapping

from ma2l.errors import ConfigError, UsageError
from ma2l.msrun.arguments import UNKNOWN, Arguments
from ma2l.records import dataclass

SIMULATED_LIMIT = 128
"""More simulated workers than this become one, as in msrun: they would overwhelm the host."""


@dataclass(frozen=True)
class Layout:
    """The workers of this node within the job."""

    total: int
    """Workers of the job."""
    local: int
    """Workers here."""
    node: int
    """Rank of this node, ``UNKNOWN`` where MindSpore will assign the ranks."""
    simulated: bool = False
    """A dry run: no scheduler, and workers do not meet."""
    sim_rank: int = UNKNOWN
    """The one rank to simulate."""
    rank_size: str = ""
    """Size of the job as a dry run pretends it; empty is ``total``."""

    @property
    def nodes(self) -> int:
        """How many nodes there are, if all are like this one."""
        return -(-self.total // self.local)

    @property
    def alone(self) -> bool:
        """Whether every worker of the job runs here."""
        return self.local == self.total

    def node_id(self, index: int) -> int | None:
        """The number under which a worker registers, ``None`` where MindSpore assigns one."""
        return None if self.node == UNKNOWN else self.node * self.local + index

    def rank(self, index: int) -> int | None:
        """Global rank of a worker, ``None`` where MindSpore assigns it."""
        return self.node_id(index) if self.sim_rank == UNKNOWN else self.sim_rank

    def number(self, index: int) -> int:
        """The number in the name of a worker's log."""
        node_id = self.node_id(index)
        return index if node_id is None else node_id


def layout(arguments: Arguments, environ: Mapping[str, str]) -> Layout:
    """Decide who runs here.

    Raises:
        UsageError: the numbers contradict each other.
        ConfigError: ``RANK_ID``, which names the rank of a dry run, is no number.
    """
    total, local, sim_rank = arguments.worker_num, arguments.local_worker_num, UNKNOWN
    simulated = arguments.sim_level != UNKNOWN or bool(environ.get("MS_SIMULATION_LEVEL"))
    rank_size = ""
    if simulated:
        sim_rank = arguments.sim_rank_id if arguments.sim_rank_id != UNKNOWN else _rank_id(environ)
        if arguments.sim_level == UNKNOWN:
            rank_size = environ.get("RANK_SIZE", "")
        if local > SIMULATED_LIMIT and sim_rank == UNKNOWN:
            sim_rank = 0
        if sim_rank != UNKNOWN:
            local = 1
    node = 0 if local == total else arguments.node_rank
    if local > total:
        raise UsageError(
            f"start {local} workers here", f"the whole job has {total}", f"write --local_worker_num={total} or fewer"
        )
    if node != UNKNOWN and (node + 1) * local > total:
        raise UsageError(
            f"be node {node}",
            f"its {local} workers would be ranks {node * local} to {(node + 1) * local - 1} of a job of {total}",
            "correct --node_rank, --local_worker_num or --worker_num",
        )
    return Layout(total, local, node, simulated, sim_rank, rank_size)


def _rank_id(environ: Mapping[str, str]) -> int:
    text = environ.get("RANK_ID", "") or str(UNKNOWN)
    if not text.lstrip("-").isdecimal():
        raise ConfigError(f"simulate the rank RANK_ID={text!r}", "it is no number", "unset it, or pass --sim_rank_id")
    return int(text)
