"""Histories fed through the state machine: what happened on the left, what must be done on the right."""

from __future__ import annotations

import signal

import pytest

from ma2l.supervise.machine import (
    ABORT_GRACE,
    HANG_CODE,
    KILL_PATIENCE,
    SCHEDULER_GRACE,
    STRAY_GRACE,
    Action,
    Event,
    Kind,
    Machine,
    Phase,
    Target,
)

GRACE = 25.0


def started(workers: int, scheduler: bool = False, hang_stops: bool = True) -> Machine:
    """A machine whose workers all run; a scheduler is worker 0."""
    machine = Machine([scheduler and i == 0 for i in range(workers)], GRACE, hang_stops=hang_stops)
    for worker in range(workers):
        assert machine.to_spawn == worker
        machine.handle(Event(Kind.SPAWNED, worker, 100 + worker), 0.0)
    assert machine.phase is Phase.RUNNING
    assert machine.to_spawn is None
    return machine


def exited(worker: int, returncode: int) -> Event:
    return Event(Kind.EXITED, worker, returncode)


def stop(signum: int = signal.SIGTERM) -> Event:
    return Event(Kind.SIGNAL, value=signum)


def ask(*workers: int) -> list[Action]:
    return [Action(Target.LEADERS, signal.SIGTERM, workers)]


SWEEP = [Action(Target.STRAYS, signal.SIGTERM)]
KILL = [Action(Target.EVERYTHING, signal.SIGKILL)]
EMPTY = Event(Kind.EMPTY)
TICK = Event(Kind.TICK)


def test_all_ranks_end_well() -> None:
    machine = started(2)
    assert machine.handle(exited(1, 0), 1.0) == []
    assert machine.deadline is None
    assert machine.handle(exited(0, 0), 2.0) == SWEEP
    machine.handle(EMPTY, 2.0)
    assert (machine.phase, machine.exit_code) == (Phase.DONE, 0)


def test_first_failure_stops_the_others_and_gives_its_code() -> None:
    machine = started(3)
    assert machine.handle(exited(1, 7), 5.0) == ask(0, 2)
    assert machine.deadline == 5.0 + GRACE
    assert machine.handle(exited(0, -signal.SIGTERM), 5.1) == []
    assert machine.handle(exited(2, 9), 5.2) == SWEEP
    assert machine.deadline == 5.2 + STRAY_GRACE
    machine.handle(EMPTY, 5.2)
    assert machine.exit_code == 7
    assert machine.cause is not None
    assert (machine.cause.worker, machine.cause.at) == (1, 5.0)


def test_death_by_signal_is_128_plus_signal() -> None:
    machine = started(1)
    machine.handle(exited(0, -signal.SIGKILL), 1.0)
    assert machine.exit_code == 137


def test_stop_signal_before_any_failure_wins_even_over_zero() -> None:
    machine = started(2)
    assert machine.handle(stop(signal.SIGINT), 1.0) == ask(0, 1)
    machine.handle(exited(0, 0), 1.1)
    assert machine.handle(exited(1, 0), 1.2) == SWEEP
    machine.handle(EMPTY, 1.2)
    assert machine.exit_code == 130


def test_failure_before_the_stop_signal_wins() -> None:
    machine = started(2)
    machine.handle(exited(0, 3), 1.0)
    assert machine.handle(stop(), 1.1) == []
    assert machine.exit_code == 3


def test_signal_after_all_ended_well_changes_nothing() -> None:
    machine = started(1)
    machine.handle(exited(0, 0), 1.0)
    assert machine.handle(stop(), 1.1) == []
    machine.handle(EMPTY, 1.2)
    assert machine.exit_code == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_second_stop_signal_means_now(second: int) -> None:
    machine = started(2)
    machine.handle(stop(), 1.0)
    assert machine.handle(stop(second), 1.1) == KILL
    assert machine.phase is Phase.KILLING
    assert machine.exit_code == 143


def test_grace_over_kills_and_never_before() -> None:
    machine = started(1)
    machine.handle(stop(), 1.0)
    assert machine.handle(TICK, 1.0 + GRACE - 0.01) == []
    assert machine.handle(TICK, 1.0 + GRACE) == KILL


def test_strays_are_asked_then_killed() -> None:
    machine = started(1)
    machine.handle(exited(0, 0), 1.0)
    assert machine.handle(TICK, 1.0 + STRAY_GRACE) == KILL
    assert machine.exit_code == 0


def test_killing_goes_on_while_orphans_appear_and_gives_up_on_the_stuck() -> None:
    machine = started(1)
    machine.handle(stop(), 0.0)
    machine.handle(stop(), 0.0)
    assert machine.handle(TICK, 1.0) == KILL
    assert machine.handle(TICK, KILL_PATIENCE) == []
    assert machine.phase is Phase.DONE


def test_stop_between_two_spawns_starts_no_more() -> None:
    machine = Machine([False] * 3, GRACE)
    machine.handle(Event(Kind.SPAWNED, 0, 100), 0.0)
    assert machine.handle(stop(), 0.1) == ask(0)
    assert machine.to_spawn is None


def test_failure_between_two_spawns_starts_no_more() -> None:
    machine = Machine([False] * 3, GRACE)
    machine.handle(Event(Kind.SPAWNED, 0, 100), 0.0)
    machine.handle(exited(0, 5), 0.1)
    machine.handle(EMPTY, 0.1)
    assert (machine.phase, machine.to_spawn, machine.exit_code) == (Phase.DONE, None, 5)


def test_early_success_between_two_spawns_does_not_end_the_run() -> None:
    machine = Machine([False] * 2, GRACE)
    machine.handle(Event(Kind.SPAWNED, 0, 100), 0.0)
    machine.handle(exited(0, 0), 0.1)
    machine.handle(EMPTY, 0.1)
    assert machine.to_spawn == 1


def test_a_refused_spawn_stops_what_was_started() -> None:
    machine = Machine([False] * 3, GRACE)
    machine.handle(Event(Kind.SPAWNED, 0, 100), 0.0)
    assert machine.handle(Event(Kind.REFUSED, 1, 199), 0.1) == ask(0)
    assert (machine.to_spawn, machine.exit_code) == (None, 199)


def test_guard_death_kills_at_once() -> None:
    machine = started(2)
    assert machine.handle(Event(Kind.GUARD_DIED), 1.0) == KILL
    assert machine.exit_code == 137


def test_notices_go_to_all_leaders_and_stop_nothing() -> None:
    machine = started(2)
    assert machine.handle(stop(signal.SIGUSR1), 1.0) == [Action(Target.LEADERS, signal.SIGUSR1, (0, 1))]
    assert machine.phase is Phase.RUNNING


def test_terminal_stop_freezes_with_a_signal_that_session_leaders_obey() -> None:
    machine = started(1)
    assert machine.handle(stop(signal.SIGTSTP), 1.0) == [Action(Target.LEADERS, signal.SIGSTOP, (0,))]


def test_scheduler_gets_time_to_leave_by_itself() -> None:
    machine = started(3, scheduler=True)
    machine.handle(exited(1, 0), 1.0)
    assert machine.handle(exited(2, 0), 2.0) == []
    assert (machine.phase, machine.deadline) == (Phase.FINISHING, 2.0 + SCHEDULER_GRACE)
    assert machine.handle(exited(0, 0), 3.0) == SWEEP
    machine.handle(EMPTY, 3.0)
    assert machine.exit_code == 0


def test_lingering_scheduler_is_stopped_and_is_no_failure() -> None:
    machine = started(2, scheduler=True)
    machine.handle(exited(1, 0), 1.0)
    assert machine.handle(TICK, 1.0 + SCHEDULER_GRACE) == ask(0)
    machine.handle(exited(0, -signal.SIGTERM), 12.0)
    machine.handle(EMPTY, 12.0)
    assert machine.exit_code == 0


def test_scheduler_failure_is_a_failure() -> None:
    machine = started(2, scheduler=True)
    assert machine.handle(exited(0, 1), 1.0) == ask(1)
    assert machine.exit_code == 1


def test_scheduler_failure_after_all_ranks_ended_well_is_none() -> None:
    machine = started(2, scheduler=True)
    machine.handle(exited(1, 0), 1.0)
    assert machine.handle(exited(0, 1), 2.0) == SWEEP
    machine.handle(EMPTY, 2.0)
    assert machine.exit_code == 0


def test_scheduler_that_other_nodes_need_is_not_hurried() -> None:
    machine = Machine([True, False], GRACE, scheduler_grace=None)
    for worker in range(2):
        machine.handle(Event(Kind.SPAWNED, worker, 100), 0.0)
    machine.handle(exited(1, 0), 1.0)
    assert (machine.phase, machine.deadline) == (Phase.FINISHING, None)
    assert machine.handle(TICK, 1e6) == []


def test_a_rank_is_blamed_before_a_scheduler_that_was_reaped_with_it() -> None:
    machine = started(3, scheduler=True)
    assert sorted((0, 2, 1), key=machine.tie) == [1, 2, 0]


def test_scheduler_gone_early_with_zero_is_not_waited_for() -> None:
    machine = started(2, scheduler=True)
    assert machine.handle(exited(0, 0), 1.0) == []
    assert machine.handle(exited(1, 0), 2.0) == SWEEP


def test_frozen_workers_are_thawed_to_hear_the_stop() -> None:
    machine = started(1)
    machine.handle(stop(signal.SIGTSTP), 1.0)
    assert machine.handle(stop(), 2.0) == [*ask(0), Action(Target.LEADERS, signal.SIGCONT, (0,))]


def test_a_terminal_stop_that_shows_up_after_the_stop_freezes_nobody() -> None:
    machine = started(1)
    machine.handle(stop(), 1.0)
    assert machine.handle(stop(signal.SIGTSTP), 1.0) == []


def test_heirs_of_a_shell_keep_the_run_from_being_swept() -> None:
    machine = started(1)
    machine.handle(stop(), 1.0)
    machine.handle(Event(Kind.HEIRS, value=1), 1.1)
    assert machine.handle(exited(0, -15), 1.1) == []
    assert machine.handle(Event(Kind.HEIRS, value=0), 9.0) == SWEEP


def test_a_run_that_is_called_off_stops_and_gives_the_code_of_the_reason() -> None:
    machine = started(2)
    assert machine.handle(Event(Kind.CALLED_OFF, value=203), 1.0) == ask(0, 1)
    machine.handle(exited(0, 1), 1.1)
    assert machine.handle(exited(1, 0), 1.2) == SWEEP
    machine.handle(EMPTY, 1.2)
    assert machine.exit_code == 203


def test_what_has_ended_well_is_not_called_off_any_more() -> None:
    machine = started(1)
    machine.handle(exited(0, 0), 1.0)
    assert machine.handle(Event(Kind.CALLED_OFF, value=203), 1.1) == []
    machine.handle(EMPTY, 1.2)
    assert machine.exit_code == 0


def test_a_stop_signal_is_remembered_whatever_the_cause() -> None:
    machine = started(2)
    machine.handle(exited(0, 3), 1.0)
    assert not machine.stop_asked
    machine.handle(stop(), 1.1)
    assert machine.stop_asked


PARTING = 720.0


def dying(workers: int, scheduler: bool = False, hang_stops: bool = False) -> Machine:
    """As ``started``; the survivors of a failure save a dying checkpoint."""
    schedulers = [scheduler and i == 0 for i in range(workers)]
    machine = Machine(schedulers, GRACE, failure_grace=PARTING, hang_stops=hang_stops)
    for worker in range(workers):
        machine.handle(Event(Kind.SPAWNED, worker, 100 + worker), 0.0)
    return machine


def test_survivors_of_a_failure_may_save_before_they_are_asked_to_stop() -> None:
    machine = dying(3)
    assert machine.handle(exited(1, 7), 5.0) == []
    assert (machine.phase, machine.deadline) == (Phase.PARTING, 5.0 + PARTING)
    assert machine.handle(TICK, 5.0 + PARTING - 0.1) == []
    assert machine.handle(TICK, 5.0 + PARTING) == ask(0, 2)
    assert (machine.phase, machine.deadline) == (Phase.STOPPING, 5.0 + PARTING + GRACE)
    assert machine.exit_code == 7


def test_a_run_whose_survivors_have_saved_is_over_at_once() -> None:
    machine = dying(3)
    machine.handle(exited(1, 7), 5.0)
    assert machine.handle(exited(0, 0), 6.0) == []
    assert machine.handle(exited(2, 1), 7.0) == SWEEP
    machine.handle(EMPTY, 7.0)
    assert (machine.phase, machine.exit_code) == (Phase.DONE, 7)


def test_a_stop_signal_ends_the_time_for_a_dying_checkpoint_and_a_second_one_everything() -> None:
    machine = dying(2)
    machine.handle(exited(1, 7), 5.0)
    assert machine.handle(stop(), 6.0) == ask(0)
    assert machine.deadline == 6.0 + GRACE
    assert machine.handle(stop(), 6.1) == KILL
    assert machine.exit_code == 7


def test_a_scheduler_has_no_dying_checkpoint() -> None:
    machine = dying(3, scheduler=True)
    assert machine.handle(exited(1, 7), 5.0) == []
    assert machine.handle(exited(2, 0), 6.0) == ask(0)
    machine = dying(2, scheduler=True)
    assert machine.handle(exited(1, 7), 5.0) == ask(0)


def test_frozen_survivors_are_thawed_when_their_time_is_over() -> None:
    machine = dying(2)
    machine.handle(stop(signal.SIGTSTP), 1.0)
    machine.handle(exited(1, -9), 5.0)
    assert machine.handle(TICK, 5.0 + PARTING) == [*ask(0), Action(Target.LEADERS, signal.SIGCONT, (0,))]


def test_a_job_that_has_not_started_as_a_whole_has_nothing_to_save() -> None:
    machine = Machine([False] * 3, GRACE, failure_grace=PARTING)
    for worker in range(2):
        machine.handle(Event(Kind.SPAWNED, worker, 100), 0.0)
    assert machine.handle(exited(0, 5), 0.1) == ask(1)
    machine = Machine([False] * 3, GRACE, failure_grace=PARTING)
    machine.handle(Event(Kind.SPAWNED, 0, 100), 0.0)
    assert machine.handle(Event(Kind.REFUSED, 1, 199), 0.1) == ask(0)


def test_a_stop_signal_before_any_failure_leaves_no_time_for_dying() -> None:
    machine = dying(2)
    assert machine.handle(stop(), 1.0) == ask(0, 1)
    machine.handle(exited(0, 9), 1.1)
    assert (machine.phase, machine.exit_code) == (Phase.STOPPING, 143)


def test_guard_death_ends_the_time_for_a_dying_checkpoint() -> None:
    machine = dying(2)
    machine.handle(exited(1, 7), 5.0)
    assert machine.handle(Event(Kind.GUARD_DIED), 6.0) == KILL


def hang(worker: int, signum: int = signal.SIGTERM) -> Event:
    return Event(Kind.HANG, worker, signum)


def test_a_hang_stops_the_workers_and_has_a_code_that_is_worth_a_retry() -> None:
    machine = started(3)
    assert machine.handle(hang(1), 60.0) == ask(0, 1, 2)
    assert machine.deadline == 60.0 + GRACE
    for worker in range(3):
        machine.handle(exited(worker, 0), 61.0)
    machine.handle(EMPTY, 61.0)
    assert (machine.phase, machine.exit_code) == (Phase.DONE, HANG_CODE)
    assert machine.cause is not None
    assert (machine.cause.kind, machine.cause.worker) == (Kind.HANG, 1)


def test_a_hang_changes_nothing_where_it_is_only_to_be_seen() -> None:
    machine = started(2, hang_stops=False)
    assert machine.handle(hang(1, signal.SIGABRT), 60.0) == []
    assert (machine.phase, machine.cause, machine.deadline) == (Phase.RUNNING, None, None)


def test_a_failure_before_a_hang_wins_and_workers_that_stop_do_not_hang() -> None:
    machine = started(2)
    machine.handle(exited(0, 3), 1.0)
    assert machine.handle(hang(1), 60.0) == []
    assert machine.exit_code == 3


ABORT = [Action(Target.LEADERS, signal.SIGABRT, (0, 1))]


def test_workers_that_print_their_stacks_are_asked_nothing_else_until_they_have_had_time() -> None:
    machine = started(2)
    assert machine.handle(hang(0, signal.SIGABRT), 60.0) == ABORT
    assert (machine.phase, machine.deadline) == (Phase.ABORTING, 60.0 + ABORT_GRACE)
    assert machine.handle(exited(1, -signal.SIGABRT), 60.1) == []
    assert machine.handle(TICK, 60.0 + ABORT_GRACE) == ask(0)
    assert (machine.phase, machine.deadline) == (Phase.STOPPING, 60.0 + ABORT_GRACE + GRACE)
    assert machine.exit_code == HANG_CODE


@pytest.mark.parametrize(
    ("signum", "phase", "actions"),
    [(signal.SIGTERM, Phase.STOPPING, ask(0, 1)), (signal.SIGABRT, Phase.ABORTING, ABORT)],
)
def test_a_hang_leaves_no_time_for_a_dying_checkpoint(signum: int, phase: Phase, actions: list[Action]) -> None:
    machine = dying(2, hang_stops=True)
    assert machine.handle(hang(0, signum), 60.0) == actions
    assert machine.handle(exited(1, -signum), 60.1) == []
    assert (machine.phase, machine.exit_code) == (phase, HANG_CODE)


def test_survivors_that_save_a_dying_checkpoint_do_not_hang() -> None:
    machine = dying(3, hang_stops=True)
    machine.handle(exited(1, 7), 5.0)
    assert machine.handle(hang(0, signal.SIGABRT), 60.0) == []
    assert (machine.phase, machine.exit_code) == (Phase.PARTING, 7)


def test_workers_that_have_printed_their_stacks_are_not_waited_for() -> None:
    machine = started(2)
    machine.handle(hang(0, signal.SIGABRT), 60.0)
    machine.handle(exited(0, -signal.SIGABRT), 60.1)
    assert machine.handle(exited(1, -signal.SIGABRT), 60.2) == SWEEP
    machine.handle(EMPTY, 60.2)
    assert (machine.phase, machine.exit_code) == (Phase.DONE, HANG_CODE)


def test_a_stop_signal_cuts_the_printing_short_and_does_not_rename_the_cause() -> None:
    machine = started(2)
    machine.handle(hang(0, signal.SIGABRT), 60.0)
    assert machine.handle(stop(), 60.1) == ask(0, 1)
    assert machine.handle(stop(), 60.2) == KILL
    assert machine.exit_code == HANG_CODE


def test_nobody_is_frozen_who_is_to_print_his_stacks() -> None:
    machine = started(2)
    machine.handle(hang(0, signal.SIGABRT), 60.0)
    assert machine.handle(stop(signal.SIGTSTP), 60.1) == []


def test_the_death_of_the_guard_ends_the_printing() -> None:
    machine = started(2)
    machine.handle(hang(0, signal.SIGABRT), 60.0)
    assert machine.handle(Event(Kind.GUARD_DIED), 60.1) == KILL
    assert machine.exit_code == HANG_CODE


def test_a_machine_knows_whether_somebody_has_frozen_its_workers() -> None:
    machine = started(1)
    machine.handle(stop(signal.SIGTSTP), 1.0)
    assert machine.frozen
    machine.handle(stop(signal.SIGCONT), 2.0)
    assert not machine.frozen
