"""The report, from the raw data alone: ``python -m benchmarks.report`` writes ``performance.md``, its
plots, and the table of the READMEs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from benchmarks import comparison
from benchmarks.bar import verdicts
from benchmarks.peers import ROOT
from benchmarks.readings import Reading, numbers, of_json, spread

FOLDER = os.path.join(ROOT, "docs", "explanation")
DATA = os.path.join(FOLDER, "performance.json")

INTRODUCTION = """\
# Performance

This page is made by `make bench` from [its raw data](performance.json). All launchers run in turn (A B C A B C), so
that whatever else the machine does meets all of them; figures are medians, with the smallest and largest in brackets.
The workers are a C program of a few milliseconds, so that launchers are measured and not Python. `floor` is a C program
that starts the workers and waits, without any care for them. msrun starts only Python, so there a script of two lines
stands before each worker, and its scheduler ends at once. ma2l's workers are those of a mock, whose platform it sets up
first; `ma2l, job` finds a rank table and the variables of ModelArts instead, on a machine without NPUs. A run that is
over within 0.2 s ends before ma2l has loaded loguru ([why](../architecture.md#start-time)).

Machines differ more than launchers: compare within a table, never with figures from elsewhere.
"""
TITLES = {
    "start": "Start, and a run that does nothing",
    "failure": "A worker fails: from its exit with 7 to the launcher's end",
    "stop": "SIGTERM to the launcher: to its end, and how many of 8 workers could save",
    "faults": "Faults: exit code, and processes left a second after the launcher's end",
    "idle": "At rest: launcher and helpers, without the workers",
    "logs, hidden": "Logs in files: how long the workers write",
    "logs, shown": "Logs on the console, with the rank in front",
    "logs, followed": "Logs on the console: following alone, files that are written already",
    "rank tables": "Rank tables of 16 devices a server",
    "container": "The image: from `podman run` to the first worker, and what it adds",
    "soak": "A long life, compressed: ma2l early and late",
}


def report(machine: dict[str, str], readings: Sequence[Reading]) -> str:
    """The page."""
    parts = [INTRODUCTION, ", ".join(f"{name} {value}" for name, value in machine.items()) + ".\n"]
    parts += [_bars(readings)]
    if absent := [r for r in readings if r.row == "absent"]:
        parts.append("\n".join(f"- {r.peer} was not measured: {r.value}" for r in absent) + "\n")
    for row, title in TITLES.items():
        own = [r for r in readings if r.row == row]
        if not own:
            continue
        parts.append(f"## {title}\n")
        if row in PLOTS:
            parts.append(f"![{title}]({_file(row)})\n")
        parts.append(_faults(own) if row == "faults" else "\n".join(_tables(own)))
    return "\n".join(parts)


def _bars(readings: Sequence[Reading]) -> str:
    head = ["## Where ma2l wants to stand\n", "| | ma2l / other | wanted at most |", "|---|---|---|"]
    return "\n".join([*head, *verdicts(readings)]) + "\n"


def _tables(readings: Sequence[Reading]) -> Iterator[str]:
    """A table for each case: peers by what was measured."""
    for case in _distinct(r.case for r in readings if r.case):
        own = [r for r in readings if r.case in (case, "")]
        columns = _distinct(r.what for r in own if r.what != "why not")
        yield f"{case}:\n\n| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}"
        for peer in _distinct(r.peer for r in own):
            yield f"| {peer} | {' | '.join(_cell(own, peer, what) for what in columns)} |"
        yield ""


def _cell(own: Sequence[Reading], peer: str, what: str) -> str:
    values = [v for case in _distinct(r.case for r in own) for v in numbers(own, own[0].row, case, peer, what)]
    reasons = [str(r.value) for r in own if r.peer == peer and r.what == "why not"]
    if not values:
        return reasons[0] if reasons else ""
    found = spread(values)
    missed = f", {len(reasons)} times not: {reasons[0]}" if reasons else ""
    if found.least == found.most:
        return f"{_number(found.median)}{missed}"
    return f"{_number(found.median)} ({_number(found.least)}-{_number(found.most)}){missed}"


def _faults(own: Sequence[Reading]) -> str:
    peers = _distinct(r.peer for r in own)
    lines = [f"| | right | {' | '.join(peers)} |", f"|---|---|{'---|' * len(peers)}"]
    for case in _distinct(r.case for r in own):
        here = [r for r in own if r.case == case]
        right = next((r.value for r in here if r.what == "right" and isinstance(r.value, float)), 0.0)
        lines.append(f"| {case} | {right:g} | {' | '.join(_fault(here, peer, right) for peer in peers)} |")
    return "\n".join(lines) + "\n"


def _fault(here: Sequence[Reading], peer: str, right: float) -> str:
    values = {r.what: r.value for r in here if r.peer == peer}
    if "why not" in values:
        return f"**{values['why not']}**"
    code, left = values.get("exit code"), values.get("left")
    if not isinstance(code, float) or not isinstance(left, float):
        return ""
    shown = f"{code:g}" if code == right else f"**{code:g}**"
    return f"{shown}, **{left:g} left**" if left else shown


def _number(value: float) -> str:
    """Three figures that count."""
    if value >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.3g}"


def _distinct(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


def _file(row: str) -> str:
    return f"performance-{row.replace(' ', '-')}.svg"


def _plot_start(readings: Sequence[Reading], path: str) -> None:
    """First worker up and no-op run of 8 workers, on a logarithmic scale."""
    from matplotlib import pyplot

    case, whats = "8 workers", ("first up (ms)", "no-op run (ms)")
    peers = _distinct(r.peer for r in readings if r.row == "start" and r.case == case and r.what == whats[0])
    figure, axes = pyplot.subplots(figsize=(7, 0.4 * len(peers) + 1))
    for offset, what in zip((-0.2, 0.2), whats):
        medians = [spread(numbers(readings, "start", case, peer, what)).median for peer in peers]
        axes.barh([place + offset for place in range(len(peers))], medians, height=0.38, label=what)
    axes.set(xscale="log", yticks=range(len(peers)), yticklabels=peers, xlabel="ms, 8 workers")
    axes.invert_yaxis()
    axes.legend()
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def _plot_tables(readings: Sequence[Reading], path: str) -> None:
    """Time by ranks, both logarithmic: a straight line of slope one is linear growth."""
    from matplotlib import pyplot

    own = [r for r in readings if r.row == "rank tables"]
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for what, style in (("read, check, write (s)", "-"), ("ma2l plan (s)", "--")):
        for form in _distinct(r.peer for r in own if r.what == what):
            cases = _distinct(r.case for r in own if r.peer == form)
            ranks = [int(case.split()[0]) * 16 for case in cases]
            medians = [spread(numbers(own, "rank tables", case, form, what)).median for case in cases]
            axes.plot(ranks, medians, style, label=f"{form}: {what}", marker=".")
    axes.set(xscale="log", yscale="log", xlabel="ranks", ylabel="s")
    axes.legend(fontsize=7)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


PLOTS: dict[str, Callable[[Sequence[Reading], str], None]] = {"start": _plot_start, "rank tables": _plot_tables}


def main() -> None:
    """Write page and plots."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "ma2l"  # the same picture for the same data
    with open(DATA, encoding="ascii") as file:
        machine, readings = of_json(file.read())
    for row, plot in PLOTS.items():
        if any(r.row == row for r in readings):
            plot(readings, os.path.join(FOLDER, _file(row)))
    with open(os.path.join(FOLDER, "performance.md"), "w", encoding="utf-8") as page:
        page.write(report(machine, readings))
    comparison.write(readings)


if __name__ == "__main__":
    main()
