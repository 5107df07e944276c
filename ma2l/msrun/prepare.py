"""From msrun's arguments to a plan: looks at this host, checks what can be checked, and makes room for the logs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial

from ma2l import log, site
from ma2l.ascend.devices import device_files, rt_visible_devices
from ma2l.errors import CommandNotFound, ConfigError, Ma2lError
from ma2l.execution import Prepared
from ma2l.linux import net
from ma2l.linux.wait import Waiter
from ma2l.logs.names import Names
from ma2l.msrun.arguments import UNKNOWN, Arguments
from ma2l.msrun.layout import Layout
from ma2l.msrun.plan import Here, make
from ma2l.plan.spec import Plan
from ma2l.platforms.bare import BARE
from ma2l.platforms.master import is_loopback
from ma2l.records import replace
from ma2l.settings import Settings
from ma2l.supervise.system import find_program

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import Callable

    from ma2l.run import Order, Planner

AS_THEY_ARE = ("python", "python3", "pytest")
"""What msrun itself runs without putting ``python`` in front."""


def command_of(task: Sequence[str], path: str) -> tuple[str, ...]:
    """What each process runs: a program as it is, anything else as msrun does, ``python TASK``.

    A program is ``python``, ``python3``, ``pytest``; or a word without ``.py`` that names an executable file by its
    path, with ``#!`` or of the system's own format; or one that is found on PATH, while no such file lies here. On a
    file system where everything is executable a Python script without ``#!`` so remains one.

    Args:
        path: value of PATH.
    """
    word = task[0]
    if word in AS_THEY_ARE or (not word.endswith(".py") and _is_program(word, path)):
        return tuple(task)
    return ("python", *task)


def planner(arguments: Arguments, layout: Layout) -> Planner:
    """What ``run.launch`` calls for the plan."""
    return partial(prepare, arguments, layout)


def prepare(
    arguments: Arguments,
    layout: Layout,
    order: Order,
    run_id: str,
    run_dir: str,
    waiter: Waiter,
    _guard_fd: int | None,
) -> Prepared:
    """Everything up to the plan; nothing runs yet. Older logs of the same names are set aside when the run begins.

    Raises:
        ConfigError: the scheduler cannot be where the arguments say, or processes not on the CPUs.
        UsageError: the binding asked for makes no sense.
        CommandNotFound, CommandNotExecutable: there is no such task.
        GaveUpWaiting, Stopped: as ``site.address_of``.
    """
    bind = _binding(arguments, order)

    def attempt(restarts: int) -> Prepared:
        own = site.attempt_dir(run_dir, restarts)
        here = _look(arguments, layout, order, run_id, own, waiter, restarts)
        _check_scheduler(arguments, layout, here)
        plan = bind(make(arguments, layout, order.command, here))
        if order.settings.agent:
            from ma2l.agent.prepare import hand_over

            plan = hand_over(plan, order.settings.agent, here.names, here.site)
        again = attempt if layout.alone or layout.simulated else None
        npus = () if layout.simulated else _npus(layout.local, order.environ)
        aside = partial(_set_aside, plan, here.names)  # of an earlier attempt too: where msrun's are is the last one
        return Prepared(plan, order.environ, here.names, at_start=aside, again=again, npus=npus)

    return attempt(0)


def _look(
    arguments: Arguments, layout: Layout, order: Order, run_id: str, run_dir: str, waiter: Waiter, restarts: int
) -> Here:
    settings, environ = order.settings, order.environ
    program = _program(order.command, settings, environ)
    master_ip = _master_ip(arguments.master_addr, waiter)
    directory = replace(settings, log_dir=arguments.log_dir or ".", bind="none")  # bound later, as msrun does it
    gathered = site.gather(
        directory, environ, BARE, 0, program=program, run_id=run_id, run_dir=run_dir, master_ip=master_ip,
        restarts=restarts,
    )  # fmt: skip
    node = f"node{layout.node}" if layout.node != UNKNOWN else f"node-{os.uname().nodename}"
    return Here(
        site=gathered,
        names=Names(gathered.log_dir, node),
        hosts_scheduler=_hosts_scheduler(master_ip, layout),
        stem=_stem(arguments.worker_log_name, master_ip),
        chdir=settings.chdir,
    )


def _npus(workers: int, environ: Mapping[str, str]) -> tuple[int, ...]:
    """Physical ids of the NPUs that so many workers use, as far as they are here: msrun numbers those that it sees."""
    shown = device_files()
    chosen = rt_visible_devices(environ) or range(len(shown))
    return tuple(shown[i] for i in chosen[:workers] if i < len(shown))


def _hosts_scheduler(master_ip: str, layout: Layout) -> bool:
    """Whether the scheduler belongs here: where its address is. Every node has a loopback address, so there nodes can
    only be on one host, and one of them has the scheduler: node 0, where the nodes are numbered."""
    return net.is_local(master_ip) and not (is_loopback(master_ip) and layout.node > 0)


def _binding(arguments: Arguments, order: Order) -> Callable[[Plan], Plan]:
    """What binds the processes of a plan to CPUs, as msrun's options say, or else ma2l's own."""
    wishes = arguments.bind_core, arguments.bind_numa
    nothing = ("False", "False")
    if all(wish.lower() == "false" for wish in wishes):
        wishes = {"cores": ("True", "False"), "numa": ("False", "True")}.get(order.settings.bind, nothing)
    if wishes == nothing:
        return lambda plan: plan
    from ma2l.msrun.bind import bound
    from ma2l.msrun.bind_value import parse_core, parse_numa

    core, by_node = parse_core(wishes[0]), parse_numa(wishes[1])
    return lambda plan: bound(plan, core, by_node, site.processors(order.environ), order.environ)


def _program(command: Sequence[str], settings: Settings, environ: Mapping[str, str]) -> str:
    """Path of the executable; a script that is not there is told now and not by each worker's Python."""
    if len(command) > 1 and command[0] == "python" and settings.chdir is None:
        script = command[1]
        if not script.startswith("-") and not os.path.exists(script):
            raise CommandNotFound(
                f"run {script}", "there is no such file, and no such program in PATH", "check the name"
            )
    return find_program(command[0], environ.get("PATH", os.defpath))


def _master_ip(text: str, waiter: Waiter) -> str:
    """The scheduler's address: MindSpore takes IPs only, and the pods of other nodes may be known later than we ask."""
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    return net.canonical(site.address_of(text, waiter))


def _stem(wish: str, master_ip: str) -> str:
    """What logs of workers are called, without number and ending."""
    if "{ip}" in wish:
        own = net.source_address(master_ip)
        if not own:
            raise ConfigError(
                f"name logs {wish}", f"no route leads from here to {master_ip}", "use {hostname} instead of {ip}"
            )
        wish = wish.replace("{ip}", own)
    return wish.replace("{hostname}", os.uname().nodename) or "worker"


def _check_scheduler(arguments: Arguments, layout: Layout, here: Here) -> None:
    """Find out now what would otherwise leave workers waiting for a scheduler that cannot be."""
    address, port = here.site.master_ip, arguments.master_port
    if layout.simulated:
        return
    if not here.hosts_scheduler:
        if layout.alone:
            raise ConfigError(
                f"start the scheduler on {address}",
                "all workers run here, and this is no address of this node",
                "correct --master_addr, or leave it out",
            )
        return
    problem = net.why_not_bound(address, port)
    if problem:  # between this look and the scheduler's own it may change; then the scheduler says it
        raise ConfigError(
            f"start the scheduler on {address} port {port}",
            problem,
            "end who holds it, or choose another --master_port",
        )


def _set_aside(plan: Plan, names: Names) -> None:
    """Rename what an earlier run left under the same names to ``<name>.<N>``, the same N for all of its files."""
    logs = [*(spec.log for spec in plan.processes if spec.log), *(path for _, path in plan.rank_logs)]
    wanted = [*logs, names.launcher(), names.plan(), names.outcome()]
    older = [path for path in wanted if os.path.lexists(path)]
    number = 1
    while any(os.path.lexists(f"{path}.{number}") for path in wanted):
        number += 1
    for path in older:
        try:
            os.rename(path, f"{path}.{number}")
        except OSError as error:
            log.warning(f"{path} of an earlier run stays, and this run's lines follow in it: {error.strerror}")


def _is_program(word: str, path: str) -> bool:
    if "/" in word:
        return os.path.isfile(word) and os.access(word, os.X_OK) and _has_format(word)
    if os.path.exists(word):
        return False
    try:
        find_program(word, path)
    except Ma2lError:
        return False
    return True


def _has_format(path: str) -> bool:
    """Whether the kernel would know what to do with the file."""
    try:
        with open(path, "rb") as file:
            start = file.read(4)
    except OSError:  # executable and not readable: no Python script, at any rate
        return True
    return start.startswith((b"#!", b"\x7fELF"))
