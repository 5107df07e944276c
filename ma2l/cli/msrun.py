"""``ma2l msrun``: the drop-in for MindSpore's launcher."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from ma2l import log
from ma2l.ascend.devices import rt_visible_devices
from ma2l.cli import options, show
from ma2l.errors import UsageError
from ma2l.msrun.arguments import PARAMETERS, PROFILE, Arguments, parse, split
from ma2l.records import replace
from ma2l.settings import Settings

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from ma2l.run import Order, Planner

USAGE = "usage: ma2l msrun [OPTION...] TASK [ARGUMENT...]\n"
_ABOUT = """
python, python3, pytest, a program on PATH and the path of an executable file are run as they are; what ends in .py, and
anything else, is a script for `python TASK`. Options end at TASK, and may be shortened while they stay unique. Options
of ma2l that msrun does not have are taken from MA2L_<NAME> and from ma2l.yaml. Logs are worker_<rank>.log and
scheduler.log; those of an earlier run are renamed to worker_<rank>.log.1 and so on.
"""


def msrun(words: Sequence[str]) -> int:
    """Parse, run, return the exit code."""
    given, task = split(words)
    if "help" in given:
        return print_help()
    order, planner, detached = asked(given, task)
    from ma2l.run import launch

    return launch(order, planner, detached)


def asked(given: Mapping[str, str], task: tuple[str, ...]) -> tuple[Order, Planner, bool]:
    """What to run, what plans it, and whether the run is to go on without this process.

    Args:
        given: options from ``split``.
        task: the task from there.

    Raises:
        UsageError: a wrong option, or no task.
        ConfigError: a wrong variable or file.
    """
    environ = dict(os.environ)
    settings = options({name: text for name, text in given.items() if name == PROFILE}, environ)
    given = {name: text for name, text in given.items() if name != PROFILE}
    arguments = parse(given, task, _defaults(settings), len(rt_visible_devices(environ) or ()), settings.profile or "")
    if not task:
        log.console().write(USAGE.encode())
        raise UsageError("start", "no task script was given", "see ma2l msrun --help")
    from ma2l.msrun.layout import layout
    from ma2l.msrun.prepare import command_of, planner
    from ma2l.run import Order

    who = layout(arguments, environ)
    command = command_of(task, environ.get("PATH", os.defpath))
    order = Order(_shown(settings, arguments), given, command, environ)
    return order, planner(arguments, who), not arguments.join


def print_help() -> int:
    """Print usage and every parameter with its default."""
    lines = [USAGE, "\nStarts a MindSpore scheduler and its workers, with the parameters of MindSpore's own msrun.\n\n"]
    for name, parameter in PARAMETERS.items():
        meta = parameter.metadata
        default = "" if parameter.default in ("", -1, "-1") else f" (default: {parameter.default})"
        lines.append(_entry(f"--{name} {meta['value']}", f"{meta['help']}{default}"))
    lines.append(_entry(f"--{PROFILE} NAME|FILE", "defaults for these options, such as mindspeed"))
    show("".join((*lines, _ABOUT)))
    return 0


def _entry(flag: str, text: str) -> str:
    return f"  {flag:<34}{'' if len(flag) < 34 else chr(10) + ' ' * 36}{text}\n"


def _defaults(settings: Settings) -> Mapping[str, str]:
    """What the profile says of msrun's parameters."""
    if settings.profile is None:
        return {}
    from ma2l import profiles

    return profiles.parameters(settings.profile)


def _shown(settings: Settings, arguments: Arguments) -> Settings:
    """The console shows what ``--tail_worker_log`` says, unless ma2l's own option says otherwise."""
    if settings.console_ranks is not None:
        return settings
    shown = arguments.tail_worker_log
    return replace(settings, console_ranks="all" if shown == "-1" else shown)
