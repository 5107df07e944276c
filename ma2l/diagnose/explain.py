"""The report of a whole job, made again from the files that its nodes left."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from ma2l.diagnose.ends import last_bytes
from ma2l.diagnose.report import Evidence, Report, compose, examine, failed_first, verdict
from ma2l.diagnose.saved import Saved, read_directory
from ma2l.records import dataclass

CLOCKS = 2.0
"""Seconds by which the clocks of two nodes may well differ: NTP keeps them closer, many pods have none."""
SHOWN = 8
"""Nodes that are named one by one."""


@dataclass(frozen=True)
class Explanation:
    """What is said about the files."""

    text: str
    complaints: tuple[str, ...]
    """What could not be used."""


def explain(directories: Iterable[str]) -> Explanation:
    """Explain how the job ended whose nodes' files lie in these directories.

    Raises:
        LookupError: there is nothing of ma2l in any of them that can be used; its arguments say what cannot be.
        OSError: one of them cannot be read.
    """
    saved: list[Saved] = []
    complaints: list[str] = []
    useless: list[str] = []
    for directory in dict.fromkeys(map(os.path.realpath, directories)):
        found, problems = read_directory(directory)
        saved += found
        useless += problems
        complaints += problems if found or problems else [f"there are no logs of ma2l in {directory}"]
    if not saved:
        raise LookupError(*useless)
    newest = max(run.attempt for run in saved)
    lines = [f"attempt before: {line}" for line in _earlier([run for run in saved if run.attempt != newest])]
    runs = [run for run in saved if run.attempt == newest]
    return Explanation("\n".join(lines + _job(runs)) + "\n", tuple(complaints))


def _job(runs: Sequence[Saved]) -> list[str]:
    failed = _by_time(run for run in runs if run.outcome.first and run.outcome.cause in ("failure", "hang"))
    if not failed:
        return _ends(runs)
    head, *later = failed
    report = compose(head.outcome, scheduler_log=head.scheduler_log)
    lines = report.quote.decode(errors="replace").splitlines()
    lines += report.causes
    lines += _elsewhere(head, report, runs)
    lines += report.others
    lines += _ends([run for run in runs if run is not head])
    lines += _doubts(head, later)
    return [*lines, f"{'the first failure of the job: ' if len(runs) > 1 else ''}{_end(head)}"]


def _elsewhere(head: Saved, report: Report, runs: Sequence[Saved]) -> list[str]:
    """What logs of other nodes add where the first failure shows but a symptom of something else."""
    others = [run for run in runs if run is not head]
    accused = report.culprit.ranks if report.culprit else ()
    lines = []
    for run in others:
        for process in run.outcome.processes:
            if process.rank is not None and process.rank in accused:
                error = examine(process, last_bytes(process.log)).excerpt.error
                lines.append(f"{process.name} is on {_node(run)}; its log says: {error or 'nothing'}")
    if report.likely is None and head.outcome.cause == "failure" and _evidence(head).only_symptoms:
        for run in _by_time(run for run in others if run.outcome.first and run.outcome.cause != "hang"):
            evidence = _evidence(run)
            if evidence.names_a_cause:
                said = f"{evidence.process.name}'s log on {_node(run)} names the likely cause: {evidence.excerpt.error}"
                return [*lines, said, *map(str, evidence.known[:1])]
    return lines


def _evidence(run: Saved) -> Evidence:
    first = run.outcome.first
    assert first is not None
    return examine(first, last_bytes(first.log))


def _doubts(head: Saved, later: Sequence[Saved]) -> list[str]:
    lines = []
    first = head.outcome.first
    if first and not first.log and head.outcome.cause == "failure":
        lines.append(f"there is no log of {first.name} in {head.directory} that could be read")
    at = _failed_at(head)
    near = [run for run in later if abs(_failed_at(run) - at) < CLOCKS]
    if at != float("inf") and near:
        who = ", ".join(map(_node, near[:SHOWN])) + _more(near)
        lines.append(
            f"{who} failed within {CLOCKS:g} s of it, and clocks may differ by as much: either may have been the first"
        )
    if any(run.guessed for run in (head, *later)):
        lines.append("an outcome file is missing, so this is concluded from the logs alone")
    return lines


def _earlier(runs: Sequence[Saved]) -> list[str]:
    return _ends(sorted(runs, key=lambda run: run.attempt)[-SHOWN:])


def _ends(runs: Sequence[Saved]) -> list[str]:
    """How nodes' runs ended, a line for each; those that failed late or not at all are counted where there are many."""
    shown = runs if len(runs) <= SHOWN else _by_time(runs)[:SHOWN]
    more = _more(runs).strip()
    return [*map(_end, shown), *([more] if more else [])]


def _more(runs: Sequence[Saved]) -> str:
    rest = len(runs) - SHOWN
    return f" and {rest} other node{'s' if rest > 1 else ''}" if rest > 0 else ""


def _end(run: Saved) -> str:
    """How a node's run ended, in one line."""
    outcome = run.outcome
    if run.guessed and outcome.first is None:
        return f"{_node(run)}: no log shows an error"
    if outcome.cause == "success":
        return f"{_node(run)}: all ended well"
    if outcome.cause == "not started" and outcome.first:
        return f"{_node(run)}: {outcome.first.name} could not be started; exit code {outcome.exit_code}"
    line = verdict(outcome)
    if not line and outcome.cause == "failure" and outcome.first is not None:
        line = failed_first(outcome, outcome.first)
    return f"{_node(run)}: {line or f'{outcome.cause}; exit code {outcome.exit_code}'}"


def _node(run: Saved) -> str:
    rank, host = run.outcome.node_rank, run.outcome.host
    where = f"{host}, " if host else ""
    return f"node {rank} ({where}{run.directory})" if rank >= 0 else f"the node of {where}{run.directory}"


def _by_time(runs: Iterable[Saved]) -> list[Saved]:
    return sorted(runs, key=lambda run: (_failed_at(run), run.outcome.node_rank))


def _failed_at(run: Saved) -> float:
    first = run.outcome.first
    return first.ended_at if first is not None and first.ended_at is not None else float("inf")
