"""The report: what happened first, the lines of its log that tell why, what they are known to mean, and the others."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping, Sequence

from ma2l.diagnose.culprit import Culprit, accused
from ma2l.diagnose.ends import last_bytes
from ma2l.diagnose.excerpt import LAST_LINES, Excerpt, excerpt
from ma2l.diagnose.others import fold
from ma2l.diagnose.outcome import Hang, Outcome, ProcessEnd, manner, signal_name
from ma2l.diagnose.signatures import Signature, known, only_symptoms
from ma2l.records import asdict, dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Read = Callable[[ProcessEnd], bytes]

MEANINGS = 2
"""Known errors of one log that are explained."""
LINES = 25
"""Lines of a report, if its parts can be cut to that."""
_FEWEST = 5
"""Last lines of a log that are shown however much else there is to say."""
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
"""Of the process itself, or of what a shell ran."""
_OF_THE_PROGRAM = re.compile(
    r"(Value|Type|Key|Index|Attribute|Name|UnboundLocal|Assertion|ZeroDivision|Syntax|Indentation|Import|ModuleNotFound"
    r"|FileNotFound|NotADirectory|IsADirectory|Permission|NotImplemented|UnicodeDecode|UnicodeEncode)Error\b"
)
"""Exceptions of which nobody dies because another rank has failed."""
STOPPED = (None, 0, -signal.SIGTERM, -signal.SIGKILL)
"""Return codes of a process that need not have failed by itself."""
LOGS = 64
"""Logs of other processes that are looked at, those that ended first."""


@dataclass(frozen=True)
class Evidence:
    """What the log of one process shows."""

    process: ProcessEnd
    excerpt: Excerpt
    known: tuple[Signature, ...]
    culprit: Culprit | None

    @property
    def only_symptoms(self) -> bool:
        """Whether it shows nothing but that another process has failed."""
        return only_symptoms(self.known)

    @property
    def names_a_cause(self) -> bool:
        """Whether it shows more than that. A traceback that nobody knows is one where the log ends with it."""
        if self.known:
            return not self.only_symptoms
        return self.excerpt.fatal

    @property
    def vague(self) -> bool:
        """Whether that is an error which says little by itself, such as any call of CANN that failed."""
        return bool(self.known) and all(signature.vague for signature in self.known)


@dataclass(frozen=True)
class Report:
    """What a person reads at the end."""

    verdict: str
    """The run's end in one line; empty after a success."""
    quote: bytes = b""
    """Lines of the log, as they are; of a hang the frames of the suspect."""
    causes: tuple[str, ...] = ()
    """Known meanings, and who else is to be looked at; a line each."""
    others: tuple[str, ...] = ()
    """What became of the other processes, and where to look."""
    known: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Ids of the known errors by process."""
    likely: str | None = None
    """The process whose log names the likely cause, where that is not the first one's."""
    culprit: Culprit | None = None
    """Whom the log of the first accuses."""

    def as_data(self) -> dict[str, Any]:
        """As it stands in the outcome file."""
        return {**asdict(self), "quote": self.quote.decode(errors="replace").splitlines()}


def compose(
    outcome: Outcome,
    read: Read = lambda process: last_bytes(process.log),
    scheduler_log: str | None = None,
    rank_of: Callable[[Culprit], int | None] = lambda culprit: None,
) -> Report:
    """Make the report.

    Args:
        read: the end of a process's log.
        scheduler_log: log of the dynamic cluster's scheduler, where it runs on this node.
        rank_of: the rank at a server and device, where the rank table is known.
    """
    first = outcome.first
    if outcome.hang is not None:
        return Report(verdict(outcome), standing(outcome.hang))
    if outcome.cause != "failure" or first is None:
        return Report(verdict(outcome))
    evidence = examine(first, read(first))
    rest = _rest(outcome, first, evidence, read)
    culprit = _placed(evidence.culprit, rank_of)
    likely = likely_cause(evidence, rest, culprit)
    causes = _meanings(evidence, scheduler_log)
    if culprit:
        causes.append(f"it accuses {culprit}{_word_of(culprit, outcome, read)}")
    if likely:
        causes += _of_another(likely)
    if _want_of_memory(outcome) or (outcome.oom_kills and any(s.id == "loader-killed" for s in evidence.known)):
        causes.append(
            f"the kernel killed {outcome.oom_kills} process{'es' if outcome.oom_kills != 1 else ''} of this container "
            "for want of memory during the run; use less memory per rank, or ask for more"
        )
    errors = {e.process.name: e.excerpt.error for e in (evidence, *rest)}
    others = (*(fold(first, outcome.processes, errors) if first.returncode is not None else ()), *_where(outcome))
    return Report(
        quote=_quote(evidence, max(LINES - len(causes) - len(others) - 3, _FEWEST)),
        causes=tuple(causes),
        others=others,
        verdict=verdict(outcome),
        known={e.process.name: tuple(s.id for s in e.known) for e in (evidence, *rest) if e.known},
        likely=likely.process.name if likely else None,
        culprit=culprit,
    )


def examine(process: ProcessEnd, log: bytes) -> Evidence:
    """See what a log shows."""
    code = process.returncode or 0
    shown = excerpt(log, by_signal=code < 0 or 128 < code <= 128 + signal.SIGRTMAX)  # so a shell tells of it
    found = known(log)
    if shown.fatal and only_symptoms(found):
        # What stands above was survived; what stands below a mistake of the program only followed from it.
        mistake = _OF_THE_PROGRAM.match(shown.error)
        found = known(shown.error.encode() if mistake else shown.rest)
        if not found:
            return Evidence(process, shown, (), None)
    return Evidence(process, shown, tuple(found), accused(log))


def likely_cause(first: Evidence, rest: Sequence[Evidence], culprit: Culprit | None) -> Evidence | None:
    """Whose log names the cause, where that of the first shows nothing but symptoms: that of the accused, else of the
    first that says more than that something failed."""
    if not first.only_symptoms:
        return None
    ranks = culprit.ranks if culprit else ()
    causes = [evidence for evidence in rest if evidence.names_a_cause]
    return min(causes, key=lambda evidence: (evidence.process.rank not in ranks, evidence.vague), default=None)


def verdict(outcome: Outcome) -> str:
    """The run's end in one line; empty after a success."""
    if outcome.cause == "signal":
        return f"stopped by {signal_name(outcome.signum or 0)}; exit code {outcome.exit_code}"
    if outcome.cause == "guard died":
        return f"the guard process was killed; all workers were killed; exit code {outcome.exit_code}"
    if outcome.cause == "hang":
        found = f": {outcome.hang.sentence}" if outcome.hang else ""
        return f"hang{found}; exit code {outcome.exit_code}"
    first = outcome.first
    if first is None or first.returncode is None:
        return ""
    others = max(sum(1 for process in outcome.processes if process.pid is not None) - 1, 0)
    stopped = f"; {others} other{'s' if others > 1 else ''} stopped" if others else ""
    return f"{failed_first(outcome, first)}{stopped}; exit code {outcome.exit_code}"


def failed_first(outcome: Outcome, first: ProcessEnd) -> str:
    """Who, how and when: ``rank 3 failed first: exit code 7 after 1.2 s (pid 100, node 1, device 3)``."""
    node = f", node {outcome.node_rank}" if outcome.node_rank >= 0 else ""
    device = f", device {first.device}" if first.device is not None else ""
    memory = ", out of memory," if _want_of_memory(outcome) else ""
    how = "its log shows an error" if first.returncode is None else manner(first.returncode)
    after = f" after {first.seconds:.1f} s" if first.seconds is not None else ""
    who = f"pid {first.pid}{node}{device}" if first.pid is not None else f"{node}{device}"[2:]
    return f"{first.name} failed first: {how}{memory}{after}{f' ({who})' if who else ''}"


def standing(hang: Hang) -> bytes:
    """The innermost frames of the suspect of a hang and where all others are to be found; empty without any."""
    if not hang.frames and not hang.stacks:
        return b""
    shown = [f"    {frame}" for frame in reversed(hang.frames[-LAST_LINES:])]
    head = f"--- {hang.suspect} stands in" if shown else "--- where all ranks stand"
    lines = [head, *shown, f"--- all stacks are in {hang.stacks}" if hang.stacks else "---"]
    return "".join(line + "\n" for line in lines).encode(errors="backslashreplace")


def hints(process: ProcessEnd, scheduler_log: str | None = None) -> list[str]:
    """What the end of its log is known to mean, and what to do.

    Args:
        scheduler_log: log of the dynamic cluster's scheduler, where it runs on this node.
    """
    return _meanings(examine(process, last_bytes(process.log)), scheduler_log)


def _meanings(evidence: Evidence, scheduler_log: str | None) -> list[str]:
    from ma2l.diagnose.formation import shortfall

    causes = [signature for signature in evidence.known if signature.primary] or evidence.known
    return [(s.scheduler and shortfall(scheduler_log)) or str(s) for s in causes[:MEANINGS]]


def _rest(outcome: Outcome, first: ProcessEnd, evidence: Evidence, read: Read) -> list[Evidence]:
    """What the logs of others show, those that ended first before the rest. One that ended only because it was asked
    is worth a look where the first shows but symptoms."""
    others = [process for process in outcome.processes if process.ran and process.name != first.name]
    if not evidence.only_symptoms:
        others = [process for process in others if process.returncode not in STOPPED]
    others.sort(key=lambda process: process.ended_at or 0.0)
    return [examine(process, read(process)) for process in others[:LOGS]]


def _placed(culprit: Culprit | None, rank_of: Callable[[Culprit], int | None]) -> Culprit | None:
    if culprit is None or culprit.ranks:
        return culprit
    rank = rank_of(culprit)
    return culprit if rank is None else Culprit(culprit.server, culprit.device, (rank,), culprit.reason)


def _word_of(culprit: Culprit, outcome: Outcome, read: Read) -> str:
    """What the accused rank's own log says, where it is on this node."""
    if outcome.first and outcome.first.rank in culprit.ranks:
        return "; that is this rank itself"
    here = [p for p in outcome.processes if p.rank is not None and p.rank in culprit.ranks and p != outcome.first]
    said = excerpt(read(here[0])).error if here else ""
    return f"; the log of {here[0].name} says: {said}" if said else "; look at that log first"


def _of_another(likely: Evidence) -> list[str]:
    said = f": {likely.excerpt.error}" if likely.excerpt.error else ""
    place = f" ({likely.process.log})" if likely.process.log else ""
    lines = [f"{likely.process.name}'s log{place} names the likely cause{said}"]
    return lines + [str(signature) for signature in likely.known[:1]]


def _want_of_memory(outcome: Outcome) -> bool:
    """Only SIGKILL: the kernel sends no other signal for it."""
    first = outcome.first
    return bool(outcome.oom_kills) and first is not None and first.returncode in _KILLED


def _quote(evidence: Evidence, room: int) -> bytes:
    """The lines, in a frame that names the file. Nothing of ours stands above a traceback, which needs no heading.

    Args:
        room: for so many last lines; a traceback is cut already.
    """
    log, lines = evidence.process.log, evidence.excerpt.lines
    if log is None:
        return b""
    path = log.encode(errors="backslashreplace")
    if not lines:
        return b"ma2l: it wrote nothing to " + path + b"\n"
    lines = lines if evidence.excerpt.traceback else lines[-room:]
    text = b"".join(line + b"\n" for line in lines)
    if evidence.excerpt.traceback:
        return text + b"--- from " + path + b"\n"
    return b"--- last lines of " + path + b"\n" + text + b"---\n"


def _where(outcome: Outcome) -> list[str]:
    return [f"logs and outcome are in {outcome.log_dir}"] if outcome.log_dir else []
