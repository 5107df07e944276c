"""``ma2l plan``: print what would run, and run nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ma2l.cli import options, show
from ma2l.cli.help import print_help
from ma2l.errors import UsageError
from ma2l.settings import split

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from ma2l.execution import Prepared
    from ma2l.linux.wait import Waiter
    from ma2l.plan.spec import EnvDiff
    from ma2l.run import Order, Planner

FORMATS = ("table", "json")


def show_plan(words: Sequence[str]) -> int:
    """Make the plan as a run would, and print it."""
    flags, command = split(words, ("format",))
    form = flags.pop("format", "table")
    if "help" in flags:
        return print_help()
    if form not in FORMATS:
        raise UsageError(f"use --format {form}", "no such format", f"choose one of {', '.join(FORMATS)}")
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
        return _show(order, planner, form)
    return _show(run.Order(options(flags, os.environ), flags, command, dict(os.environ)), run.prepare, form)


def _show(order: Order, planner: Planner, form: str) -> int:
    from ma2l.linux.wait import Waiter
    from ma2l.plan.show import as_json, as_table
    from ma2l.platforms import rank

    already = rank.already(order.environ)
    waiter = Waiter()
    if already:
        from functools import partial

        from ma2l import one_rank

        if not one_rank.keeps_scheduler(order, already):
            text = _one_rank(already.launcher, one_rank.environment(order, already, waiter), form)
            waiter.release()
            show(text)
            return 0
        planner = partial(one_rank.prepare, already)
    plan = _prepared(order, planner, waiter).plan
    waiter.release()  # Ctrl-C ends what is blocked on a pipe that nobody reads
    show(as_json(plan) if form == "json" else as_table(plan))
    return 0


def _prepared(order: Order, planner: Planner, waiter: Waiter) -> Prepared:
    """What a run would carry out; its directory does not outlast the call."""
    from ma2l import site

    run_id = site.new_run_id()
    run_dir = site.make_run_dir(run_id, order.environ)
    try:
        return planner(order, run_id, run_dir, waiter, None)
    finally:
        site.remove_run_dir(run_dir)


def _one_rank(launcher: str, env: EnvDiff, form: str) -> str:
    """The plan of a process that is one rank already: CMD takes its place."""
    if form == "json":
        import json

        return json.dumps({"mode": "one rank", "launcher": launcher, "env": dict(env)}, indent=1) + "\n"
    from ma2l.plan.show import variables

    lines = (f"topology   already one rank, started by {launcher}: CMD takes ma2l's place", *variables(env))
    return "\n".join(lines) + "\n"
