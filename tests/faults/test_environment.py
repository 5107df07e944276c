"""Row 6 of the fault matrix: a hostile surrounding. Most of it is in ``tests/integration/test_bad_input.py``."""

from __future__ import annotations

import ast
import signal
from pathlib import Path

import ma2l
from tests.faults.matrix import count, outcome
from tests.integration.harness import Running, run, until

MANY = 512
WALL_CLOCK = {"time", "localtime", "gmtime", "ctime"}


def test_512_workers_on_one_node(here: str, worker: str) -> None:
    words = ("--mock", str(MANY), "--log-dir", "logs", worker, "lines", "3", "touch", "ready", "save", "0")
    with Running(*words, cwd=here) as running:
        until(lambda: count(here, "ready.*") == MANY)
        running.send(signal.SIGTERM)
        assert running.finish().code == 143
    assert (count(here, "saved.*"), count(here, "logs/worker_*.log")) == (MANY, MANY)


def test_the_first_failure_of_512(here: str, worker: str) -> None:
    assert run("--mock", str(MANY), "--log-dir", "logs", worker, "@300", "exit", "7", cwd=here).code == 7
    assert outcome(here)["first"]["rank"] == 300


def test_no_deadline_is_on_a_clock_that_somebody_can_set() -> None:
    """A clock that jumps backwards can be shown only by setting this machine's; so look at who asks for its time.

    The sentry does, once: files carry that clock's time. ``tests/unit/test_hang.py`` sets it forth and back there.
    """
    root = Path(ma2l.__file__).parent
    waiting = [path for part in ("supervise", "linux", "logs") for path in (root / part).glob("*.py")]
    waiting.append(root / "ranktable" / "pause.py")
    calls = {(path.name, called) for path in waiting for called in times_asked_for(path)}
    assert ("wait.py", "monotonic") in calls
    assert {call for call in calls if call[1] in WALL_CLOCK} == {("sentry.py", "time")}


def times_asked_for(path: Path) -> list[str]:
    """Names that a module takes from ``time``."""
    return [
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "time"
    ]
