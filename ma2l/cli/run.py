"""``ma2l CMD...``."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ma2l import log
from ma2l.cli import options
from ma2l.cli.help import USAGE, print_help
from ma2l.errors import UsageError
from ma2l.settings import split


def run_command(words: Sequence[str]) -> int:
    """Parse, run, return the exit code."""
    flags, command = split(words)
    if "help" in flags:
        return print_help()
    if not command:
        log.console().write(USAGE.encode())
        raise UsageError("start", "no command was given", "see ma2l help")
    settings = options(flags, os.environ)
    from ma2l.run import Order, launch

    return launch(Order(settings, flags, command, dict(os.environ)))
