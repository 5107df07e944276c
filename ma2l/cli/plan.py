"""``ma2l plan``: print what would run, and run nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from ma2l.cli import show
from ma2l.cli.help import print_help
from ma2l.errors import UsageError
from ma2l.settings import load, split

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
    if already:
        show(_one_rank(already.launcher, already.env, form))
        return 0
    from ma2l import run, site
    from ma2l.linux.wait import Waiter
    from ma2l.plan.show import as_json, as_table

    run_id = site.new_run_id()
    run_dir = site.make_run_dir(run_id, os.environ)
    try:
        order = run.Order(settings, flags, command, dict(os.environ))
        waiter = Waiter()
        plan = run.prepare(order, run_id, run_dir, waiter, None).plan
    finally:
        site.remove_run_dir(run_dir)
    waiter.release()
    show(as_json(plan) if form == "json" else as_table(plan))
    return 0


def _one_rank(launcher: str, env: Mapping[str, str], form: str) -> str:
    """The plan of a process that is one rank already: CMD takes its place."""
    if form == "json":
        import json

        return json.dumps({"mode": "one rank", "launcher": launcher, "env": dict(env)}, indent=1) + "\n"
    added = "".join(f"  {name}={value}\n" for name, value in sorted(env.items()))
    return f"topology   already one rank, started by {launcher}: CMD takes ma2l's place\n{added}"
