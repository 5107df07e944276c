"""``python -m benchmarks [--quick] [--rounds N] [--rows NAME,...] [--peers NAME,...]``: measure, in turn, and report.

Every round runs every peer once, A B C A B C, so that whatever else the machine does meets all of them. The raw data
go to ``docs/explanation/performance.json``, the report made of them beside it. ``--quick`` writes nothing: it compares
ma2l with the peers that are there, and fails where a ratio has fallen behind by more than twice.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import date

from benchmarks import container, launching, logs, soak, tables
from benchmarks.bar import behind, verdicts
from benchmarks.peers import HERE, ROOT, Peer, peers
from benchmarks.readings import Reading, as_json, of_json
from benchmarks.report import DATA
from benchmarks.runs import Stuck


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="ma2l beside its peers")
    parser.add_argument("--quick", action="store_true", help="a few minutes; fails where ratios are far behind")
    parser.add_argument("--rounds", type=int, default=0, help="how often each is measured (default: 5, quick 3)")
    parser.add_argument("--rows", default="", help="comma-separated: " + ", ".join(ROWS))
    parser.add_argument("--peers", default="", help="comma-separated names, beside ma2l and the floor")
    asked = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # below nohup or `&` launchers would inherit them ignored
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    rounds = asked.rounds or (3 if asked.quick else 5)
    rows = asked.rows.split(",") if asked.rows else ["start", "failure", "idle"] if asked.quick else list(ROWS)
    with tempfile.TemporaryDirectory() as directory:
        worker, floor = (_compiled(name, directory) for name in ("worker", "floor"))
        wanted = [p for p in peers(floor) if not asked.peers or p.name in ("floor", "ma2l", *asked.peers.split(","))]
        there = [peer for peer in wanted if not peer.missing]
        readings = _absent(wanted)
        for row in rows:
            print(f"{row}: {rounds} rounds at most of {', '.join(peer.name for peer in there)}", file=sys.stderr)
            readings += ROWS[row](there, directory, worker, rounds)
            if not asked.quick:
                _save(readings)
    if asked.quick:
        complaints = behind(readings)
        print(*verdicts(readings), *(complaints or ["no ratio is far behind"]), sep="\n")
        return 1 if complaints else 0
    return subprocess.run([sys.executable, "-m", "benchmarks.report"], cwd=ROOT, check=False).returncode


def _start(there: list[Peer], directory: str, worker: str, rounds: int) -> Iterator[Reading]:
    for ranks, turns in ((1, rounds), (8, rounds), (16, rounds), (64, min(rounds, 3)), (512, min(rounds, 3))):
        for _ in range(turns):
            yield from launching.interpreters()
            for peer in there:
                if ranks <= peer.most:
                    case = launching.case_of(ranks)
                    yield from _tried("start", case, peer, launching.start(peer, directory, worker, ranks))


def _failure(there: list[Peer], directory: str, worker: str, rounds: int) -> Iterator[Reading]:
    ending = [peer for peer in there if peer.ends]
    for seconds in (0, 2):
        for _ in range(rounds):
            for peer in ending:
                measured = launching.failure(peer, directory, worker, seconds)
                yield from _tried("failure", f"{seconds:g} s after the start", peer, measured)
    for need in (0, 500, 5000):
        for _ in range(min(rounds, 3)):
            for peer in ending:
                measured = launching.stop(peer, directory, worker, need)
                yield from _tried("stop", f"workers need {need / 1e3:g} s", peer, measured)


def _faults(there: list[Peer], directory: str, worker: str, rounds: int) -> Iterator[Reading]:
    for name in launching.FAULTS:
        for peer in there:
            if peer.ends:
                yield from _tried("faults", name, peer, launching.fault(peer, directory, worker, name))


def _idle(there: list[Peer], directory: str, worker: str, rounds: int) -> Iterator[Reading]:
    for _ in range(min(rounds, 3)):
        for peer in there:
            yield from _tried("idle", "8 workers", peer, launching.idle(peer, directory, worker))


def _logs(there: list[Peer], directory: str, worker: str, rounds: int) -> Iterator[Reading]:
    for ranks in (8, 16):
        for _ in range(min(rounds, 5)):
            for peer in there:
                if peer.name == "floor" or peer.hides:
                    measured = logs.hidden(peer, directory, worker, ranks, 1000)
                    yield from _tried("logs, hidden", f"{ranks} ranks, 1000 MB", peer, measured)
        for _ in range(min(rounds, 3)):
            for peer in there:
                if peer.shows:
                    measured = logs.shown(peer, directory, worker, ranks, 200)
                    yield from _tried("logs, shown", f"{ranks} ranks, 200 MB", peer, measured)
        for _ in range(min(rounds, 5)):
            yield from logs.followed(directory, ranks, 200)


def _tables(there: list[Peer], directory: str, worker: str, rounds: int) -> Iterator[Reading]:
    for servers in (1, 16, 256, 4096, 16384):
        for form in ("template 2", "1.0", "1.2", "2.0"):
            for _ in range(min(rounds, 3)):
                yield from tables.tables(directory, servers, form)


def _container(there: list[Peer], directory: str, worker: str, rounds: int) -> Iterator[Reading]:
    work = container.writable(directory)
    images = container.images(work)
    if images is None:
        yield Reading("container", "boot", "ma2l", "why not", "no container engine runs here: make engine")
        return
    yield from container.sizes(images)
    for _ in range(rounds):
        yield from container.boots(images, work, worker)


def _soak(there: list[Peer], directory: str, worker: str, rounds: int) -> Iterator[Reading]:
    ma2l = next(peer for peer in there if peer.name == "ma2l")
    yield from _tried("soak", "200 restarts", ma2l, soak.restarts(ma2l, directory, worker, 200))
    yield from _tried("soak", "1 million lines", ma2l, soak.lines(ma2l, directory, worker, 1))


ROWS: dict[str, Callable[[list[Peer], str, str, int], Iterator[Reading]]] = {
    "start": _start,
    "failure": _failure,
    "faults": _faults,
    "idle": _idle,
    "logs": _logs,
    "tables": _tables,
    "container": _container,
    "soak": _soak,
}


def _save(readings: list[Reading]) -> None:
    """Write what there is after each row, and keep the rows of an earlier time that are not measured now."""
    measured = {"absent", *(reading.row for reading in readings)}
    kept: list[Reading] = []
    if os.path.exists(DATA):
        with open(DATA, encoding="ascii") as file:
            kept = [r for r in of_json(file.read())[1] if r.row not in measured]
    os.makedirs(os.path.dirname(DATA), exist_ok=True)
    with open(DATA, "w", encoding="ascii") as file:
        file.write(as_json(_machine(), [*kept, *readings]))


def _tried(row: str, case: str, peer: Peer, measured: Iterator[Reading]) -> list[Reading]:
    """Measure now. A peer that cannot do it is a row of the report too."""
    try:
        return list(measured)
    except Stuck as error:
        return [Reading(row, case, peer.name, "why not", str(error))]


def _absent(wanted: list[Peer]) -> list[Reading]:
    return [Reading("absent", "", peer.name, "why not", peer.missing) for peer in wanted if peer.missing]


def _compiled(name: str, directory: str) -> str:
    program = os.path.join(directory, name)
    subprocess.run([shutil.which("cc") or "gcc", "-O2", "-o", program, os.path.join(HERE, f"{name}.c")], check=True)
    return program


def _machine() -> dict[str, str]:
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "unknown")
    return {
        "date": date.today().isoformat(),
        "CPU": f"{len(os.sched_getaffinity(0))} x {model}",
        "kernel": platform.release(),
        "Python": platform.python_version(),
    }


if __name__ == "__main__":
    sys.exit(main())
