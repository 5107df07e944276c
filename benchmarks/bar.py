"""Where ma2l has to stand, as ratios to what was measured beside it: absolute times say more of the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.readings import Reading, median


@dataclass(frozen=True)
class Bar:
    """``what`` of ma2l is at most ``most`` times that of another."""

    row: str
    case: str
    what: str
    than: str
    most: float
    own: str = "ma2l"
    """Whose reading is ma2l's: rank tables have their form there."""


PYTHON = "python -I -S -c pass"
"""Where this took 7.9 ms some goals were set as times: 40 ms to the first worker, 130 for a no-op run, 2 s for a table
of 262,144 ranks, 300 MB/s to the console with one core."""
BARS = (
    Bar("start", "8 workers", "first up (ms)", "mpirun 4.1", 2.5),
    Bar("start", "8 workers", "first up (ms)", "mpirun 5.0", 2.5),
    Bar("start", "8 workers", "first up (ms)", PYTHON, 5.1),
    Bar("start", "8 workers", "no-op run (ms)", PYTHON, 16),
    Bar("start", "512 workers", "no-op run (ms)", "mpirun 4.1", 0.5),
    Bar("failure", "2 s after the start", "gone after (ms)", "mpirun 4.1", 0.2),
    Bar("idle", "8 workers", "memory (MiB)", "mpirun 4.1", 4),
    Bar("logs, hidden", "8 ranks, 1000 MB", "workers write (s)", "floor", 1.02),
    Bar("logs, followed", "8 ranks, 200 MB", "CPU (s per GB)", PYTHON, 0.42),
    *(
        Bar("rank tables", "16384 servers", "read, check, write (s)", PYTHON, 0.25, own=form)
        for form in ("template 2", "1.0", "1.2")  # 2.0 has 65,536 ranks at most
    ),
)
SLACK = 2.0
"""How far behind is a failure of ``--quick``: machines are shared and noisy."""


def ratio(readings: Sequence[Reading], bar: Bar) -> float | None:
    """ma2l's median by the other's, ``None`` where one of both is missing."""
    own = median(readings, bar.row, bar.case, bar.own, bar.what)
    if bar.than == PYTHON:
        other = median(readings, "start", "", PYTHON, "no-op run (ms)")
    else:
        other = median(readings, bar.row, bar.case, bar.than, bar.what)
    return own / other if own is not None and other else None


def verdicts(readings: Sequence[Reading]) -> list[str]:
    """A row of a Markdown table for each bar."""
    return [f"| {_name(bar)} / {bar.than} | {_verdict(readings, bar)} | {bar.most:g} |" for bar in BARS]


def _name(bar: Bar) -> str:
    return f"{bar.row}, {bar.case}{f' in form {bar.own}' if bar.own != 'ma2l' else ''}: {bar.what}"


def _verdict(readings: Sequence[Reading], bar: Bar) -> str:
    found = ratio(readings, bar)
    return "not measured" if found is None else f"{found:.2f}{'' if found <= bar.most else ' (missed)'}"


def behind(readings: Sequence[Reading]) -> list[str]:
    """A line for each bar that ma2l misses by more than SLACK times, and for readings that must not be missing."""
    lines = [
        f"{_name(bar)} is {found:.2f} times that of {bar.than}, the bar is {bar.most:g}"
        for bar in BARS
        if (found := ratio(readings, bar)) is not None and found > bar.most * SLACK
    ]
    return lines + [f"{r.row}, {r.case}: ma2l could not be measured: {r.value}" for r in readings if _failed(r)]


def _failed(reading: Reading) -> bool:
    return reading.peer == "ma2l" and reading.what == "why not"
