"""``ma2l CMD...``."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ma2l import log
from ma2l.cli import VERBS, options
from ma2l.cli.help import USAGE, print_help
from ma2l.errors import CommandNotFound, UsageError
from ma2l.settings import nearest, split


def run_command(words: Sequence[str]) -> int:
    """Parse, run, return the exit code."""
    flags, command = split(words)
    if "help" in flags:
        return print_help()
    if command and not command[0]:
        raise UsageError("start", "the command is an empty word", "see that the variable in it is set")
    if not command:
        log.console().write(USAGE.encode())
        raise UsageError("start", "no command was given", "see ma2l help")
    settings = options(flags, os.environ)
    from ma2l.run import Order, launch

    try:
        return launch(Order(settings, flags, command, dict(os.environ)))
    except CommandNotFound as error:
        verb = nearest(command[0], VERBS, 0.75)
        if not verb or not str(error).startswith(f"cannot run {command[0]}: "):
            raise
        hint = f"did you mean `ma2l {verb}`? That word comes before all options"
        raise CommandNotFound(f"run {command[0]}", "there is no such program", hint) from None
