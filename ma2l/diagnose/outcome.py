"""How a run ended, as data: who failed first, how, and what became of the others.

``docs/reference/outcome.md`` describes the file that is made of it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence

from ma2l.plan.spec import Plan, ProcessSpec
from ma2l.records import dataclass
from ma2l.supervise.machine import Cause, Ended, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ma2l.diagnose.report import Report

SCHEMA = 1
"""Version of the outcome file; it rises when a field changes its meaning or goes."""


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
    device: str | None = None
    """Its NPU, as the program sees it: the index among the visible ones."""
    ended_at: float | None = None
    """Seconds since 1970. Ends on one node are in their true order whatever the clock did."""

    @property
    def ran(self) -> bool:
        """Whether it was ever started."""
        return self.pid is not None or self.ended_at is not None


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
    """``success``, ``failure``, ``not started``, ``called off``, ``signal``, ``hang`` or ``guard died``."""
    first: ProcessEnd | None
    """The process that failed first; of a hang the suspect."""
    signum: int | None
    """The stop signal, where that is the cause."""
    processes: tuple[ProcessEnd, ...]
    host: str = ""
    log_dir: str = ""
    started_at: float | None = None
    """Seconds since 1970 when the first process was started."""
    ended_at: float | None = None
    """Seconds since 1970 when the last process had ended."""
    oom_kills: int | None = None
    """How many processes of this control group the kernel killed for want of memory during the run, if known."""
    hang: Hang | None = None
    """Where that is the cause."""
    schema: int = SCHEMA


_CAUSES = {
    Kind.EXITED: "failure",
    Kind.REFUSED: "not started",
    Kind.SIGNAL: "signal",
    Kind.HANG: "hang",
    Kind.GUARD_DIED: "guard died",
    Kind.CALLED_OFF: "called off",
}


def outcome(
    plan: Plan,
    cause: Cause | None,
    exit_code: int,
    ended: Sequence[Ended],
    pids: Mapping[int, int],
    started_at: Mapping[int, float],
    epoch: float = 0.0,
    oom_kills: int | None = None,
) -> Outcome:
    """Put the outcome together. Indexes are places in the plan; times are monotonic seconds.

    Args:
        epoch: the wall clock's time at monotonic 0, in seconds since 1970.
    """
    end_of = {end.worker: end for end in ended}
    processes = []
    for index, spec in enumerate(plan.processes):
        end = end_of.get(index)
        processes.append(
            ProcessEnd(
                spec.name,
                spec.rank,
                pids.get(index),
                end.returncode if end else None,
                round(end.at - started_at[index], 3) if end else None,
                spec.log,
                _device(spec),
                round(epoch + end.at, 3) if end else None,
            )
        )
    return Outcome(
        run_id=plan.run_id,
        node_rank=plan.node_number,
        exit_code=exit_code,
        cause=_CAUSES[cause.kind] if cause else "success",
        first=processes[cause.worker] if cause and cause.worker >= 0 else None,
        signum=cause.value if cause and cause.kind is Kind.SIGNAL else None,
        processes=tuple(processes),
        host=os.uname().nodename,
        log_dir=plan.log_dir,
        started_at=round(epoch + min(started_at.values()), 3) if started_at else None,
        ended_at=round(epoch + max(end.at for end in ended), 3) if ended else None,
        oom_kills=oom_kills,
    )


def as_json(result: Outcome, report: Report | None = None) -> str:
    """The outcome as it is written to ``node<N>.outcome.json``."""
    import json

    from ma2l.records import asdict

    data = {"schema": result.schema, **asdict(result), "report": report.as_data() if report else None}
    return json.dumps(data, indent=1) + "\n"


def manner(returncode: int) -> str:
    """``exit code 7``, or ``SIGSEGV (signal 11)``."""
    if returncode >= 0:
        return f"exit code {returncode}"
    name, plain = signal_name(-returncode), f"signal {-returncode}"
    return name if name == plain else f"{name} ({plain})"


def signal_name(signum: int) -> str:
    """``SIGTERM``; real-time signals have no names."""
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"


def _device(spec: ProcessSpec) -> str | None:
    if spec.role != "rank":
        return None
    return spec.env.get("DEVICE_ID") or (None if spec.local_rank is None else str(spec.local_rank))
