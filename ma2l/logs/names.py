"""What log files are called.

Off a platform as msrun calls them. On ModelArts as its own boot program does, so that the console page finds them;
``.txt``, because the platform's collector takes every ``*.log`` and would send the same lines twice. Nothing is ever
overwritten: a later attempt in the same directory has its number in the name, files of a node carry the node.
"""

from __future__ import annotations

from ma2l.records import dataclass


@dataclass(frozen=True)
class Names:
    """Paths of one node's logs.

    Args:
        directory: where they all lie.
        node: ``node<rank>``, in front of files that each node has.
        job_id: set on ModelArts only; chooses its names.
        attempt: number of this start, from 1.
        counts_alone: whether other nodes have the same ranks; then the names of ranks' logs carry the node too.
    """

    directory: str
    node: str
    job_id: str = ""
    attempt: int = 1
    counts_alone: bool = False

    def rank(self, rank: int | str, logical_id: int | str) -> str:
        """Output of one rank."""
        if self.job_id:
            node = f"{self.node}-" if self.counts_alone else ""
            return self._path(f"{self.job_id}-{node}proc-rank-{rank}-device-{logical_id}", "txt")
        return self._path(f"{self._node()}worker_{rank}", "log")

    def scheduler(self) -> str:
        """Output of a MindSpore scheduler."""
        return self._path(f"{self._node()}scheduler", "txt" if self.job_id else "log")

    def device_logs(self, rank: int) -> str:
        """Directory for what CANN itself logs of one rank."""
        return f"{self.directory}/{self._node()}ascend/process_log/rank_{rank}"

    def once(self) -> str:
        """Output of a command that runs once per node."""
        return self._path(self.node, "txt" if self.job_id else "log")

    def launcher(self) -> str:
        """The launcher's own messages."""
        return self._path(f"{self.node}.launcher", "txt" if self.job_id else "log")

    def agent(self) -> str:
        """Output of a platform's agent."""
        return self._path(f"{self.node}.agent", "txt" if self.job_id else "log")

    def plan(self) -> str:
        """The plan as JSON."""
        return self._path(f"{self.node}.plan", "json")

    def outcome(self) -> str:
        """How the run ended, as JSON."""
        return self._path(f"{self.node}.outcome", "json")

    def result(self) -> str:
        """What this node's ranks measured, as JSON."""
        return self._path(f"{self.node}.result", "json")

    def upload(self) -> str:
        """What is to be sent to the object store, as JSON."""
        return self._path(f"{self.node}.upload", "json")

    def npu_info(self) -> str:
        """What the driver's tools said of the NPUs before the start."""
        return self._path(f"{self.node}.npu_info_before", "txt")

    def stacks(self, stamp: str) -> str:
        """Where the ranks stood at that moment."""
        return self._path(f"{self.node}.stacks.{stamp}", "txt")

    def _node(self) -> str:
        return f"{self.node}." if self.counts_alone else ""

    def _path(self, stem: str, ending: str) -> str:
        attempt = f".attempt{self.attempt}" if self.attempt > 1 else ""
        return f"{self.directory}/{stem}{attempt}.{ending}"
