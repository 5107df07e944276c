"""One run from beginning to end: wires the stages together. Each stage's own work is in its package."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ma2l import log, site
from ma2l.become import become
from ma2l.execution import Execution, Prepared
from ma2l.linux.wait import Waiter
from ma2l.logs.names import Names
from ma2l.mock.decide import decide
from ma2l.plan.make import make, names_of, needs_master_ip, scheduler_pod
from ma2l.plan.spec import applied
from ma2l.platforms import mindcluster, rank, topology
from ma2l.settings import Settings
from ma2l.supervise import guard
from ma2l.supervise.system import find_program

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import Callable, Optional

    Planner = Callable[["Order", str, str, Waiter, Optional[int]], Prepared]


@dataclass(frozen=True)
class Order:
    """What the user asked for."""

    settings: Settings
    flags: Mapping[str, str]
    """The options of the command line, as text."""
    command: tuple[str, ...]
    environ: Mapping[str, str]


def launch(order: Order, planner: Planner | None = None) -> int:
    """Run the command on every device of this node; returns ma2l's exit code.

    Args:
        planner: does everything up to the plan; ``None`` is ``prepare``, which asks the platform who takes part.

    Raises:
        Ma2lError: it cannot be done.
        Stopped: a stop signal arrived before any worker ran.
    """
    already = rank.already(order.environ)
    if already:
        if order.flags:
            log.warning(f"options have no effect: this is one rank of {already.launcher}, and CMD takes ma2l's place")
            log.finish()
        environ = {**order.environ, **already.env}
        become(order.command, {os.fsencode(name): os.fsencode(value) for name, value in environ.items()})
    run_id = site.new_run_id()
    run_dir = site.make_run_dir(run_id, order.environ)
    guard_fd = guard.start(lambda: site.remove_run_dir(run_dir))
    waiter = Waiter()
    try:
        prepared = (planner or prepare)(order, run_id, run_dir, waiter, guard_fd)
        return Execution(prepared, order.settings, waiter, guard_fd).run()
    finally:
        site.remove_run_dir(run_dir)


def prepare(order: Order, run_id: str, run_dir: str, waiter: Waiter, guard_fd: int | None) -> Prepared:
    """Everything up to the plan; nothing runs yet.

    Args:
        run_dir: private directory of this run on this node.

    Raises:
        Ma2lError, Stopped: as ``launch``.
    """
    settings, environ, command = order.settings, dict(order.environ), order.command
    shape, announcement = decide(settings, environ)
    if shape:
        from ma2l.mock import launchers, stage

        log.warning(announcement)
        log_dir = site.writable(os.path.abspath(settings.log_dir or site.default_log_dir(run_id)), run_id)
        settings = replace(settings, log_dir=log_dir) if settings.log_dir else settings
        job = stage.set_up(shape, settings, environ, f"{run_dir}/mock", log_dir)
        if shape.nodes > 1:
            find_program(command[0], environ.get("PATH", os.defpath))
            plan = launchers.plan(job, order.flags, command, run_id, log_dir)
            return Prepared(plan, environ, Names(log_dir, "mock"))
        environ = applied(job.nodes[0].environ, environ)
    program = find_program(command[0], environ.get("PATH", os.defpath))
    facts = {"program": program, "run_id": run_id, "run_dir": run_dir}
    if mindcluster.is_scheduler_pod(environ):
        here = site.gather(settings, environ, mindcluster.MINDCLUSTER, 0, **facts, master_ip="")
        return Prepared(
            scheduler_pod(settings, command, here), environ, Names(here.log_dir, "scheduler", attempt=here.attempt)
        )
    found = topology.find(settings, environ, waiter, guard_fd)
    needed = needs_master_ip(settings, found, environ, command)
    master_ip = site.address_of(found.master or "127.0.0.1", waiter) if needed else ""
    here = site.gather(settings, environ, found.platform, found.cluster.node_rank, **facts, master_ip=master_ip)
    return Prepared(make(settings, found, command, here), environ, names_of(settings, found, here))
