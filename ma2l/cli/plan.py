"""``ma2l plan``: print what would run, and run nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ma2l.cli import show
from ma2l.cli.help import print_help
from ma2l.errors import UsageError
from ma2l.settings import load, split

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from ma2l.plan.spec import EnvDiff

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
    settings, _origins = load(flags, os.environ)
    from ma2l.platforms import rank

    already = rank.already(os.environ)
    from ma2l import run, site
    from ma2l.linux.wait import Waiter
    from ma2l.plan.show import as_json, as_table

    order = run.Order(settings, flags, command, dict(os.environ))
    prepare = run.prepare
    if already:
        from functools import partial

        from ma2l import one_rank

        if not one_rank.keeps_scheduler(order, already):
            show(_one_rank(already.launcher, one_rank.environment(order, already, Waiter()), form))
            return 0
        prepare = partial(one_rank.prepare, already)
    run_id = site.new_run_id()
    run_dir = site.make_run_dir(run_id, os.environ)
    try:
        waiter = Waiter()
        plan = prepare(order, run_id, run_dir, waiter, None).plan
    finally:
        site.remove_run_dir(run_dir)
    waiter.release()
    show(as_json(plan) if form == "json" else as_table(plan))
    return 0


def _one_rank(launcher: str, env: EnvDiff, form: str) -> str:
    """The plan of a process that is one rank already: CMD takes its place."""
    if form == "json":
        import json

        return json.dumps({"mode": "one rank", "launcher": launcher, "env": dict(env)}, indent=1) + "\n"
    from ma2l.plan.show import variables

    lines = (f"topology   already one rank, started by {launcher}: CMD takes ma2l's place", *variables(env))
    return "\n".join(lines) + "\n"
