"""The plan as data: frozen, printable, complete."""

from __future__ import annotations

from collections.abc import Mapping

from ma2l.records import dataclass

TYPE_CHECKING = False  # what binding needs is not imported where nothing is bound
if TYPE_CHECKING:
    from ma2l.cluster import Part
    from ma2l.plan.binding import Processors

EnvDiff = Mapping[str, "str | None"]
"""Difference to the launcher's environment; ``None`` unsets."""


def applied(difference: EnvDiff, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment with the difference applied."""
    result = {name: value for name, value in environ.items() if name not in difference}
    result.update((name, value) for name, value in difference.items() if value is not None)
    return result


@dataclass(frozen=True)
class ProcessSpec:
    """One process to start."""

    role: str
    """``rank``, ``scheduler`` (of a MindSpore dynamic cluster), ``once`` (per node), ``launcher`` (of a mock node),
    ``mpirun`` and ``agent`` (which start the ranks themselves)."""
    argv: tuple[str, ...]
    program: str
    """Path of the executable."""
    env: EnvDiff
    log: str | None
    """File for standard output and error; ``None`` inherits the launcher's."""
    rank: int | None = None
    """Global rank, for the role ``rank``; ``None`` where MindSpore assigns it when the cluster forms."""
    local_rank: int | None = None
    """Place among the ranks of this node; for the role ``launcher`` the node that it pretends to be."""
    cwd: str | None = None
    """Working directory; ``None`` is the launcher's."""
    cpus: tuple[int, ...] = ()
    """CPUs it is bound to; empty is all that the launcher may use."""
    memory: tuple[int, ...] = ()
    """NUMA nodes that its memory must come from; empty is the kernel's own rule, the node a thread runs on first."""
    stop_file: str | None = None
    """For the role ``mpirun``: the file whose appearance tells its ranks on this host to stop."""
    elsewhere: bool = False
    """For the role ``mpirun``: whether it has ranks on other hosts."""
    stdin: bool = False
    """Whether it reads the launcher's standard input instead of ``/dev/null``."""

    @property
    def number(self) -> int | None:
        """The number of a rank that logs and messages go by: its place on the node, where nobody knows the rank yet."""
        if self.role != "rank":
            return None
        return self.local_rank if self.rank is None else self.rank

    @property
    def name(self) -> str:
        """How messages call it."""
        if self.role == "launcher":
            return f"the launcher of node {self.local_rank}"
        if self.role == "rank" and self.rank is None:
            return f"worker {self.local_rank}"
        if self.role == "once":
            return "the command"
        return f"rank {self.rank}" if self.rank is not None else self.role


@dataclass(frozen=True)
class PlannedFile:
    """A file that the processes need."""

    path: str
    content: bytes
    kind: str = "rank table"
    """``rank table`` is written by HCCL's rules; a ``program`` may be executed, ``text`` is for a tool to read."""

    def sha256(self) -> str:
        """Fingerprint in hexadecimal: the same on every node, or ranks will not find each other."""
        from ma2l.ranktable import fingerprint  # hashlib takes longer to import than all of the plan to make

        return fingerprint(self.content)


@dataclass(frozen=True)
class Plan:
    """Everything that one launcher is going to do."""

    run_id: str
    mode: str
    node_rank: int
    """-1 where MindSpore assigns the ranks, and with them the order of the nodes."""
    nodes: int
    world_size: int
    master_addr: str
    master_port: int
    log_dir: str
    processes: tuple[ProcessSpec, ...]
    """In the order of starting."""
    files: tuple[PlannedFile, ...]
    trail: tuple[str, ...]
    """Where the topology came from, then why the earlier sources did not apply."""
    notes: tuple[str, ...]
    """Decisions worth a line."""
    warnings: tuple[str, ...] = ()
    rank_logs: tuple[tuple[int, str], ...] = ()
    """Global rank and log of ranks that a process of the plan starts."""
    part: Part | None = None
    """Set where every server of the platform's job is a job of its own."""

    @property
    def node_number(self) -> int:
        """The node rank that no other node of the platform's job has, for names of files; -1 as ``node_rank``."""
        return self.part.node_rank if self.part else self.node_rank


@dataclass(frozen=True)
class Site:
    """What a plan needs to know of this host and this moment."""

    environ: Mapping[str, str]
    program: str
    """Path of the executable that CMD names."""
    run_id: str
    run_dir: str
    """Node-local private directory for files of this run."""
    log_dir: str
    attempt: int
    """1, or the number of this start as the platform counts it."""
    cpus: int
    """CPUs that this process may use."""
    ports: tuple[int, int]
    """Two free ports for a job of one node."""
    master_ip: str
    """Address of node 0 as an IP, empty when it was not needed."""
    processors: Processors | None = None
    """Where CPUs and NPUs are; ``None`` where nothing is to be bound."""
    restarts: int = 0
    """How often this launcher has started the run again."""
