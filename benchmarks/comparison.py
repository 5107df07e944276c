"""The table in README.md and README.zh-CN.md: ma2l beside those that most people come from, from the raw data alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.peers import ROOT
from benchmarks.readings import Reading, median

PEERS = ("ma2l", "msrun", "torchrun", "mpirun 4.1")
BEGIN, END = "<!-- figures: written by python -m benchmarks.report -->\n", "<!-- end of figures -->"
NONE = "-"


@dataclass(frozen=True)
class Line:
    """One thing that is compared."""

    english: str
    chinese: str
    cell: Callable[[Sequence[Reading], str], str]


def _figure(row: str, case: str, what: str) -> Callable[[Sequence[Reading], str], str]:
    def cell(readings: Sequence[Reading], peer: str) -> str:
        value = median(readings, row, case, peer, what)
        return NONE if value is None else f"{value:.0f}"

    return cell


def _faults(readings: Sequence[Reading], peer: str) -> str:
    """In how many faults the exit code was right and nothing was left."""
    own = [r for r in readings if r.row == "faults" and r.peer == peer]
    cases = list(dict.fromkeys(r.case for r in own))
    values = {(r.case, r.what): r.value for r in own}
    good = [
        c for c in cases if values.get((c, "exit code")) == values.get((c, "right")) and not values.get((c, "left"))
    ]
    return f"{len(good)} / {len(cases)}" if cases else NONE


LINES = (
    Line("first of 8 workers up, ms", "8 个进程中第一个启动 (毫秒)", _figure("start", "8 workers", "first up (ms)")),
    Line(
        "8 workers that do nothing, ms", "8 个空进程的整个运行 (毫秒)", _figure("start", "8 workers", "no-op run (ms)")
    ),
    Line(
        "a worker fails: all gone after ms",
        "一个进程失败后全部退出 (毫秒)",
        _figure("failure", "2 s after the start", "gone after (ms)"),
    ),
    Line(
        "stopped while 8 workers need 5 s to save: saved",
        "停止时 8 个进程各需 5 秒保存 CKPT, 保存成功的个数",
        _figure("stop", "workers need 5 s", "saved"),
    ),
    Line("faults with the right exit code and nothing left", "故障场景中退出码正确且无残留进程", _faults),
    Line("memory of the launcher, MiB", "启动器占用内存 (MiB)", _figure("idle", "8 workers", "memory (MiB)")),
    Line("its wake-ups per minute", "启动器每分钟唤醒次数", _figure("idle", "8 workers", "wake-ups per minute")),
    Line(
        "lines of 8 ranks on the console, MB/s",
        "8 个 rank 的日志输出到控制台 (MB/s)",
        _figure("logs, shown", "8 ranks, 200 MB", "console (MB/s)"),
    ),
)
READMES: dict[str, Callable[[Line], str]] = {
    "README.md": lambda line: line.english,
    "README.zh-CN.md": lambda line: line.chinese,
}


def table(readings: Sequence[Reading], label: Callable[[Line], str]) -> str:
    """The table, in one of the languages."""
    lines = [f"| | {' | '.join(PEERS)} |", f"|---|{'---|' * len(PEERS)}"]
    lines += [f"| {label(one)} | {' | '.join(one.cell(readings, peer) for peer in PEERS)} |" for one in LINES]
    return "\n".join(lines) + "\n"


def with_table(text: str, table: str) -> str:
    """A README with the table in its place."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}"


def write(readings: Sequence[Reading]) -> None:
    """Bring both to the state of the data."""
    for name, label in READMES.items():
        path = os.path.join(ROOT, name)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(with_table(text, table(readings, label)))
