"""``ma2l stop RUN``: stop a run of this node, detached or not, and wait for its end."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence

from ma2l import log, runs, site
from ma2l.cli import show
from ma2l.errors import UsageError

USAGE = """\
usage: ma2l stop [--now] RUN    stop a run on this node, and wait until nothing of it is left

RUN is the run's id, the beginning of it, or its log directory; without it the runs that are alive are listed.
Workers get SIGTERM and the run's grace; with --now they are killed.
"""
_SHOWN = 3


def stop_run(words: Sequence[str]) -> int:
    """Parse, stop, return the exit code.

    Raises:
        UsageError: none was named, there is no such run, or more than one.
        ConfigError: it runs in another container.
    """
    if "--help" in words or "-h" in words:
        show(USAGE)
        return 0
    now, word = _parse(words)
    alive, ended = runs.find(os.environ)
    gone = runs.match(ended, word) if word is not None else []
    _say_ended([ended[path] for path in gone or ended])
    for path in ended:
        site.remove_run_dir(path)
    if gone and not runs.match(alive, word or ""):
        return 0
    if alive and word is None:  # the only one may be a colleague's: on many servers all work as root
        _show(alive)
        raise UsageError("stop a run", "none was named", "name one of those above")
    chosen = choose(alive, word, "stop")
    run = alive[chosen]
    patience = "" if now else f"; `ma2l stop --now {run.run_id}` kills"
    log.info(f"stopping run {run.run_id} (pid {run.pid}); waiting until nothing of it is left{patience}")
    log.flush()
    runs.stop(chosen, run, now)
    log.info(f"run {run.run_id} has ended; its logs are in {run.log_dir}")
    return 0


def _parse(words: Sequence[str]) -> tuple[bool, str | None]:
    unknown = [word for word in words if word.startswith("-") and word != "--now"]
    if unknown:
        raise UsageError(f"use the option {unknown[0]}", "ma2l stop has only --now", "see ma2l stop --help")
    named = [word for word in words if not word.startswith("-")]
    if len(named) > 1:
        raise UsageError("stop several runs at once", f"{len(named)} were named", "name one")
    return "--now" in words, named[0] if named else None


def _say_ended(ended: Sequence[runs.Run]) -> None:
    """The latest few of runs that were killed: those of months may have come together."""
    for run in ended[-_SHOWN:]:
        log.info(f"run {run.run_id} was killed and has ended; its logs are in {run.log_dir}")
    if len(ended) > _SHOWN:
        log.info(f"and so have {len(ended) - _SHOWN} earlier ones")


def choose(alive: Mapping[str, runs.Run], word: str | None, verb: str) -> str:
    """The directory of the run that is meant.

    Args:
        word: what the user calls it; ``None`` where there is only one.
        verb: what is to be done with it, for messages.

    Raises:
        UsageError: there is no such run, or more than one.
    """
    meant = list(alive) if word is None else runs.match(alive, word)  # a run below another may share its log directory
    found = runs.outermost({path: alive[path] for path in meant})
    if len(found) == 1:
        return found[0]
    attempt = f"{verb} a run" if word is None else f"{verb} the run {word}"
    if not alive:
        where = f"they are looked for in {', '.join(dict.fromkeys(site.run_dir_places(os.environ)))}"
        raise UsageError(attempt, "no run of yours is alive on this node", where)
    _show({path: run for path, run in alive.items() if not found or path in found})
    why = "there are several" if found else "none of that name is alive"
    raise UsageError(attempt, why, "name one of those above")


def _show(listed: Mapping[str, runs.Run]) -> None:
    lines = [f"{run.run_id}  {shlex.join(run.command)}  (logs in {run.log_dir})\n" for run in listed.values()]
    log.console().write("".join(lines).encode(errors="backslashreplace"))
