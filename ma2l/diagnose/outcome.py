"""How a run ended, as data: who failed first, how, and what became of the others."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ma2l.plan.spec import Plan
from ma2l.supervise.machine import Cause, Ended, Kind


@dataclass(frozen=True)
class ProcessEnd:
    """One process of the plan."""

    name: str
    rank: int | None
    pid: int | None
    """``None`` when it was never started."""
    returncode: int | None
    """Exit code, negative signal, ``None`` when it was not started or could not be ended."""
    seconds: float | None
    """How long it ran."""
    log: str | None


@dataclass(frozen=True)
class Hang:
    """What was known of a hang when it ended the run."""

    suspect: str
    """Name of the rank that stands where no other does; where there is none, of the one that was silent longest."""
    sentence: str
    """Who had written nothing for how long, and where the ranks stand."""
    frames: tuple[str, ...]
    """``function (file:line)`` of the suspect's main thread, outermost first."""
    stacks: str | None
    """Path of the file with the stacks of all processes of this node."""


@dataclass(frozen=True)
class Outcome:
    """One run on one node."""

    run_id: str
    node_rank: int
    exit_code: int
    cause: str
    """``success``, ``failure``, ``not started``, ``signal``, ``hang`` or ``guard died``."""
    first: ProcessEnd | None
    """The process that failed first; of a hang the suspect."""
    signum: int | None
    """The stop signal, where that is the cause."""
    processes: tuple[ProcessEnd, ...]
    hang: Hang | None = None
    """Where that is the cause."""


_CAUSES = {
    Kind.EXITED: "failure",
    Kind.REFUSED: "not started",
    Kind.SIGNAL: "signal",
    Kind.HANG: "hang",
    Kind.GUARD_DIED: "guard died",
}


def outcome(
    plan: Plan,
    cause: Cause | None,
    exit_code: int,
    ended: Sequence[Ended],
    pids: Mapping[int, int],
    started_at: Mapping[int, float],
) -> Outcome:
    """Put the outcome together. Indexes are places in the plan; times are monotonic seconds."""
    end_of = {end.worker: end for end in ended}
    processes = []
    for index, spec in enumerate(plan.processes):
        end = end_of.get(index)
        seconds = round(end.at - started_at[index], 3) if end else None
        processes.append(
            ProcessEnd(spec.name, spec.rank, pids.get(index), end.returncode if end else None, seconds, spec.log)
        )
    return Outcome(
        run_id=plan.run_id,
        node_rank=plan.node_rank,
        exit_code=exit_code,
        cause=_CAUSES[cause.kind] if cause else "success",
        first=processes[cause.worker] if cause and cause.worker >= 0 else None,
        signum=cause.value if cause and cause.kind is Kind.SIGNAL else None,
        processes=tuple(processes),
    )


def as_json(result: Outcome) -> str:
    """The outcome as it is written to ``node<N>.outcome.json``."""
    import json
    from dataclasses import asdict

    return json.dumps(asdict(result), indent=1) + "\n"


def manner(returncode: int) -> str:
    """``exit code 7``, or ``SIGSEGV (signal 11)``."""
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return f"{signal.Signals(-returncode).name} (signal {-returncode})"
    except ValueError:  # real-time signals have no names
        return f"signal {-returncode}"
