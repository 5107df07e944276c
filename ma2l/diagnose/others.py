"""What became of the other processes after the first failure: those that ended alike share a line. Pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping, Sequence

from ma2l.diagnose.outcome import ProcessEnd, manner

SHOWN = 4
"""Lines; more kinds of endings are counted."""
_ASKED = (0, -signal.SIGTERM, 128 + signal.SIGTERM)
_NUMBER = re.compile(r"0x[0-9a-f]+|\d+")
_RANK = re.compile(r"rank (\d{1,9})")


def fold(first: ProcessEnd, processes: Sequence[ProcessEnd], errors: Mapping[str, str]) -> list[str]:
    """A line for each way in which others ended.

    Args:
        first: the process that failed first.
        processes: all of the plan.
        errors: by process name, the line of its log that says most; empty where it says nothing.
    """
    groups: dict[tuple[object, ...], list[ProcessEnd]] = {}
    for process in processes:
        if process.ran and process.name != first.name:
            groups.setdefault(_way(process, first, errors), []).append(process)
    lines = [_line(way, group, first, errors) for way, group in groups.items()]
    rest = lines[SHOWN:]
    return lines[:SHOWN] + ([f"and {len(rest)} other ways of ending; the outcome file has them"] if rest else [])


def named(processes: Iterable[ProcessEnd]) -> str:
    """``rank 3``, ``ranks 0-2, 4``, ``scheduler, ranks 0-7``."""
    ranks, names = [], []
    for process in processes:
        match = _RANK.fullmatch(process.name)
        if match:
            ranks.append(int(match[1]))
        else:
            names.append(process.name)
    if ranks:
        names.append(f"rank{'s' if len(ranks) > 1 else ''} {_ranges(sorted(ranks))}")
    return ", ".join(names)


def alike(error: str) -> str:
    """An error without what differs between ranks that fail alike: numbers and addresses."""
    return _NUMBER.sub("0", error)


def _way(process: ProcessEnd, first: ProcessEnd, errors: Mapping[str, str]) -> tuple[object, ...]:
    code = process.returncode
    if code is None:
        return ("stuck",)
    if code == 0 and (_later(process, first) or 0.0) < 0:
        return ("before",)
    if code in _ASKED:
        return ("stopped",)
    if code == -signal.SIGKILL:
        return ("killed",)
    error = alike(errors.get(process.name, ""))
    if code == first.returncode and error == alike(errors.get(first.name, "")):
        return ("same",)
    return (code, error)


def _line(way: tuple[object, ...], group: Sequence[ProcessEnd], first: ProcessEnd, errors: Mapping[str, str]) -> str:
    who, when = named(group), _when(group, first)
    if way[0] == "before":
        return f"{who} had ended well before"
    if way[0] == "stuck":
        return f"{who} could not be ended"
    if way[0] == "stopped":
        return f"{who} ended when asked to{when}"
    if way[0] == "killed":
        return f"{who} had to be killed{when}"
    if way[0] == "same":
        return f"{who} ended the same way{when}"
    code, error = group[0].returncode, errors.get(group[0].name, "")
    return f"{who} ended with {manner(code or 0)}{when}{f': {error}' if error else ''}"


def _when(group: Sequence[ProcessEnd], first: ProcessEnd) -> str:
    known = [seconds for process in group if (seconds := _later(process, first)) is not None]
    return f", {'the last ' if len(group) > 1 else ''}{max(*known, 0.0):.1f} s later" if known else ""


def _later(process: ProcessEnd, first: ProcessEnd) -> float | None:
    if process.ended_at is None or first.ended_at is None:
        return None
    return process.ended_at - first.ended_at


def _ranges(numbers: Sequence[int]) -> str:
    """``0-2, 4``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)
