"""The workers of a node as an agent sees them: started, killed and asked after by four functions."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence

from ma2l.linux import processes
from ma2l.linux.spawn import spawn
from ma2l.plan.spec import ProcessSpec, applied
from ma2l.supervise import killer

TYPE_CHECKING = False  # as everywhere on the start path
if TYPE_CHECKING:
    from typing import Any, Callable

ALL = -1
NOT_STARTED = 200


class Workers:
    """The ranks of this node.

    Args:
        specs: what each rank runs, by local rank.
        environ: the environment to which each spec's difference is applied.
        node: rank of this node, -1 where MindSpore assigns it.
        mask: signals blocked in the workers.
    """

    def __init__(
        self, specs: Sequence[ProcessSpec], environ: Mapping[str, str], node: int, mask: frozenset[int] = frozenset()
    ) -> None:
        self._specs = specs
        self._environ = environ
        self._node = node
        self._mask = mask
        self._pids: dict[int, int] = {}
        self._ended: dict[int, int] = {}
        self._killed: set[int] = set()
        self._heirs: set[int] = set()
        self._nothing = os.open(os.devnull, os.O_RDWR)

    def callbacks(self) -> dict[str, Callable[..., Any]]:
        """What an agent gets, by the names that msrun gives them."""
        return {
            "KILL_WORKER": self.kill,
            "START_ALL_WORKER": self.start_all,
            "START_WORKER_LIST": self.start,
            "MONITOR": self.monitor,
        }

    def start_all(self) -> int:
        """Start every worker, after killing those that run; returns 0, or 1 when one has ended already."""
        self.kill([ALL])
        return self.start(list(range(len(self._specs))))

    def start(self, local_ranks: Sequence[int]) -> int:
        """Start these workers, after killing those of them that run; returns as ``start_all``.

        Raises:
            ValueError: there is no such local rank.
            OSError: one cannot be started.
        """
        strange = [rank for rank in local_ranks if not 0 <= rank < len(self._specs)]
        if strange:
            raise ValueError(f"local ranks are 0 to {len(self._specs) - 1}, not {strange[0]}")
        self.kill([self._pids[rank] for rank in local_ranks if rank in self._pids])
        for rank in local_ranks:
            self._spawn(rank)
        return int(any(entry["status"] is not None for entry in self.monitor(local_ranks).values()))

    def kill(self, pids: Sequence[int]) -> int:
        """SIGKILL to these workers, all for -1, and to everything below them; returns 0 when they have gone."""
        chosen = {rank: pid for rank, pid in self._alive().items() if ALL in pids or pid in pids}
        trees = {rank: [pid, *processes.descendants(pid)] for rank, pid in chosen.items()}
        for tree in trees.values():
            for pid in tree:
                _send(pid, signal.SIGKILL)
        for rank, (leader, *below) in trees.items():
            self._ended[rank] = os.waitstatus_to_exitcode(os.waitpid(leader, 0)[1])
            if self._ended[rank] == -signal.SIGKILL:  # else it has failed by itself a moment before
                self._killed.add(rank)
            for pid in below:  # parents come first, and leave their children to this process
                _await(pid)
        self._end_leftovers({pid for pid in self._pids.values() if ALL in pids or pid in pids})
        return 0

    def _end_leftovers(self, leaders: set[int]) -> None:
        """Kill what workers that have ended left in their sessions, until a look finds nobody: it may fork meanwhile.

        They are children of this process, a subreaper, and may still hold the NPU that the next start needs.
        """
        alive = set(self._alive().values())
        while left := [pid for pid in processes.children(os.getpid()) if pid not in alive and _session(pid) in leaders]:
            for pid in left:
                for one in (pid, *processes.descendants(pid)):
                    _send(one, signal.SIGKILL)
            for pid in left:
                _await(pid)

    def monitor(self, local_ranks: Sequence[int]) -> dict[int, dict[str, int | None]]:
        """How these workers are, all for -1, by local rank."""
        self._alive()
        ranks = range(len(self._specs)) if ALL in local_ranks else local_ranks
        return {rank: self._state(rank) for rank in ranks if 0 <= rank < len(self._specs)}

    def signal(self, signum: int) -> None:
        """Pass a signal on to every worker that runs, as the launcher would."""
        for pid in self._alive().values():
            heirs = killer.signal_leader(pid, signum)
            if signum == signal.SIGTERM:  # what was only told something is not waited for
                self._heirs.update(heirs)

    def wait(self) -> int:
        """Wait until all workers have ended by themselves, and what shells among them ran; returns ``exit_code``."""
        for pid in self._alive().values():
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        code = self.exit_code
        for pid in self._heirs:
            _await(pid)
        return code

    @property
    def failed(self) -> ProcessSpec | None:
        """The worker that was first seen to have failed, by itself and for good."""
        self._alive()
        ranks = (rank for rank, code in self._ended.items() if code and rank not in self._killed)
        return next((self._specs[rank] for rank in ranks), None)

    @property
    def exit_code(self) -> int:
        """That worker's, 0 where there is none."""
        failed = self.failed
        return processes.exit_code(self._ended[self._specs.index(failed)]) if failed else 0

    def _alive(self) -> dict[int, int]:
        """Pids by local rank, after looking who has ended since."""
        for rank, pid in self._pids.items():
            if rank not in self._ended:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    self._ended[rank] = os.waitstatus_to_exitcode(status)
        return {rank: pid for rank, pid in self._pids.items() if rank not in self._ended}

    def _state(self, rank: int) -> dict[str, int | None]:
        known = self._specs[rank].rank
        status = self._ended.get(rank) if rank in self._pids else NOT_STARTED
        return {
            "pid": self._pids.get(rank),
            "status": status,
            "global_rank": rank if known is None else known,
            "local_rank": rank,
            "node_id": self._node,
        }

    def _spawn(self, rank: int) -> None:
        spec = self._specs[rank]
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        output = None if spec.log is None else os.open(spec.log, flags, 0o640)
        try:
            self._pids[rank] = spawn(
                spec.program, spec.argv, applied(spec.env, self._environ),
                output=output, stdin=self._nothing, mask=self._mask, cwd=spec.cwd, cpus=spec.cpus, memory=spec.memory,
            )  # fmt: skip
        finally:
            if output is not None:
                os.close(output)
        self._ended.pop(rank, None)
        self._killed.discard(rank)


def _await(pid: int) -> None:
    """Wait for a process that this one may have adopted."""
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:  # its parent has seen its end
        return


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:  # reaped; only this process can have done that
        return None


def _send(pid: int, signum: int) -> None:
    try:
        os.kill(pid, signum)
    except ProcessLookupError:  # it ended just now
        return
