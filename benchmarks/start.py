"""How fast and how light: ma2l beside mpirun, run in turn, medians and ratios.

The worker is a tiny C program, so that only the launcher is measured. usage: python benchmarks/start.py [ROUNDS]
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

RANKS = 8
HERE = os.path.dirname(os.path.abspath(__file__))
MA2L = os.path.join(os.path.dirname(sys.executable), "ma2l")


@dataclass(frozen=True)
class Sample:
    """One run; seconds since the launcher was started."""

    first: float
    last: float
    total: float


def launchers(worker: str) -> dict[str, list[str]]:
    """The command lines that are compared; the floor is a Python that does nothing."""
    found = {"ma2l": [MA2L, "--mock", str(RANKS), worker]}
    if shutil.which("mpirun"):
        found["mpirun"] = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", str(RANKS), worker]
    return found


def once(command: Sequence[str], directory: str) -> Sample:
    """Run to the end and read what the workers noted."""
    stamps = os.path.join(directory, "stamps")
    if os.path.exists(stamps):
        os.remove(stamps)
    start = time.monotonic()
    subprocess.run([*command, stamps], cwd=directory, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    total = time.monotonic() - start
    with open(stamps, encoding="ascii") as file:
        ups = sorted(float(line) - start for line in file)
    assert len(ups) == RANKS, f"{len(ups)} of {RANKS} workers came up"
    return Sample(ups[0], ups[-1], total)


def bare_python() -> float:
    """The floor: an interpreter that starts and ends."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-I", "-S", "-c", "pass"], check=True)
    return time.monotonic() - start


def at_rest(worker: str, directory: str, seconds: float) -> tuple[float, int]:
    """Memory (MB) of launcher and guard, and how often both woke up while the workers were silent."""
    stamps = os.path.join(directory, "resting")
    command = [MA2L, "--mock", str(RANKS), worker, stamps, "wait"]
    with subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as guard:
        while lines_of(stamps) < RANKS:
            time.sleep(0.05)
        time.sleep(1)  # loguru is loaded after the workers are up
        with open(f"/proc/{guard.pid}/task/{guard.pid}/children", encoding="ascii") as file:
            pids = [guard.pid, *map(int, file.read().split())]
        before = sum(status(pid, "voluntary_ctxt_switches") for pid in pids)
        time.sleep(seconds)
        woken = sum(status(pid, "voluntary_ctxt_switches") for pid in pids) - before
        memory = sum(status(pid, "VmRSS") for pid in pids) / 1024
        guard.send_signal(signal.SIGTERM)
    return memory, woken


def lines_of(path: str) -> int:
    """Lines in a file that may not exist yet."""
    try:
        with open(path, encoding="ascii") as file:
            return len(file.readlines())
    except FileNotFoundError:
        return 0


def status(pid: int, field: str) -> int:
    """A number from ``/proc/<pid>/status``."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field + ":"))


def main() -> None:
    """Print a table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as directory:
        worker = os.path.join(directory, "worker")
        subprocess.run(["cc", "-O2", "-o", worker, os.path.join(HERE, "worker.c")], check=True)
        commands = launchers(worker)
        samples: dict[str, list[Sample]] = {name: [] for name in commands}
        floor: list[float] = []
        for turn in range(rounds + 1):
            floor.append(bare_python())
            for name, command in commands.items():
                sample = once(command, directory)
                if turn:  # the first round warms caches
                    samples[name].append(sample)
        base = statistics.median(floor[1:])
        print(f"{RANKS} workers, {rounds} rounds in turn, medians in ms; x = times a bare `python -I -S -c pass`")
        print(f"{'':10}{'first up':>16}{'last up':>16}{'no-op run':>16}")
        print(f"{'floor':10}{'':16}{'':16}{base * 1e3:9.1f}  1.0x")
        for name, taken in samples.items():
            cells = [statistics.median(getattr(s, part) for s in taken) for part in ("first", "last", "total")]
            print(f"{name:10}" + "".join(f"{cell * 1e3:9.1f}{cell / base:5.1f}x " for cell in cells))
        memory, woken = at_rest(worker, directory, 5)
        print(f"at rest: launcher and guard {memory:.1f} MB RSS together, {woken} wake-ups in 5 s")


if __name__ == "__main__":
    main()
