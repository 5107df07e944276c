"""Between a plan and the watch for hangs: whom to watch, and what a hang means for the outcome."""

from __future__ import annotations

from collections.abc import Mapping

from ma2l import log
from ma2l.diagnose import hang, standing
from ma2l.diagnose.ends import last_bytes
from ma2l.diagnose.outcome import Hang, Outcome
from ma2l.logs.names import Names
from ma2l.plan.spec import Plan, ProcessSpec
from ma2l.platforms import modelarts
from ma2l.records import replace
from ma2l.settings import Settings
from ma2l.supervise.sentry import Sentry, Watched

_WRITING = ("rank", "once", "mpirun")
"""Roles of processes that must write; a scheduler has nothing to say, a launcher watches its own ranks."""


def sentry(plan: Plan, settings: Settings, environ: Mapping[str, str], names: Names, mask: frozenset[int]) -> Sentry:
    """What watches the processes of a plan.

    Args:
        settings: with a hang timeout.
        mask: signals blocked in workers.
    """
    limit = settings.hang_timeout or 0.0
    theirs = modelarts.hang_detect_time(environ)
    if theirs is not None and limit >= theirs:
        log.warning(
            f"--hang-timeout {limit:g} is not below MA_HANG_DETECT_TIME ({theirs:g} s): the platform ends a hanging "
            "job before ma2l looks at it"
        )
    if any(spec.role == "agent" for spec in plan.processes):
        log.warning("--hang-timeout has no effect with --agent: only the agent knows which ranks are to run")
    watched = {
        index: Watched(spec.name, _logs(plan, spec), spec.role != "mpirun") for index, spec in enumerate(plan.processes)
    }
    if not any(one.logs for one in watched.values()) and any(spec.role in _WRITING for spec in plan.processes):
        log.warning("--hang-timeout has no effect: the workers write to this console, not to logs")
    return Sentry(watched, limit, settings.hang_action == "stop", names.stacks, mask)


def _logs(plan: Plan, spec: ProcessSpec) -> tuple[str, ...]:
    """An mpirun is silent when all of its ranks are: it alone knows which of them have ended."""
    if spec.role not in _WRITING or spec.log is None:
        return ()
    return (spec.log, *(path for _, path in plan.rank_logs)) if spec.role == "mpirun" else (spec.log,)


def explained(result: Outcome, watch: Sentry) -> Outcome:
    """The outcome of a hang with what is known of it; ranks may have printed their stacks only when they were ended."""
    diagnosis = watch.diagnosis
    if diagnosis is None:
        return result
    suspect, frames = diagnosis.suspect, diagnosis.frames
    ends = result.processes if watch.made_print else ()
    printed = {end.name: stack for end in ends if (stack := standing.from_log(last_bytes(end.log)))}
    if printed:
        suspect = hang.suspect(diagnosis.quiet, diagnosis.limit, printed)
        frames = printed[suspect.name].frames if suspect.name in printed else ()
    first = next((p for p in result.processes if p.name == suspect.name), result.first)
    return replace(result, first=first, hang=Hang(suspect.name, suspect.sentence, frames, diagnosis.stacks))
