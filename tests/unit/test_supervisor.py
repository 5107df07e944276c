"""The whole supervisor against a scripted world: fake clock, spawner, killer and waits."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ma2l.errors import CommandNotFound
from ma2l.linux.wait import Wakeup
from ma2l.supervise.machine import HANG_CODE, KILL_PATIENCE, STRAY_GRACE, Event, Kind, Machine, Phase
from ma2l.supervise.supervisor import Supervisor

GUARD = 77


@dataclass
class Step:
    """One return of the wait: how much time has passed, what arrived, who has ended by now."""

    after: float = 0.0
    signals: tuple[int, ...] = ()
    ready: tuple[int, ...] = ()
    ended: tuple[tuple[int, int], ...] = ()
    """Pairs of worker and return code."""


@dataclass
class World:
    """Plays the steps; worker N has pid 1000 + N."""

    steps: deque[Step]
    refuse: int = -1
    strays: int = 0
    heirs: tuple[int, ...] = ()
    deaf_until: float = 0.0
    """Until then the heirs are no program yet."""
    stuck: frozenset[int] = frozenset()
    """Workers in uninterruptible sleep: not even SIGKILL ends them."""
    now: float = 0.0
    alive: set[int] = field(default_factory=set)
    done: list[str] = field(default_factory=list)
    ended: list[tuple[int, int]] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def spawn(self, worker: int) -> int:
        if worker == self.refuse:
            raise CommandNotFound("run x", "gone")
        self.done.append(f"spawn {worker}")
        self.alive.add(1000 + worker)
        return 1000 + worker

    def wait(self, fds: Iterable[tuple[int, int]], deadline: float | None) -> Wakeup:
        if self.ended:
            return Wakeup((signal.SIGCHLD,))
        if deadline is not None and deadline <= self.now:
            return Wakeup()
        if not self.steps:
            assert deadline is not None, "the run would hang: nothing is left to happen and there is no deadline"
            self.now = deadline
            return Wakeup()
        step = self.steps.popleft()
        self.now += step.after
        self.ended += [(1000 + worker, code) for worker, code in step.ended]
        return Wakeup(step.signals, step.ready)

    def reap(self) -> tuple[list[tuple[int, int]], bool]:
        ended, self.ended = self.ended, []
        self.alive -= {pid for pid, _ in ended}
        return ended, bool(self.alive or self.strays)

    def signal_leader(self, pid: int, signum: int) -> dict[int, bool]:
        self.done.append(f"{signal.Signals(signum).name} {pid - 1000}")
        return dict.fromkeys(self.heirs, self.now >= self.deaf_until)

    def ask_again(self, pids: Iterable[int]) -> set[int]:
        if self.now < self.deaf_until:
            return set(pids)
        self.done.append(f"SIGTERM heirs {sorted(pids)}")
        return set()

    def children(self) -> list[int]:
        return [*self.alive, *(pid for pid in self.heirs if self.strays)]  # adopted once the shell has died

    def signal_strays(self, signum: int, leaders: Iterable[int]) -> None:
        self.done.append(f"{signal.Signals(signum).name} strays")

    def kill_everything(self, leaders: Iterable[int]) -> None:
        self.done.append("kill")
        self.ended += [(pid, -signal.SIGKILL) for pid in self.alive if pid - 1000 not in self.stuck]
        self.ended += [(1, -signal.SIGKILL)] * self.strays
        self.strays = 0


class Silent:
    """A companion with nothing to do."""

    deadline: float | None = None

    def interests(self) -> list[tuple[int, int]]:
        return []

    def service(self, ready: Sequence[int], now: float) -> None:
        return


def play(
    workers: int, *steps: Step, refuse: int = -1, strays: int = 0, heirs: tuple[int, ...] = (), deaf_until: float = 0.0
) -> tuple[Machine, World, list[Phase]]:
    """Run a supervisor over the steps and return what it did."""
    world = World(deque(steps), refuse, strays, heirs, deaf_until)
    machine = Machine([False] * workers, grace=10.0)
    phases: list[Phase] = []
    Supervisor(machine, world, GUARD, Silent(), phases.append).run()
    return machine, world, phases


def test_success() -> None:
    machine, world, phases = play(2, Step(1.0, ended=((0, 0),)), Step(1.0, ended=((1, 0),)))
    assert machine.exit_code == 0
    assert world.done == ["spawn 0", "spawn 1", "SIGTERM strays"]
    assert phases == [Phase.RUNNING, Phase.SWEEPING, Phase.DONE]


def test_a_signal_in_the_moment_in_which_all_have_ended_well_changes_nothing() -> None:
    machine, _, phases = play(2, Step(1.0, signals=(signal.SIGTERM,), ended=((0, 0), (1, 0))))
    assert machine.exit_code == 0
    assert phases == [Phase.RUNNING, Phase.SWEEPING, Phase.DONE]


def test_a_signal_in_the_moment_of_a_failure_is_the_cause() -> None:
    machine, _, _ = play(2, Step(1.0, signals=(signal.SIGTERM,), ended=((0, 7), (1, 0))))
    assert machine.exit_code == 143


def test_lowest_rank_is_the_first_failure_of_one_reaping() -> None:
    machine, _, _ = play(3, Step(1.0, ended=((2, 9), (1, 5))), Step(0.1, ended=((0, -15),)))
    assert machine.exit_code == 5


def test_workers_that_ignore_sigterm_are_killed_after_the_grace() -> None:
    machine, world, _ = play(1, Step(1.0, signals=(signal.SIGTERM,)))
    assert world.done == ["spawn 0", "SIGTERM 0", "kill"]
    assert world.now == 11.0
    assert machine.exit_code == 143


def test_ma2l_leaves_as_soon_as_the_last_worker_is_gone() -> None:
    _, world, _ = play(2, Step(1.0, signals=(signal.SIGTERM,)), Step(0.5, ended=((0, -15), (1, -15))))
    assert world.now == 1.5


def test_strays_get_their_own_grace_before_sigkill() -> None:
    _, world, phases = play(1, Step(1.0, ended=((0, 0),)), strays=1)
    assert world.done[-2:] == ["SIGTERM strays", "kill"]
    assert phases[-3:] == [Phase.SWEEPING, Phase.KILLING, Phase.DONE]


def test_what_a_shell_was_running_has_the_whole_grace_after_the_shell_has_died() -> None:
    asked = Step(1.0, signals=(signal.SIGTERM,))
    _, world, phases = play(1, asked, Step(0.1, ended=((0, -15),)), strays=1, heirs=(2000,))
    assert world.done == ["spawn 0", "SIGTERM 0", "kill"]
    assert world.now == 11.0
    assert Phase.SWEEPING not in phases


def test_guard_death_is_noticed_once() -> None:
    machine, world, _ = play(2, Step(1.0, ready=(GUARD,)), Step())
    assert world.done == ["spawn 0", "spawn 1", "kill", "kill"]
    assert machine.exit_code == 137


def test_nothing_hangs_when_the_first_spawn_is_refused() -> None:
    machine, world, _ = play(2, refuse=0)
    assert machine.exit_code == 127
    assert world.now == 0.0


def test_refused_spawn_stops_the_started() -> None:
    machine, world, _ = play(3, Step(0.2, ended=((0, -15), (1, -15))), refuse=2)
    assert world.done[:4] == ["spawn 0", "spawn 1", "SIGTERM 0", "SIGTERM 1"]
    assert machine.exit_code == 127


def test_what_a_shell_had_only_just_forked_is_asked_again_once_it_is_a_program() -> None:
    asked = Step(1.0, signals=(signal.SIGTERM,))
    _, world, _ = play(1, asked, heirs=(2000,), deaf_until=1.03)
    assert world.done == ["spawn 0", "SIGTERM 0", "SIGTERM heirs [2000]", "kill"]


def test_a_subshell_which_never_becomes_a_program_is_not_looked_at_for_ever() -> None:
    asked = Step(1.0, signals=(signal.SIGTERM,))
    _, world, _ = play(1, asked, heirs=(2000,), deaf_until=1e9)
    assert (world.done, world.now) == (["spawn 0", "SIGTERM 0", "kill"], 11.0)


def test_a_process_stuck_in_the_kernel_is_given_up_after_a_bounded_wait() -> None:
    world = World(deque([Step(1.0, signals=(signal.SIGTERM,))]), stuck=frozenset({1}))
    machine = Machine([False] * 3, grace=10.0)
    Supervisor(machine, world, GUARD, Silent(), lambda phase: None).run()
    assert (world.now, machine.phase, machine.exit_code) == (1.0 + 10.0 + KILL_PATIENCE, Phase.DONE, 143)
    assert world.alive == {1001}
    assert [end.worker for end in machine.ended] == [0, 2]


def test_a_stuck_stray_does_not_change_the_code_of_a_run_that_ended_well() -> None:
    world = World(deque([Step(1.0, ended=((0, 0),))]), stuck=frozenset({1}))
    world.alive.add(1001)  # adopted
    machine = Machine([False], grace=10.0)
    Supervisor(machine, world, GUARD, Silent(), lambda phase: None).run()
    assert machine.exit_code == 0
    assert world.now == 1.0 + STRAY_GRACE + KILL_PATIENCE


@dataclass
class Watchman:
    """Finds a hang at a given time."""

    deadline: float | None = 60.0
    seen: list[tuple[dict[int, int], list[int], bool]] = field(default_factory=list)

    def service(self, alive: Mapping[int, int], ended: Collection[int], frozen: bool, now: float) -> Event | None:
        self.seen.append((dict(alive), list(ended), frozen))
        if self.deadline is None or now < self.deadline:
            return None
        self.deadline = None
        return Event(Kind.HANG, 1, signal.SIGTERM)


def watched(watchman: Watchman, *steps: Step, hang_stops: bool = True) -> tuple[Machine, World]:
    world = World(deque(steps))
    machine = Machine([False] * 2, grace=10.0, hang_stops=hang_stops)
    Supervisor(machine, world, GUARD, Silent(), lambda phase: None, watchman).run()
    return machine, world


def test_a_hang_is_found_at_the_watchmans_deadline_and_stops_the_run() -> None:
    machine, world = watched(Watchman())
    assert world.done == ["spawn 0", "spawn 1", "SIGTERM 0", "SIGTERM 1", "kill"]
    assert (world.now, machine.exit_code) == (70.0, HANG_CODE)


def test_a_hang_that_is_only_to_be_seen_stops_nothing() -> None:
    done = Step(100.0, ended=((0, 0), (1, 0)))
    machine, world = watched(Watchman(), done, hang_stops=False)
    assert world.done == ["spawn 0", "spawn 1", "SIGTERM strays"]
    assert machine.exit_code == 0


def test_a_watchman_looks_only_while_everything_runs_and_knows_who_is_left() -> None:
    watchman = Watchman(None)
    frozen = Step(1.0, signals=(signal.SIGTSTP,))
    watched(watchman, frozen, Step(1.0, ended=((0, 0),)), Step(1.0, signals=(signal.SIGTERM,)), Step(1.0), Step(1.0))
    both = {0: 1000, 1: 1001}
    assert watchman.seen == [
        (both, [], False),
        (both, [], False),  # the signal that freezes the workers has just arrived
        ({1: 1001}, [1000], True),
        ({1: 1001}, [], True),
    ]
