"""Watches for silence: looks at the ranks' logs when one of them may have been silent for too long, and has the stacks
of all of them written down. Nothing happens in between: there is one deadline.

The stacks are taken by a child of the launcher that the supervisor collects like any other, in a time of its own; the
run goes on meanwhile, and ends it like everything else when it ends first.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Mapping

from ma2l import log
from ma2l.diagnose import hang, standing
from ma2l.diagnose.stacks import BUDGET, INSTALL, Subject, program
from ma2l.linux import processes, threads
from ma2l.linux.spawn import spawn
from ma2l.records import dataclass
from ma2l.supervise.machine import Event, Kind

PATIENCE = BUDGET + 10.0
"""Seconds for the child that takes the stacks; it keeps its own limit unless it is stuck."""


@dataclass(frozen=True)
class Watched:
    """One process of the plan."""

    name: str
    logs: tuple[str, ...]
    """Files of which one must grow; without any it is not watched, but its stacks are taken with the others'."""
    listens: bool = True
    """Whether it may be asked to print its own stacks (SIGABRT)."""


@dataclass(frozen=True)
class Diagnosis:
    """What is known of a silence."""

    quiet: Mapping[str, float]
    """Seconds of silence by the name of each rank."""
    limit: float
    """Seconds that were allowed."""
    suspect: hang.Suspect
    stacks: str | None
    """Path of the file with the stacks of all ranks; ``None`` where they could not be taken or written."""
    frames: tuple[str, ...] = ()
    """Where the suspect stands, outermost first."""


class Sentry:
    """Tells a supervisor of silences.

    Args:
        watched: the processes by their place in the plan.
        limit: seconds of silence.
        stops: whether a hang is going to end the run; then ranks whose stacks nobody can read may print them and die.
        path: makes the name of a file of stacks from a time stamp.
        mask: signals blocked in the child, as for workers.
    """

    def __init__(
        self,
        watched: Mapping[int, Watched],
        limit: float,
        stops: bool,
        path: Callable[[str], str],
        mask: frozenset[int],
    ) -> None:
        self._watched = watched
        self._limit = limit
        self._stops = stops
        self._path = path
        self._mask = mask
        self._silence = hang.Silence(limit)
        self._cpu: dict[int, tuple[float, float]] = {}
        self._begun = False
        self._child: int | None = None
        self._patience = 0.0
        self._file = ""
        self.made_print = False
        """Whether the ranks were to print their stacks themselves."""
        self.diagnosis: Diagnosis | None = None
        """The last one."""

    @property
    def deadline(self) -> float | None:
        """When it wants to be called even if nothing has happened."""
        return self._patience if self._child is not None else self._silence.deadline

    def service(self, alive: Mapping[int, int], ended: Collection[int], frozen: bool, now: float) -> Event | None:
        """Look at the logs if it is time, and at what the child has found if it has ended.

        Args:
            alive: pids of the running processes of the plan by their place in it.
            ended: pids of the children that have just been collected.
            frozen: whether somebody has frozen the workers.
            now: monotonic seconds.

        Returns:
            A hang, when its stacks have been taken and it is still one.
        """
        if frozen:
            self._silence.restart(now)
        if self._child is not None:
            if self._child in ended or now >= self._patience:
                return self._told(alive, self._child in ended, now)
        elif not self._begun or (self._silence.deadline is not None and now >= self._silence.deadline):
            self._begun = True
            self._look(alive, now)
            if self._silence.fallen_silent():
                self._diagnose(alive, now)
        return None

    def _look(self, alive: Mapping[int, int], now: float) -> None:
        stamps = {worker: stamp for worker in alive if (stamp := self._stamp(worker))}
        self._silence.look(stamps, now, time.time())
        for worker, seconds in self._silence.quiet().items():
            if worker not in self._cpu or self._cpu[worker][0] < now - seconds:
                self._cpu[worker] = now, _cpu_seconds(alive[worker])

    def _stamp(self, worker: int) -> hang.Stamp | None:
        size, mtime = 0, 0.0
        found = False
        for path in self._watched[worker].logs:
            try:
                status = os.stat(path)
            except OSError:  # mpirun has yet to make it; or somebody has removed it, and then nobody can tell
                continue
            found = True
            size, mtime = size + status.st_size, max(mtime, status.st_mtime)
        return hang.Stamp(size, mtime) if found else None

    def _diagnose(self, alive: Mapping[int, int], now: float) -> None:
        """Start the child that takes the stacks."""
        log.warning(f"{hang.how_silent(self._quiet(), self._limit)}; taking the stacks of all processes of this node")
        stamp = time.strftime("%Y%m%d-%H%M%S")
        self._file = self._path(stamp)
        subjects = [
            Subject(self._watched[worker].name, pid, self._note(worker, pid, now)) for worker, pid in alive.items()
        ]
        argv = program(self._file, f"stacks at {stamp}", subjects)
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._child = spawn(argv[0], argv, os.environ, output=nothing, stdin=nothing, mask=self._mask)
        except OSError as error:
            log.warning(f"the stacks cannot be taken: {error.strerror}")
            self._child = 0  # nobody has this pid: what is known without stacks is told in the next moment
        finally:
            os.close(nothing)
        self._patience = now + (PATIENCE if self._child else 0.0)

    def _note(self, worker: int, pid: int, now: float) -> str:
        seconds = self._silence.quiet().get(worker)
        if seconds is None:
            return ""
        since, before = self._cpu[worker]
        used = max(0.0, _cpu_seconds(pid) - before)
        return f"has written nothing for {seconds:.0f} s, used {used:.1f} s of CPU in the last {now - since:.0f} s"

    def _told(self, alive: Mapping[int, int], ended: bool, now: float) -> Event | None:
        """Say what the child has found; a hang is one only if the silence has outlasted its work."""
        if not ended and self._child:
            log.warning(f"the stacks could not be taken within {PATIENCE:g} s")
            _kill_session(self._child)
        self._child = None
        quiet = self._quiet()
        stacks = {name: stack for name, stack in self._read().items() if name in quiet}
        suspect = hang.suspect(quiet, self._limit, stacks)
        frames = stacks[suspect.name].frames if suspect.name in stacks else ()
        self.diagnosis = Diagnosis(quiet, self._limit, suspect, self._file if stacks else None, frames)
        log.warning(f"{suspect.sentence}{f'; all stacks are in {self._file}' if stacks else ''}")
        self._look(alive, now)
        if not self._silence.silent():
            log.info("the silence is over; the run goes on")
            return None
        worker = next((w for w in alive if self._watched[w].name == suspect.name), min(alive))
        return Event(Kind.HANG, worker, self._signal_to_stop(alive, stacks))

    def _read(self) -> dict[str, standing.Stack]:
        try:
            with open(self._file, encoding="utf-8") as file:
                return standing.parse(file.read())
        except OSError:  # it could not be taken, or could not be written
            log.warning(f"there are no stacks in {self._file}: it could not be written")
            return {}

    def _signal_to_stop(self, alive: Mapping[int, int], stacks: Mapping[str, standing.Stack]) -> int:
        """SIGTERM; or SIGABRT, said first, where that is the only way to see Python's frames."""
        listening = all(self._watched[worker].listens for worker in alive) and any(map(_listens, alive.values()))
        if not self._stops or not listening or any(stack.python for stack in stacks.values()):
            return signal.SIGTERM
        log.warning(
            f"ma2l cannot read the Python stacks itself (see {self._file}; mostly: {INSTALL}); "
            "SIGABRT makes every rank print its own into its log, and ends it"
        )
        self.made_print = True
        return signal.SIGABRT

    def _quiet(self) -> dict[str, float]:
        return {self._watched[worker].name: seconds for worker, seconds in self._silence.quiet().items()}


def _cpu_seconds(pid: int) -> float:
    return threads.cpu_seconds([pid, *processes.descendants(pid)])


def _listens(pid: int) -> bool:
    return any(processes.catches(one, signal.SIGABRT) for one in (pid, *processes.descendants(pid)))


def _kill_session(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:  # it ended just now
        return
