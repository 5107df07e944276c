"""Carries out what the machine decides: spawns, waits, reaps and signals, in one loop around one wait."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from ma2l.errors import Ma2lError
from ma2l.supervise.machine import Action, Event, Kind, Machine, Phase, Target

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import Protocol

    from ma2l.linux.wait import Wakeup

    class Companion(Protocol):
        """Work that shares the loop's wait: following the workers' logs on the console."""

        def interests(self) -> list[tuple[int, int]]:
            """Descriptors and poll events it waits for now."""

        @property
        def deadline(self) -> float | None:
            """When it wants to be called even if nothing is ready."""

        def service(self, ready: Sequence[int], now: float) -> None:
            """Work on what is ready, without blocking."""

    class Watchman(Protocol):
        """Tells of ranks that hang (``ma2l.supervise.sentry``)."""

        @property
        def deadline(self) -> float | None:
            """When it wants to be called even if nothing has happened."""

        def service(self, alive: Mapping[int, int], ended: Collection[int], frozen: bool, now: float) -> Event | None:
            """Look around, without blocking; pids by worker, and pids of children that have just been collected."""

    class Effects(Protocol):
        """The outside world of a run; tests hand in a scripted one."""

        def clock(self) -> float:
            """Monotonic seconds."""

        def spawn(self, worker: int) -> int:
            """Start a process of the plan; returns its pid, raises ``Ma2lError`` when that is impossible."""

        def wait(self, fds: Iterable[tuple[int, int]], deadline: float | None) -> Wakeup:
            """Block until a signal, a descriptor or the deadline."""

        def reap(self) -> tuple[list[tuple[int, int]], bool]:
            """Ended children, and whether any child is left."""

        def signal_leader(self, pid: int, signum: int) -> dict[int, bool]:
            """Signal one worker; returns what a shell was running and was signalled too, and whether it heard it."""

        def ask_again(self, pids: Iterable[int]) -> set[int]:
            """SIGTERM to those that have become a program since; returns the others."""

        def children(self) -> list[int]:
            """Own and adopted children."""

        def signal_strays(self, signum: int, leaders: Iterable[int]) -> None:
            """Signal what workers left behind."""

        def kill_everything(self, leaders: Iterable[int]) -> None:
            """SIGKILL to the whole tree."""


class Together:
    """Several companions as one."""

    def __init__(self, *companions: Companion) -> None:
        self._companions = companions

    def interests(self) -> list[tuple[int, int]]:
        """Those of all."""
        return [wanted for companion in self._companions for wanted in companion.interests()]

    @property
    def deadline(self) -> float | None:
        """The earliest."""
        return min((c.deadline for c in self._companions if c.deadline is not None), default=None)

    def service(self, ready: Sequence[int], now: float) -> None:
        """Each in turn."""
        for companion in self._companions:
            companion.service(ready, now)


class Later:
    """A companion of the supervisor's wait that does something once, a moment after ``begin``."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self.deadline: float | None = None

    def begin(self, seconds: float) -> None:
        """Do it in so many seconds from now, and not before that even if an earlier ``begin`` said so."""
        self.deadline = time.monotonic() + seconds

    def interests(self) -> list[tuple[int, int]]:
        """No descriptor."""
        return []

    def service(self, _ready: Sequence[int], now: float) -> None:
        """Do it when it is time to."""
        if self.deadline is not None and now >= self.deadline:
            self.deadline = None
            self._work()


_LOOKS = (0.01, 0.05, 0.2, 1.0, 5.0)
"""Seconds after a stop signal at which we look for what a shell had only just forked then. A subshell stays a fork, and
has heard it."""


class Supervisor:
    """One run of a plan's processes.

    Args:
        machine: decides.
        effects: spawns, waits, reaps and signals.
        guard: descriptor that hangs up when the guard dies, or ``None``.
        companion: shares the wait.
        on_phase: told of every new phase, for messages.
        watchman: looks for hangs while all run; ``None`` where nobody wants to know.
    """

    def __init__(
        self,
        machine: Machine,
        effects: Effects,
        guard: int | None,
        companion: Companion,
        on_phase: Callable[[Phase], None],
        watchman: Watchman | None = None,
    ) -> None:
        self._machine = machine
        self._effects = effects
        self._guard = guard
        self._companion = companion
        self._on_phase = on_phase
        self._watchman = watchman
        self._worker_of: dict[int, int] = {}
        self._heirs: set[int] = set()
        self._unheard: set[int] = set()
        self._looks: list[float] = []
        self.refusal: Ma2lError | None = None
        """Why a process could not be started, or why it was useless to go on."""
        self.pids: dict[int, int] = {}
        """Pid of every process that was started, by its place in the plan."""

    def run(self) -> None:
        """Start everything and return when nothing of the run is left; the machine holds the result."""
        while self._machine.phase is not Phase.DONE:
            to_spawn = self._machine.to_spawn
            if to_spawn is not None:
                self._spawn(to_spawn)
            for event in self._next_events(block=to_spawn is None):
                self._feed(event)

    def call_off(self, error: Ma2lError) -> None:
        """End the run, unless it is ending already: a companion has found out that it is useless to go on."""
        if self._machine.phase in (Phase.STARTING, Phase.RUNNING):
            self.refusal = error
            self._feed(Event(Kind.CALLED_OFF, value=error.exit_code))

    def _spawn(self, worker: int) -> None:
        try:
            pid = self._effects.spawn(worker)
        except Ma2lError as error:
            self.refusal = error
            self._feed(Event(Kind.REFUSED, worker, error.exit_code))
            return
        self._worker_of[pid] = worker
        self.pids[worker] = pid
        self._feed(Event(Kind.SPAWNED, worker, pid))

    def _next_events(self, block: bool) -> list[Event]:
        """What has happened; blocks until something has, except right after a spawn."""
        fds = self._companion.interests()
        if self._guard is not None:
            fds.append((self._guard, 0))  # a hang-up is reported unasked
        wakeup = self._effects.wait(fds, self._deadline(block))
        self._companion.service(wakeup.ready, self._effects.clock())
        if self._looks and self._effects.clock() >= self._looks[0]:
            self._look_again()
        events: list[Event] = []
        if self._guard in wakeup.ready:
            self._guard = None
            events.append(Event(Kind.GUARD_DIED))
        signals = [Event(Kind.SIGNAL, value=s) for s in wakeup.signals if s != signal.SIGCHLD]
        ended, child_left = self._effects.reap()
        reaped = self._reaped(ended, child_left)
        if self._heirs:
            events.append(Event(Kind.HEIRS, value=len(self._heirs.intersection(self._effects.children()))))
        if all(event.value == 0 for event in reaped if event.kind is Kind.EXITED):
            events += reaped + signals  # whichever came first: they ended well, and nobody had told them of the signal
        else:
            events += signals + reaped
        return events + self._watched([pid for pid, _ in ended]) + [Event(Kind.TICK)]

    def _deadline(self, block: bool) -> float | None:
        """When to go on even if nothing happens."""
        wanted = [self._machine.deadline, self._companion.deadline, *self._looks[:1]]
        if self._watchman is not None and self._machine.phase is Phase.RUNNING:
            wanted.append(self._watchman.deadline)
        if not block:
            wanted.append(self._effects.clock())
        return min((deadline for deadline in wanted if deadline is not None), default=None)

    def _reaped(self, ended: Iterable[tuple[int, int]], child_left: bool) -> list[Event]:
        code_of = {self._worker_of.pop(pid): code for pid, code in ended if pid in self._worker_of}
        events = [Event(Kind.EXITED, worker, code_of[worker]) for worker in sorted(code_of, key=self._machine.tie)]
        return events if child_left else [*events, Event(Kind.EMPTY)]

    def _watched(self, ended: Sequence[int]) -> list[Event]:
        alive = {worker: pid for pid, worker in self._worker_of.items()}
        if self._watchman is None or self._machine.phase is not Phase.RUNNING or not alive:
            return []
        event = self._watchman.service(alive, ended, self._machine.frozen, self._effects.clock())
        return [event] if event else []

    def _feed(self, event: Event) -> None:
        before = self._machine.phase
        for action in self._machine.handle(event, self._effects.clock()):
            self._act(action)
        if self._machine.phase is not before:
            self._on_phase(self._machine.phase)

    def _act(self, action: Action) -> None:
        if action.target is Target.EVERYTHING:
            self._effects.kill_everything(self._worker_of)
        elif action.target is Target.STRAYS:
            self._effects.signal_strays(action.signum, self._worker_of)
        else:
            pid_of = {worker: pid for pid, worker in self._worker_of.items()}
            for worker in action.workers:
                if worker in pid_of:
                    heirs = self._effects.signal_leader(pid_of[worker], action.signum)
                    if action.signum == signal.SIGTERM:
                        self._heirs.update(heirs)
                        self._unheard.update(pid for pid, heard in heirs.items() if not heard)
            if self._unheard:
                now = self._effects.clock()
                self._looks = [now + seconds for seconds in _LOOKS]

    def _look_again(self) -> None:
        """Ask once more what had yet to become the program that it was forked for."""
        self._unheard = self._effects.ask_again(self._unheard)
        self._looks = self._looks[1:] if self._unheard else []
