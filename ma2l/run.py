"""One run from beginning to end: wires the stages together. Each stage's own work is in its package."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from functools import partial

from ma2l import log, site
from ma2l.ascend.devices import present
from ma2l.errors import Ma2lError, Stopped, UsageError
from ma2l.execution import Execution, Prepared
from ma2l.harvest import Harvest
from ma2l.linux import processes
from ma2l.linux.wait import STOP_SIGNALS, Waiter
from ma2l.logs.names import Names
from ma2l.logs.select import console_ranks
from ma2l.logs.sink import Sink
from ma2l.mock.decide import decide
from ma2l.plan.make import fitted, make, names_of, needs_master_ip, scheduler_pod
from ma2l.plan.spec import applied
from ma2l.platforms import mindcluster, modelarts, rank, topology
from ma2l.records import dataclass, replace
from ma2l.settings import Settings
from ma2l.supervise import guard
from ma2l.supervise.system import find_program

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import Callable, Optional

    from ma2l.restarts import Policy

    Planner = Callable[["Order", str, str, Waiter, Optional[int]], Prepared]


@dataclass(frozen=True)
class Order:
    """What the user asked for."""

    settings: Settings
    flags: Mapping[str, str]
    """The options of the command line, as text."""
    command: tuple[str, ...]
    environ: Mapping[str, str]


def launch(order: Order, planner: Planner | None = None, detached: bool = False) -> int:
    """Run the command on every device of this node; returns ma2l's exit code.

    Args:
        planner: does everything up to the plan; ``None`` is ``prepare``, which asks the platform who takes part.
        detached: leave the run to itself, and this process with 0, once every worker runs; where that is not possible
            the run stays joined, and says why.

    Raises:
        Ma2lError: it cannot be done.
        Stopped: a stop signal arrived before any worker ran.
    """
    policy = _policy(order.settings)
    already = rank.already(order.environ)
    if already:
        from ma2l import one_rank

        planner = one_rank.take_place(order, already)
    foreground = _detach(order) if detached and not already else None
    ranks, detached = order.settings.console_ranks, foreground is not None
    if detached:
        order = replace(order, settings=replace(order.settings, console_ranks="none"))  # nobody is there to read
    run_id = site.new_run_id()
    run_dir = site.make_run_dir(run_id, order.environ)
    locked = site.hold_run_dir(run_dir)
    pid, started = os.getpid(), processes.start_time(os.getpid())
    guard_fd, mask = guard.start(lambda: site.remove_run_dir(run_dir), _teller(foreground, run_dir))
    waiter = Waiter(mask)

    def on_running(prepared: Prepared) -> None:
        nonlocal foreground
        found = locked and _enter(order, prepared, run_dir, pid, started, detached)
        if foreground is not None:
            from ma2l.supervise import detach

            stop = detach.stop_command(run_id, run_dir) if found else f"kill {pid}"
            detach.hand_over(foreground, prepared.plan, ranks, stop, prepared.names.launcher())
            foreground = None  # a later attempt finds nobody there

    try:
        prepared = (planner or prepare)(order, run_id, run_dir, waiter, guard_fd)
        if order.settings.doctor and prepared.plan.mode != "mock":  # the launchers of its nodes look themselves
            from ma2l.doctor import before, scene

            before.look(scene.Scene(order.settings, prepared.environ, order.command, waiter), prepared.names.npu_info())
        code = _carry_out(order, prepared, policy, waiter, guard_fd, on_running)
        if prepared.at_end:
            prepared.at_end(code)
        return code
    finally:
        site.remove_run_dir(run_dir)


def _carry_out(
    order: Order,
    prepared: Prepared,
    policy: Policy | None,
    waiter: Waiter,
    guard_fd: int | None,
    on_running: Callable[[Prepared], None],
) -> int:
    """Carry the plan out, and again as often as the user allows; returns the exit code of the last attempt."""
    why_never = policy and policy.why_never(order.environ.get("MA2L_RUN_ID", ""), prepared.again is not None)
    if why_never:
        policy = None
        if prepared.plan.mode != "mock":  # its nodes say it themselves
            log.warning(f"--max-restarts has no effect here: {why_never}")
    console, attempt, stop_asked = Sink(1), 1, False
    harvest = Harvest(order.settings, order.command)
    harvest.look_ahead(prepared, order.environ)
    ended: tuple[Prepared, Execution, int] | None = None

    def once(prepared: Prepared) -> tuple[Prepared, Execution, int]:
        _wait_for_npus(order.settings, prepared, waiter, guard_fd)
        if prepared.at_start:
            prepared.at_start()
        harvest.begin(prepared)
        judge = partial(policy.judge, attempt) if policy else None
        on_all_running = partial(on_running, prepared)
        execution = Execution(prepared, order.settings, waiter, guard_fd, on_all_running, console=console, judge=judge)
        return prepared, execution, execution.run()

    while True:
        try:
            ended = once(_following(prepared, attempt - 1, waiter, guard_fd) if ended else prepared)
        except (Ma2lError, Stopped) as error:
            if not ended:
                raise
            stop_asked = isinstance(error, Stopped)
            log.warning(f"not started again: {'this run was asked to stop' if stop_asked else error}")
            ended[1].leave_message()
            break
        prepared, execution, code = ended
        if not (execution.again and prepared.again):
            break
        attempt += 1
        for sink in (console, log.console()):
            sink.resume()
    code = harvest.finish(prepared, code, execution.outcome)
    harvest.send(prepared, stop_asked or execution.stop_asked, order.environ, waiter, guard_fd)
    return code


def _wait_for_npus(settings: Settings, prepared: Prepared, waiter: Waiter, guard_fd: int | None) -> None:
    if prepared.npus and settings.wait_npu:
        from ma2l.ascend import holders

        holders.wait_until_free(prepared.npus, settings.wait_npu, prepared.environ, waiter, guard_fd)


def _following(prepared: Prepared, attempt: int, waiter: Waiter, guard_fd: int | None) -> Prepared:
    """The next attempt.

    Raises:
        Stopped: a stop signal, or the guard's end, has come between the two.
        Ma2lError: it cannot be prepared.
    """
    assert prepared.again is not None, "nobody asks otherwise"
    wakeup = waiter.wait([] if guard_fd is None else [(guard_fd, 0)], time.monotonic())
    stops = [signum for signum in wakeup.signals if signum in STOP_SIGNALS]
    if stops or wakeup.ready:
        raise Stopped(stops[0] if stops else signal.SIGKILL)
    return replace(prepared.again(attempt), npus=prepared.npus)


def _policy(settings: Settings) -> Policy | None:
    """What decides about restarts in place, ``None`` where nobody asked for any.

    Raises:
        ConfigError: ``--restart-on`` is no list of exit codes.
    """
    if not settings.max_restarts and settings.restart_on is None:
        return None
    from ma2l import restarts

    policy = restarts.policy(settings.max_restarts, settings.restart_on)
    if settings.max_restarts:
        return policy
    log.warning("--restart-on has no effect without --max-restarts")
    return None


def _detach(order: Order) -> int | None:
    """Leave the foreground process; returns the link to it, or ``None`` where the run has to stay joined."""
    from ma2l.supervise import detach

    console_ranks(order.settings.console_ranks, world_size=1, terminal=False)  # wrong ones are told before all else
    because = detach.why_not(order.environ, os.getpid())
    if because:
        log.info(f"the run stays joined (--join=True): {because}")
        return None
    return detach.start()


def _teller(foreground: int | None, run_dir: str) -> Callable[[str], None] | None:
    """What the guard of a detached run says goes elsewhere than to standard error."""
    if foreground is None:
        return None
    from functools import partial

    from ma2l.supervise import detach

    return partial(detach.tell, run_dir)


def _enter(order: Order, prepared: Prepared, run_dir: str, pid: int, started: int, detached: bool) -> bool:
    """Let ``ma2l stop`` find this run; returns whether it can."""
    from ma2l import runs
    from ma2l.secrets import mask_argv

    run = runs.Run(
        run_id=prepared.plan.run_id,
        pid=pid,
        started=started,
        namespace=runs.pid_namespace(),
        log_dir=prepared.plan.log_dir,
        launcher_log=prepared.names.launcher(),
        command=mask_argv(order.command),
        detached=detached,
    )
    return runs.enter(run_dir, run)


def prepare(order: Order, run_id: str, run_dir: str, waiter: Waiter, guard_fd: int | None) -> Prepared:
    """Everything up to the plan; nothing runs yet.

    Args:
        run_dir: private directory of this run on this node.

    Raises:
        Ma2lError, Stopped: as ``launch``.
    """
    settings, environ, command = fitted(order.settings, order.command), dict(order.environ), order.command
    shape, announcement = decide(settings, environ)
    if shape:
        from ma2l.mock import stage

        log.warning(announcement)
        log_dir = site.writable(os.path.abspath(settings.log_dir or site.default_log_dir(run_id)), run_id)
        settings = replace(settings, log_dir=log_dir) if settings.log_dir else settings
        job = stage.set_up(shape, settings, environ, f"{run_dir}/mock", log_dir)
        if shape.nodes > 1:
            from ma2l.mock import launchers

            find_program(command[0], environ.get("PATH", os.defpath))
            plan = launchers.plan(job, order.flags, command, run_id, log_dir)
            return Prepared(plan, environ, Names(log_dir, "mock"), corrected=launchers.judged)
        environ = applied(job.nodes[0].environ, environ)
    if settings.parameters:
        from ma2l import parameters

        command = parameters.appended(command, settings.parameters, modelarts.channels(environ))
    program = find_program(command[0], environ.get("PATH", os.defpath))
    facts = {"program": program, "run_id": run_id, "run_dir": run_dir}
    real = shape is None
    if settings.mode == "mpirun":
        if settings.agent:
            raise UsageError("use --agent in the mode mpirun", "there mpirun starts the ranks", "choose one of them")
        from ma2l import mpirun

        prepared = mpirun.prepare(settings, environ, command, facts, waiter, guard_fd)
        return prepared if real else replace(prepared, npus=())
    if settings.host or settings.hostfile:
        raise UsageError("use -H or --hostfile", f"the mode {settings.mode} starts no other host", "add --mode mpirun")
    if settings.keep_going or settings.mpi_args:
        raise UsageError("use --keep-going or --mpi-args", f"no mpirun in mode {settings.mode}", "add --mode mpirun")
    if mindcluster.is_scheduler_pod(environ):
        here = site.gather(settings, environ, mindcluster.MINDCLUSTER, 0, **facts, master_ip="", restarts=0)
        return Prepared(
            scheduler_pod(settings, command, here), environ, Names(here.log_dir, "scheduler", attempt=here.attempt)
        )

    def planned() -> tuple[topology.Topology, Prepared]:
        found = topology.find(settings, environ, waiter, guard_fd)
        prepared = _of_topology(settings, environ, command, facts, waiter, found)
        return found, replace(prepared, npus=present(found.visible.kept)) if real else prepared

    found, prepared = planned()
    if found.platform.text(environ, "process_starts") in ("", "0", "1"):
        return prepared
    return _settled(settings, environ, waiter, guard_fd, found, prepared, planned)


def _settled(
    settings: Settings,
    environ: Mapping[str, str],
    waiter: Waiter,
    guard_fd: int | None,
    found: topology.Topology,
    prepared: Prepared,
    planned: Callable[[], tuple[topology.Topology, Prepared]],
) -> Prepared:
    """After an in-place restart by the platform: the plan of a table that was given time to change, and is watched."""
    from ma2l.platforms import stale

    while found.read:
        watch = stale.TableWatch(*found.read, stale.links_timeout(environ, found.platform))
        before = stale.used_before(prepared.plan.log_dir)
        new = before and before.isdisjoint(file.sha256() for file in prepared.plan.files)
        if not watch.settle(0.0 if new else settings.rank_table_settle, waiter, guard_fd):
            return replace(prepared, watch=watch)
        watch.close()
        found, prepared = planned()
    return prepared


def _of_topology(
    settings: Settings,
    environ: Mapping[str, str],
    command: tuple[str, ...],
    facts: Mapping[str, str],
    waiter: Waiter,
    found: topology.Topology,
) -> Prepared:
    """The plan of a run whose participants are known, and of its later attempts."""
    needed = needs_master_ip(settings, found, environ, command)
    master_ip = site.address_of(found.master or "127.0.0.1", waiter) if needed else ""
    node, again = found.cluster.node_number, len(found.cluster.nodes) == 1
    job = found.platform.start_of_job(environ)

    def attempt(restarts: int) -> Prepared:
        own = {**facts, "run_dir": site.attempt_dir(facts["run_dir"], restarts)}
        here = site.gather(settings, environ, found.platform, node, **own, master_ip=master_ip, restarts=restarts)
        names, plan = names_of(settings, found, here), make(settings, found, command, here)
        if settings.agent:
            from ma2l.agent.prepare import hand_over

            plan = hand_over(plan, settings.agent, names, here)
        return Prepared(plan, environ, names, again=attempt if again else None, cluster=found.cluster, job=job)

    return attempt(0)
