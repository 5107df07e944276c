"""The command line: one file per verb; parsing and printing only."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from ma2l import log
from ma2l.errors import Ma2lError, Stopped, SystemRefused, UsageError
from ma2l.linux.wait import release_signals

TYPE_CHECKING = False  # no verb's imports are made for another
if TYPE_CHECKING:
    from ma2l.settings import Settings

VERBS = {
    "plan": "show_plan",
    "msrun": "msrun",
    "stop": "stop_run",
    "stacks": "show_stacks",
    "explain": "explain_logs",
    "doctor": "doctor",
    "collect": "collect",
    "config": "config",
    "ranktable": "ranktable",
    "results": "results",
    "record": "record",
    "upload": "upload",
}
"""The function of each verb, in the module of its name; it takes the words after the verb."""
PATIENCE = 5.0
"""Seconds for whoever reads standard error slowly: the last lines say why the exit code is what it is."""
RESERVED = ("status", "logs", "report", "job", "manifest")
"""First words that later versions will use; ``ma2l -- status`` runs a program of that name."""


def main(words: Sequence[str]) -> int:
    """Run a verb, or a command; returns the exit code."""
    try:
        return _dispatch(words)
    except Ma2lError as error:
        log.error(str(error))
        return error.exit_code
    except Stopped as stop:
        return 128 + stop.signum
    except BrokenPipeError:  # whoever read our output has seen enough
        return 128 + 13
    except Exception as error:  # noqa: BLE001 - the platform must learn that this is our bug and no retry helps
        return _unexpected(error)
    finally:
        log.flush()
        log.console().settle(PATIENCE)


def show(text: str | bytes) -> None:
    """Print on standard output, all of it; text in UTF-8 whatever the locale."""
    rest = memoryview(text if isinstance(text, bytes) else text.encode(errors="backslashreplace"))
    try:
        while rest:
            rest = rest[os.write(1, rest) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SystemRefused("write to standard output", str(error.strerror)) from error


def options(flags: Mapping[str, str], environ: Mapping[str, str]) -> Settings:
    """ma2l's options, saying which files they come from and which variables are not ours by a typing error.

    Raises:
        UsageError, ConfigError: as ``ma2l.settings.load``.
    """
    from ma2l.settings import load, misspelt

    settings, origins = load(flags, environ)
    if settings.quiet:
        log.be_quiet()
    if "config" in origins:
        log.info(f"options from {origins['config']}")
    if settings.profile:
        log.info(f"defaults from the profile {settings.profile}")
    for line in misspelt(environ):
        log.warning(line)
    return settings


def _dispatch(words: Sequence[str]) -> int:
    first = words[0] if words else ""
    if first in VERBS and first != "msrun":
        release_signals()  # it starts no worker
    if first in RESERVED:
        raise UsageError(
            f"run the verb {first}", "this version does not have it yet", f"`ma2l -- {first}` runs a program"
        )
    if first in ("help", "-h", "--help"):
        from ma2l.cli.help import print_help

        return print_help()
    if first in ("version", "--version"):
        from ma2l.cli.version import print_version

        return print_version()
    if first in VERBS:
        import importlib

        return int(getattr(importlib.import_module(f"ma2l.cli.{first}"), VERBS[first])(words[1:]))
    from ma2l.cli.run import run_command

    return run_command(words)


def _unexpected(error: Exception) -> int:
    """Say what nobody foresaw: the system at its limits, or a bug of ours. Workers that run are the guard's to end."""
    from ma2l.linux.spawn import REFUSED

    if isinstance(error, OSError) and error.errno in REFUSED:
        refused = SystemRefused("go on", str(error.strerror), "raise the limits of this container")
        log.error(str(refused))
        return refused.exit_code
    import traceback

    log.error(f"this is a bug in ma2l, please report it: {error!r}")
    log.flush()
    log.console().write(traceback.format_exc().encode(errors="backslashreplace"))
    return Ma2lError.exit_code
