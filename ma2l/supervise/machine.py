"""The states of a run, as a pure machine: events in, actions out, no clock and no process of its own.

                         all spawned            every rank ended with 0
    STARTING ───────────────► RUNNING ───────────────► FINISHING ─────┐
        │ a failure or a stop    │                          │ scheduler │ scheduler gone,
        │ signal                 │                          ▼ lingers   │ or none
        └────────────────────────┴───► (PARTING) ──► STOPPING ◄──┘      ▼
                                                    │ leaders gone ► SWEEPING
                                      grace over,   │                   │ strays linger
                                      second signal └───► KILLING ◄─────┘
                                                            │ tree empty, or given up
                                                            ▼
                                                          DONE   (also straight from SWEEPING)

A worker is the leader of its own session. PARTING asks nobody: a rank of a whole job has failed whose other ranks save
a dying checkpoint without being asked; it ends with the time for that, the last rank or a stop signal. STOPPING asks
leaders only: a leader may be saving a checkpoint with the help of its children. Where the leader is a shell, what it
runs is asked as well and takes its place when it dies. SWEEPING asks whatever the leaders left behind, KILLING asks
nobody.

A hang that ends the run goes from RUNNING to STOPPING, never through PARTING: no rank has failed, so none saves then.
Where nobody else could read the stacks, it goes through ABORTING first, in which each rank prints its own and dies of
it (SIGABRT, to which Python's faulthandler listens):

    RUNNING ──► ABORTING ── all gone ► SWEEPING
                    └─ not gone in time, or a stop signal ► STOPPING
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from enum import Enum

from ma2l.linux.processes import exit_code
from ma2l.linux.wait import STOP_SIGNALS
from ma2l.records import dataclass

HANG_CODE = 252
"""128 + 124, what timeout(1) exits with: a platform may try again."""
ABORT_GRACE = 3.0
"""Seconds for a rank to print its stacks: SIGTERM must wait, its default action would cut them short."""
STRAY_GRACE = 3.0
"""Seconds for processes that outlive their worker; above CANN's 2 s flush of device logs at process exit."""
SCHEDULER_GRACE = 10.0
"""Seconds for a scheduler to leave by itself once every rank has ended well and no other node needs it."""
KILL_PATIENCE = 10.0
"""Seconds after SIGKILL until a process counts as stuck in the kernel (uninterruptible sleep)."""


class Phase(Enum):
    """Where a run stands; the module docstring draws the transitions."""

    STARTING = "starting"
    RUNNING = "running"
    FINISHING = "finishing"
    PARTING = "parting"
    ABORTING = "aborting"
    STOPPING = "stopping"
    SWEEPING = "sweeping"
    KILLING = "killing"
    DONE = "done"


class Kind(Enum):
    """What can happen to a run."""

    SPAWNED = "spawned"  # value: pid
    REFUSED = "refused"  # value: ma2l's exit code for a program that could not be started
    EXITED = "exited"  # value: return code, negative for a signal
    SIGNAL = "signal"  # value: signal number
    HEIRS = "heirs"  # value: how many processes that a shell was running have outlived it
    HANG = "hang"  # value: the signal that asks the workers: SIGTERM, or SIGABRT so that they print their stacks
    GUARD_DIED = "guard died"
    CALLED_OFF = "called off"  # value: ma2l's exit code for what makes it useless to go on
    EMPTY = "empty"  # no descendant is left
    TICK = "tick"  # something may have changed, or the deadline passed


@dataclass(frozen=True)
class Event:
    """One thing that happened."""

    kind: Kind
    worker: int = -1
    value: int = 0


class Target(Enum):
    """Whom an action is for."""

    LEADERS = "leaders"
    STRAYS = "strays"
    EVERYTHING = "everything"


@dataclass(frozen=True)
class Action:
    """A signal to send; ``workers`` are the leaders meant, where the target is leaders."""

    target: Target
    signum: int
    workers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Ended:
    """How and when a worker ended."""

    worker: int
    returncode: int
    """Exit code, or the negative signal number."""
    at: float
    """Seconds of the monotonic clock."""


@dataclass(frozen=True)
class Cause:
    """Why the run ended: the first failure, or the hang or the stop signal that came before any failure."""

    kind: Kind
    value: int
    at: float
    worker: int = -1

    @property
    def exit_code(self) -> int:
        """What ma2l exits with."""
        if self.kind is Kind.EXITED:
            return exit_code(self.value)
        if self.kind is Kind.SIGNAL:
            return 128 + self.value
        if self.kind is Kind.GUARD_DIED:
            return 128 + signal.SIGKILL
        if self.kind is Kind.HANG:
            return HANG_CODE
        return self.value


class Machine:
    """One run.

    Args:
        schedulers: for each process in the order of starting, whether it is a scheduler: the run is complete without
            it, and how it ends after that is no failure (MindSpore's may time out and exit with 1 then).
        grace: seconds between asking the leaders to stop and SIGKILL.
        scheduler_grace: seconds for the scheduler to leave by itself; ``None`` without limit, for workers of other
            nodes may still need it, and it ends by its own heartbeat when they are gone.
        failure_grace: seconds that the survivors of a failure have before they are asked to stop.
        hang_stops: whether a hang ends the run.
    """

    def __init__(
        self,
        schedulers: Sequence[bool],
        grace: float,
        scheduler_grace: float | None = SCHEDULER_GRACE,
        failure_grace: float = 0.0,
        hang_stops: bool = False,
    ) -> None:
        self._schedulers = tuple(schedulers)
        self._grace = grace
        self._scheduler_grace = scheduler_grace
        self._failure_grace = failure_grace
        self._hang_stops = hang_stops
        self._started = 0
        self._alive: set[int] = set()
        self._heirs = 0
        self._stop_signals = 0
        self.frozen = False
        """Whether somebody has frozen the workers (Ctrl-Z): they cannot be expected to do anything."""
        self.phase = Phase.STARTING
        self.deadline: float | None = None
        self.cause: Cause | None = None
        self.ended: list[Ended] = []

    @property
    def to_spawn(self) -> int | None:
        """The process to start next, or ``None``."""
        return self._started if self.phase is Phase.STARTING else None

    @property
    def exit_code(self) -> int:
        """0 when every rank ended with 0, else the cause's code."""
        return self.cause.exit_code if self.cause else 0

    @property
    def stop_asked(self) -> bool:
        """Whether a stop signal came, before or after the cause."""
        return self._stop_signals > 0

    @property
    def _ranks_left(self) -> bool:
        """Whether anybody but a scheduler is alive."""
        return not all(self._schedulers[worker] for worker in self._alive)

    def tie(self, worker: int) -> tuple[bool, int]:
        """Sort key for workers that were reaped together, which have no order in time: the lowest rank counts as the
        first failure, a scheduler as the last."""
        return self._schedulers[worker], worker

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take one event and say what to do; events of one reaping come in the order of ``tie``."""
        kind = event.kind
        if kind is Kind.SPAWNED:
            return self._spawned(event.worker)
        if kind is Kind.EXITED:
            return self._exited(event, now)
        if kind is Kind.SIGNAL:
            return self._signalled(event, now)
        if kind is Kind.EMPTY:
            return self._emptied()
        if kind is Kind.REFUSED:
            return self._fail(event, now)
        if kind is Kind.CALLED_OFF:
            return self._fail(event, now) if self.phase in (Phase.STARTING, Phase.RUNNING) else []
        if kind is Kind.HEIRS:
            return self._inherited(event.value, now)
        if kind is Kind.HANG:
            return self._hung(event, now)
        if kind is Kind.GUARD_DIED:
            self._blame(event, now)
            return self._kill(now)
        return self._ticked(now)

    def _spawned(self, worker: int) -> list[Action]:
        self._started += 1
        self._alive.add(worker)
        if self._started == len(self._schedulers):
            self.phase = Phase.RUNNING
        return []

    def _exited(self, event: Event, now: float) -> list[Action]:
        self._alive.discard(event.worker)
        self.ended.append(Ended(event.worker, event.value, now))
        if self.phase is Phase.FINISHING:
            return self._sweep(now)
        if self.phase in (Phase.STARTING, Phase.RUNNING):
            if event.value != 0:
                return self._fail(event, now)
            if self.phase is Phase.RUNNING and not self._ranks_left:
                return self._finish(now)
        elif self.phase is Phase.PARTING and not self._ranks_left:
            return self._stop(now)
        elif self.phase in (Phase.ABORTING, Phase.STOPPING) and not self._alive and not self._heirs:
            return self._sweep(now)
        return []

    def _inherited(self, heirs: int, now: float) -> list[Action]:
        """A shell without a trap dies of SIGTERM at once; what it ran was asked too and has the leader's grace."""
        self._heirs = heirs
        if self.phase is Phase.STOPPING and not self._alive and not heirs:
            return self._sweep(now)
        return []

    def _signalled(self, event: Event, now: float) -> list[Action]:
        signum = event.value
        if signum not in STOP_SIGNALS:
            return self._pass_on(signum)
        self._stop_signals += 1
        if self.phase in (Phase.STARTING, Phase.RUNNING, Phase.FINISHING, Phase.PARTING, Phase.ABORTING):
            if self.phase is not Phase.FINISHING:  # every rank has ended with 0: the job is done and stays done
                self._blame(event, now)
            return self._stop(now)
        return self._kill(now) if self._stop_signals > 1 and self.phase is not Phase.KILLING else []

    def _pass_on(self, signum: int) -> list[Action]:
        """Notices, freezing and thawing. Signals that arrive together are seen by number, not by time: a SIGTSTP that
        came before the stop may show up after it, and must not freeze workers that are asked to end."""
        if signum == signal.SIGTSTP:
            if self.phase in (Phase.ABORTING, Phase.STOPPING):
                return []
            signum = signal.SIGSTOP  # a session leader shrugs off SIGTSTP
        if signum in (signal.SIGSTOP, signal.SIGCONT):
            self.frozen = signum == signal.SIGSTOP
        return [Action(Target.LEADERS, signum, tuple(sorted(self._alive)))] if self._alive else []

    def _emptied(self) -> list[Action]:
        if self.phase in (Phase.ABORTING, Phase.STOPPING, Phase.SWEEPING, Phase.KILLING):
            self.phase = Phase.DONE
            self.deadline = None
        return []

    def _ticked(self, now: float) -> list[Action]:
        if self.phase is Phase.KILLING and self.deadline is not None and now < self.deadline:
            return [Action(Target.EVERYTHING, signal.SIGKILL)]  # orphans of the last round have been adopted since
        if self.deadline is None or now < self.deadline:
            return []
        if self.phase in (Phase.FINISHING, Phase.PARTING, Phase.ABORTING):
            return self._stop(now)
        if self.phase is Phase.KILLING:
            self.phase = Phase.DONE  # stuck in the kernel: waiting longer would only hang the job as well
            return []
        return self._kill(now)

    def _hung(self, event: Event, now: float) -> list[Action]:
        """While anything else than running goes on, workers are expected to be silent."""
        if self.phase is not Phase.RUNNING or not self._hang_stops:
            return []
        self._blame(event, now)
        if event.value != signal.SIGABRT:
            return self._stop(now)
        self.phase = Phase.ABORTING
        self.deadline = now + ABORT_GRACE
        return [Action(Target.LEADERS, signal.SIGABRT, tuple(sorted(self._alive)))]

    def _fail(self, event: Event, now: float) -> list[Action]:
        self._blame(event, now)
        if self.phase is not Phase.RUNNING or not self._failure_grace or not self._ranks_left:
            return self._stop(now)  # a job that has not started as a whole has nothing to save
        self.phase = Phase.PARTING
        self.deadline = now + self._failure_grace
        return []

    def _blame(self, event: Event, now: float) -> None:
        if self.cause is None:
            self.cause = Cause(event.kind, event.value, now, event.worker)

    def _finish(self, now: float) -> list[Action]:
        if not self._alive:
            return self._sweep(now)
        self.phase = Phase.FINISHING
        self.deadline = None if self._scheduler_grace is None else now + self._scheduler_grace
        return []

    def _stop(self, now: float) -> list[Action]:
        if not self._alive:
            return self._sweep(now)
        self.phase = Phase.STOPPING
        self.deadline = now + self._grace
        leaders = tuple(sorted(self._alive))
        thaw = [Action(Target.LEADERS, signal.SIGCONT, leaders)] if self.frozen else []
        return [Action(Target.LEADERS, signal.SIGTERM, leaders), *thaw]

    def _sweep(self, now: float) -> list[Action]:
        self.phase = Phase.SWEEPING
        self.deadline = now + STRAY_GRACE
        return [Action(Target.STRAYS, signal.SIGTERM)]

    def _kill(self, now: float) -> list[Action]:
        self.phase = Phase.KILLING
        self.deadline = now + KILL_PATIENCE
        return [Action(Target.EVERYTHING, signal.SIGKILL)]
