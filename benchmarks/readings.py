"""What is measured: single numbers, of which the report is made and nothing else."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Reading:
    """One number, or the word of why there is none."""

    row: str
    """``start``, ``failure``, ..."""
    case: str
    """Which of the row's cases: ``8 workers``, ``SIGTERM, workers need 0.5 s``."""
    peer: str
    what: str
    """``first up``, ``memory``, ..., with the unit in brackets."""
    value: float | str


@dataclass(frozen=True)
class Spread:
    """Readings of the same thing."""

    least: float
    median: float
    most: float
    count: int


def spread(values: Sequence[float]) -> Spread:
    """Summarise."""
    return Spread(min(values), statistics.median(values), max(values), len(values))


def numbers(readings: Iterable[Reading], row: str, case: str, peer: str, what: str) -> list[float]:
    """The readings of one thing."""
    wanted = (row, case, peer, what)
    return [r.value for r in readings if (r.row, r.case, r.peer, r.what) == wanted and isinstance(r.value, float)]


def median(readings: Iterable[Reading], row: str, case: str, peer: str, what: str) -> float | None:
    """Their median, ``None`` where there are none."""
    values = numbers(readings, row, case, peer, what)
    return statistics.median(values) if values else None


def as_json(machine: dict[str, str], readings: Sequence[Reading]) -> str:
    """The raw data, a line for each reading, so that two of them can be compared with diff."""
    lines = ",\n  ".join(json.dumps(list(asdict(one).values())) for one in readings)
    return f'{{"machine": {json.dumps(machine, sort_keys=True)},\n "readings": [\n  {lines}\n]}}\n'


def of_json(text: str) -> tuple[dict[str, str], list[Reading]]:
    """Read that again."""
    data = json.loads(text)
    return data["machine"], [Reading(*fields) for fields in data["readings"]]
