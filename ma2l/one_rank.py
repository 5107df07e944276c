"""This process is one rank of another launcher: CMD takes its place, or it stays to keep a scheduler beside CMD.

MindSpore's CPU build has no MPI. With ``--mode dynamic-cluster`` the ranks of an mpirun become a dynamic cluster of it:
rank 0 keeps the scheduler, every other rank becomes CMD at once.
"""

from __future__ import annotations

import os
import signal
from functools import partial

from ma2l import log, site
from ma2l.become import become
from ma2l.execution import Prepared
from ma2l.linux.wait import Waiter
from ma2l.logs.names import Names
from ma2l.plan import under_mpirun
from ma2l.plan.spec import EnvDiff, applied
from ma2l.platforms import openmpi, topology
from ma2l.platforms.rank import Already
from ma2l.supervise.system import find_program

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from ma2l.run import Order, Planner

_SOURCES = ("config", "profile")
_USED = ("mode", "master_addr", "master_port", "cluster_timeout", "log_dir", "stop_grace", "failure_grace", *_SOURCES)
"""Options that mean something to a rank of the cluster; where logs go and the grace concern rank 0 alone."""


def take_place(order: Order, already: Already) -> Planner:
    """Become CMD; returns only in the rank that keeps the scheduler, with what prepares its run.

    Raises:
        ConfigError: the ranks cannot know where rank 0 is.
        GaveUpWaiting, Stopped: as ``site.address_of``.
    """
    unused = ", ".join(f"--{name.replace('_', '-')}" for name in order.flags if name not in _used(order, already))
    if unused and applied(already.env, order.environ).get("RANK", "0") == "0":  # once, and not by every rank
        log.warning(
            f"options without effect: {unused}; this is one rank of {already.launcher}, and CMD takes ma2l's place"
        )
        log.flush()
    if not keeps_scheduler(order, already):
        waiter = Waiter()
        environ = applied(environment(order, already, waiter), order.environ)
        signal.pthread_sigmask(signal.SIG_SETMASK, waiter.inherited_mask)
        become(order.command, {os.fsencode(name): os.fsencode(value) for name, value in environ.items()})
    return partial(prepare, already)


def keeps_scheduler(order: Order, already: Already) -> bool:
    """Whether this is rank 0 of a dynamic cluster."""
    return _forms_cluster(order, already) and openmpi.rank(order.environ) == 0


def environment(order: Order, already: Already, waiter: Waiter) -> EnvDiff:
    """What the rank gets.

    Raises:
        ConfigError, GaveUpWaiting, Stopped: as ``take_place``.
    """
    if not _forms_cluster(order, already):
        return already.env
    host = openmpi.host_of_rank_0(order.settings.master_addr, order.environ)
    names = under_mpirun.rank_names(order.settings, order.environ, site.address_of(host, waiter))
    return {**already.env, **names}


def prepare(
    already: Already, order: Order, run_id: str, run_dir: str, waiter: Waiter, _guard_fd: int | None
) -> Prepared:
    """The plan of rank 0, which keeps the scheduler.

    Raises:
        Ma2lError, Stopped: as ``take_place``, or the command cannot be found.
    """
    environ = order.environ
    program = find_program(order.command[0], environ.get("PATH", os.defpath))
    difference = environment(order, already, waiter)
    platform = topology.current_platform(environ)
    here = site.gather(
        order.settings, environ, platform, 0, program=program, run_id=run_id, run_dir=run_dir, master_ip=""
    )
    names = Names(here.log_dir, "node0", attempt=here.attempt)
    return Prepared(under_mpirun.plan(difference, order.command, here, names), environ, names)


def _forms_cluster(order: Order, already: Already) -> bool:
    return already.launcher == "mpirun" and order.settings.mode == "dynamic-cluster"


def _used(order: Order, already: Already) -> tuple[str, ...]:
    return _USED if _forms_cluster(order, already) else _SOURCES
