"""A result as JSON, and as a few lines for people."""

from __future__ import annotations

from collections.abc import Sequence

from ma2l.results.merge import RankFigure, Result

_ROWS = 16
"""More ranks than this are told by their spread."""
_SLOWEST = 5


def as_json(result: Result, **more: object) -> str:
    """The content of a result file.

    Args:
        more: what a node says of itself, for whoever merges the nodes.
    """
    import json

    from ma2l.records import asdict

    return json.dumps({**asdict(result), **more}, indent=1) + "\n"


def summary(result: Result) -> str:
    """One line for the end of a run."""
    what = "throughput" if result.whole else "throughput (sum of these ranks)"
    value = result.throughput_ratio if result.whole else result.throughput_sum
    parts = [f"{what} {number(value)} samples/s" if value is not None else "no throughput"]
    if result.slowest and len(result.ranks) > 1:
        parts.append(f"slowest {result.slowest.name} with {number(result.slowest.throughput)}")
        parts.append(f"spread {result.spread or 0:.1%}")
    if result.accuracy is not None:
        parts.append(f"accuracy {number(result.accuracy)}")
    mock = "MOCK, no NPU was used: " if result.mock else ""
    return f"results of {result.scope}: {mock}{', '.join(parts)}"


def as_table(result: Result) -> str:
    """Everything, for a terminal of 80 columns."""
    lines = [
        f"scope             {result.scope}" + (" (every server is a job of its own)" if result.single_server else ""),
        f"throughput_ratio  {_given(result.throughput_ratio)}",
        f"accuracy          {_given(result.accuracy)}",
        f"mock              {'unknown' if result.mock is None else 'YES, no NPU was used' if result.mock else 'no'}",
        f"start, end        {result.start or 'unknown'}, {result.end or 'unknown'}",
    ]
    if not result.whole:
        lines.insert(1, f"throughput_sum    {_given(result.throughput_sum)} (of these ranks)")
    lines += _ranks(result.ranks, result.spread)
    lines += [
        f"server {s.server}: throughput {_given(s.throughput)}, accuracy {_given(s.accuracy)}" for s in result.servers
    ]
    lines += [f"problem: {problem}" for problem in result.problems]
    lines += [f"note: {note}" for note in result.notes]
    return "\n".join(lines) + "\n"


def _ranks(ranks: Sequence[RankFigure], spread: float | None) -> list[str]:
    if not ranks:
        return []
    values = sorted(one.throughput for one in ranks)
    low, middle, high = (number(values[place]) for place in (0, len(values) // 2, -1))
    spans = f"min {low}, median {middle}, max {high}, spread {spread or 0:.1%}"
    lines = [f"ranks             {len(ranks)}: {spans}"]
    slowest = sorted(ranks, key=lambda one: one.throughput)
    shown = ranks if len(ranks) <= _ROWS else slowest[:_SLOWEST]
    for one in shown:
        mark = "  <- slowest" if one is slowest[0] and len(ranks) > 1 else ""
        lines.append(f"  {one.name:<22}{number(one.throughput)}{mark}")
    if len(shown) < len(ranks):
        lines.append(f"  and {len(ranks) - len(shown)} faster ranks")
    return lines


def number(value: float) -> str:
    """Six digits, as nobody measures more."""
    return f"{value:.6g}"


def _given(value: float | None) -> str:
    return "unknown" if value is None else number(value)
