"""``ma2l stacks [RUN]``: where the ranks of a run on this node stand, now. The run goes on undisturbed."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from ma2l import log, runs
from ma2l.cli import show
from ma2l.cli.stop import choose
from ma2l.diagnose.stacks import Subject, collect
from ma2l.diagnose.standing import odd_one_out, parse
from ma2l.errors import ConfigError, UsageError
from ma2l.linux import processes, threads

USAGE = """\
usage: ma2l stacks [RUN]    print where every process of a run on this node stands; the run goes on

RUN is the run's id, the beginning of it, or its log directory; it may be left out if only one run is alive.
Python frames need py-spy: pip install 'ma2l[stacks]'. Without it there is what the kernel shows.
"""


def show_stacks(words: Sequence[str]) -> int:
    """Parse, print, return the exit code.

    Raises:
        UsageError: there is no such run, or more than one.
        ConfigError: its processes cannot be seen.
    """
    if "--help" in words or "-h" in words:
        show(USAGE)
        return 0
    unknown = [word for word in words if word.startswith("-")]
    if unknown:
        raise UsageError(f"use the option {unknown[0]}", "ma2l stacks has none", "see ma2l stacks --help")
    if len(words) > 1:
        raise UsageError("show the stacks of several runs at once", f"{len(words)} were named", "name one")
    alive, _ = runs.find(os.environ)
    run = alive[choose(alive, words[0] if words else None, "show the stacks of")]
    attempt = f"show the stacks of run {run.run_id}"
    if run.namespace != runs.pid_namespace():
        raise ConfigError(attempt, "it runs in another container", f"run `ma2l stacks {run.run_id}` there")
    subjects = leaders(run.pid)
    if not subjects:
        raise ConfigError(attempt, "none of its ranks is to be seen", "it may be starting or ending: try again")
    text = collect(subjects, f"stacks of run {run.run_id} at {time.strftime('%Y%m%d-%H%M%S')}")
    show(text)
    ranks = {name: stack for name, stack in parse(text).items() if name.startswith(("rank ", "worker "))}
    odd = odd_one_out(ranks)
    if odd:
        log.info(f"{odd} stands where no other rank does: {ranks[odd].place}")
    return 0


def leaders(pid: int) -> list[Subject]:
    """The processes that a run has started, by rank, as their environment tells them: the topmost below its guard that
    ma2l has given the id of a run."""
    outside = threads.environ(pid).get("MA2L_RUN_ID")
    found: list[int] = []
    waiting = [pid]
    for parent in waiting:
        for child in processes.children(parent):
            given = threads.environ(child).get("MA2L_RUN_ID")
            (waiting if given in (None, outside) else found).append(child)
    subjects: dict[str, Subject] = {}
    for child in sorted(found, key=processes.start_time):  # what a rank has left behind is younger than it
        name = _name(child)
        name = f"left behind by {name}, process {child}" if name in subjects else name
        subjects[name] = Subject(name, child)
    return sorted(subjects.values(), key=lambda subject: (len(subject.name), subject.name))


def _name(pid: int) -> str:
    environ = threads.environ(pid)
    if environ.get("MS_ROLE") == "MS_SCHED":
        return "scheduler"
    if environ.get("RANK"):
        return f"rank {environ['RANK']}"
    if environ.get("LOCAL_RANK"):  # MindSpore gives ranks later
        return f"worker {environ['LOCAL_RANK']}"
    return "the command"
