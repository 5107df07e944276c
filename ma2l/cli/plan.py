"""``ma2l plan``: print what would run, and run nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ma2l.cli import options, show
from ma2l.errors import ConfigError, UsageError
from ma2l.settings import split

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from ma2l.execution import Prepared
    from ma2l.linux.wait import Waiter
    from ma2l.plan.spec import EnvDiff, ProcessSpec
    from ma2l.run import Order, Planner

FORMATS = ("table", "json", "yaml", "sh")
USAGE = """\
usage: ma2l plan [--format table|json|yaml] [OPTION...] [--] CMD...        print what would run, and why
       ma2l plan --rank R [--format sh] [OPTION...] [--] CMD...            print a script that is this one rank
       ma2l plan [--format table|json|yaml] msrun [OPTION...] TASK...      the same for ma2l msrun
"""


def show_plan(words: Sequence[str]) -> int:
    """Make the plan as a run would, and print it."""
    flags, command = split(words, ("format", "rank"))
    if "help" in flags:
        show(USAGE + "\nOPTION is any option of ma2l; see ma2l help.\n")
        return 0
    rank = _rank(flags.pop("rank", None))
    form = flags.pop("format", "table" if rank is None else "sh")
    if form not in FORMATS:
        raise UsageError(f"use --format {form}", "no such format", f"choose one of {', '.join(FORMATS)}")
    if (form == "sh") != (rank is not None):
        why = "a script is one rank" if form == "sh" else "one rank is a script"
        raise UsageError(f"use --format {form}", why, "write --rank R --format sh")
    if not command:
        raise UsageError("make a plan", "no command was given", "write ma2l plan [OPTION...] CMD...")
    from ma2l import run

    if command[0] == "msrun" and not flags and "--" not in words[: -len(command)]:  # as `ma2l msrun` is the verb
        from ma2l.cli import msrun
        from ma2l.msrun import arguments

        given, task = arguments.split(command[1:])
        if "help" in given:
            return msrun.print_help()
        order, planner, _ = msrun.asked(given, task)
        return _show(order, planner, form, rank)
    return _show(run.Order(options(flags, os.environ), flags, command, dict(os.environ)), run.prepare, form, rank)


def _show(order: Order, planner: Planner, form: str, rank: int | None) -> int:
    from ma2l.linux.wait import Waiter
    from ma2l.platforms.rank import already as already_one

    already = already_one(order.environ)
    waiter = Waiter()
    if already:
        from functools import partial

        from ma2l import one_rank

        if not one_rank.keeps_scheduler(order, already):
            if rank is not None:
                raise ConfigError(f"print rank {rank}", f"this is one rank of {already.launcher}", "leave --rank out")
            text = _one_rank(already.launcher, one_rank.environment(order, already, waiter), form)
            waiter.release()
            show(text)
            return 0
        planner = partial(one_rank.prepare, already)
    prepared = _prepared(order, planner, waiter, rank)
    waiter.release()  # Ctrl-C ends what is blocked on a pipe that nobody reads
    show(_text(prepared, form, rank))
    return 0


def _text(prepared: Prepared, form: str, rank: int | None) -> str | bytes:
    if rank is not None:
        from ma2l.plan.script import script

        return script(prepared.plan, rank)
    from ma2l.plan.show import as_json, as_table, as_yaml

    return {"json": as_json, "yaml": as_yaml, "table": as_table}[form](prepared.plan, prepared.cluster)


def _rank(text: str | None) -> int | None:
    if text is None or (text.isascii() and text.isdecimal()):
        return None if text is None else int(text)
    raise UsageError(f"use --rank {text}", "it is no rank", "write a whole number")


def _prepared(order: Order, planner: Planner, waiter: Waiter, rank: int | None) -> Prepared:
    """What a run would carry out; its directory does not outlast the call.

    Of a mock of several nodes it is what the launcher of node 0 would, or of the node with that rank.
    """
    from ma2l import site

    run_id = site.new_run_id()
    run_dir = site.make_run_dir(run_id, order.environ)
    try:
        prepared = planner(order, run_id, run_dir, waiter, None)
        if prepared.plan.mode != "mock":
            return prepared
        for launcher in prepared.plan.processes:
            there = _of_node(order, launcher)
            shown = planner(there, run_id, run_dir, waiter, None)
            if rank is None or any(spec.rank == rank for spec in shown.plan.processes):
                return shown
        if all(spec.rank is None for spec in shown.plan.processes):
            return shown
        last = shown.plan.world_size - 1
        raise ConfigError(f"print rank {rank}", f"the job has the ranks 0-{last}", "name one of them")
    finally:
        site.remove_run_dir(run_dir)


def _of_node(order: Order, launcher: ProcessSpec) -> Order:
    """What the launcher of one node of a mock is asked."""
    from ma2l.plan.spec import applied
    from ma2l.records import replace

    environ = applied(launcher.env, order.environ)
    log_dir = environ.get("MA2L_LOG_DIR", order.settings.log_dir)
    return replace(order, environ=environ, settings=replace(order.settings, mock="0", log_dir=log_dir))


def _one_rank(launcher: str, env: EnvDiff, form: str) -> str:
    """The plan of a process that is one rank already: CMD takes its place."""
    if form == "json":
        import json

        return json.dumps({"mode": "one rank", "launcher": launcher, "env": dict(env)}, indent=1) + "\n"
    from ma2l.plan.show import variables

    lines = (f"topology   already one rank, started by {launcher}: CMD takes ma2l's place", *variables(env))
    return "\n".join(lines) + "\n"
