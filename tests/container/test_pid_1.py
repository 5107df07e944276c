"""ma2l as PID 1: it reaps what it adopts, and a stop reaches every worker before the container ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.container.engine import Container, Engine

ORPHANS = 50
MAKE_ORPHANS = f"""\
import glob, os, time

def processes():
    found = []
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path) as file:
                pid, _, rest = file.read().partition(" (")
        except (FileNotFoundError, ProcessLookupError):
            continue
        name, _, rest = rest.rpartition(") ")
        found.append((int(pid), name, rest[0]))
    return sorted(found)

for _ in range({ORPHANS}):
    middle = os.fork()
    if middle == 0:
        if os.fork() == 0:
            while os.getppid() != 1:
                os.sched_yield()
        os._exit(0)
    os.waitpid(middle, 0)
deadline = time.monotonic() + 20
while len(processes()) > 2 and time.monotonic() < deadline:
    os.sched_yield()
print("left", [pid for pid, *_ in processes() if pid not in (1, os.getpid())], processes(), flush=True)
"""
SAVE_AND_LEAVE = """\
import os, signal, sys

def save(*_):
    open(f"/job/saved.{os.environ['RANK']}", "w").close()
    sys.exit(0)

signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
while True:
    signal.pause()
"""
ALL = {"MA2L_MOCK": "8", "MA2L_CONSOLE_RANKS": "all"}


@pytest.mark.parametrize("program", [("python",), ("--per-node", "python")], ids=["per NPU", "per node"])
def test_50_adopted_orphans_leave_no_zombie(engine: Engine, image: str, job: Path, program: tuple[str, ...]) -> None:
    (job / "orphans.py").write_text(MAKE_ORPHANS)
    ended = engine.run(image, *program, "/job/orphans.py", volumes={job: "/job"}, env={**ALL, "MA2L_MOCK": "1"})
    assert "left [] " in ended.out, ended.out + ended.err
    assert ended.code == 0


def test_a_stopped_container_lets_8_workers_save(engine: Engine, image: str, job: Path) -> None:
    (job / "train.py").write_text(SAVE_AND_LEAVE)
    with Container(engine, image, "python", "/job/train.py", volumes={job: "/job:rw"}, env=ALL) as container:
        container.wait_for("ready", times=8)
        container.stop(grace=60)
        ended = container.finish()
    assert ended.code == 143
    assert sorted(file.name for file in job.glob("saved.*")) == [f"saved.{rank}" for rank in range(8)]


def test_a_stopped_container_ends_although_8_workers_ignore_it(engine: Engine, image: str, job: Path) -> None:
    (job / "train.py").write_text(SAVE_AND_LEAVE.replace("signal.SIGTERM, save", "signal.SIGTERM, signal.SIG_IGN"))
    env = {**ALL, "MA2L_STOP_GRACE": "1"}
    with Container(engine, image, "python", "/job/train.py", volumes={job: "/job"}, env=env) as container:
        container.wait_for("ready", times=8)
        container.kill("TERM")
        ended = container.finish()
    assert ended.code == 143, "137 would mean that the engine had to kill the container"


def test_what_runs_once_takes_the_place_of_pid_1(engine: Engine, image: str) -> None:
    words = ("sh", "-c", "trap 'exit 5' TERM; echo pid $$; while :; do sleep 1 & wait; done")
    with Container(engine, image, *words) as container:
        container.wait_for("pid 1\n")
        container.stop(grace=60)
        ended = container.finish()
    assert ended.code == 5
