"""Row 5 of the fault matrix: what workers write is whole and complete, and no log ever stops a run."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.faults.matrix import count, outcome
from tests.integration.harness import Running, run, until

RANKS = 16
LINES = 1_600_000
LONG = 100_000_000
IN_MOUNT_NAMESPACE = ("unshare", *(("--map-root-user",) if os.getuid() else ()), "--mount")


def size_of_lines(rank: int, lines: int) -> int:
    """What ``worker lines N`` writes: rank, number and number % 61 dashes."""
    digits = sum(len(str(number)) for number in range(lines))
    return lines * (len(str(rank)) + 3) + digits + sum(number % 61 for number in range(lines % 61)) + lines // 61 * 1830


def test_a_gigabyte_from_16_ranks(here: str, worker: str) -> None:
    """The console shows two of them."""
    console = Path(here, "console")
    words = ("--mock", str(RANKS), "--log-dir", "logs", worker, "lines", str(LINES))
    with console.open("wb") as out:
        assert run(*words, cwd=here, stdout=out).code == 0
    total = 0
    for rank in range(RANKS):
        log = Path(here, f"logs/worker_{rank}.log")
        total += log.stat().st_size
        assert log.stat().st_size == size_of_lines(rank, LINES)
        with log.open("rb") as file:
            file.seek(-100, os.SEEK_END)
            assert file.read().endswith(f"\n{rank}:{LINES - 1}:{'-' * ((LINES - 1) % 61)}\n".encode())
        log.unlink()
    assert total > 10**9
    shown = dict.fromkeys((0, RANKS - 1), 0)
    with console.open("rb") as file:
        for line in file:
            prefix, rank_in_line, number, dashes = line.replace(b"] ", b":", 1).split(b":")
            rank = int(rank_in_line)
            assert (prefix, int(number), len(dashes)) == (b"[%d" % rank, shown[rank], shown[rank] % 61 + 1)
            shown[rank] += 1
    assert list(shown.values()) == [LINES, LINES]
    console.unlink()


def test_one_line_of_100_mb(here: str, worker: str) -> None:
    console = Path(here, "console")
    with console.open("wb") as out:
        words = ("--mock", "1", "--log-dir", "logs", worker, "line", str(LONG), "text", "\\nafter\\n")
        assert run(*words, cwd=here, stdout=out).code == 0
    assert Path(here, "logs/worker_0.log").stat().st_size == LONG + len("\nafter\n")
    shown = console.read_bytes()
    assert shown.endswith(b"\n[0] after\n")
    assert shown.count(b"y") == LONG
    console.unlink()


@pytest.mark.parametrize("end", [("exit", "4"), ("die", str(int(signal.SIGKILL)))])
def test_an_unfinished_line_at_death_is_kept_and_shown(here: str, worker: str, end: tuple[str, str]) -> None:
    words = ("--mock", "1", "--log-dir", "logs", worker, "lines", "2", "text", "10%\\r20%\\r\\0\\xff", *end)
    finished = run(*words, cwd=here)
    assert finished.code == (4 if end[0] == "exit" else 137)
    assert Path(here, "logs/worker_0.log").read_bytes() == b"0:0:\n0:1:-\n10%\r20%\r\0\xff"
    assert "[0] 0:1:-\n[0] 10%" in finished.out


def test_a_log_that_is_removed_under_us_stops_nothing(here: str, worker: str) -> None:
    words = ("touch", "ready", "until", "go", "lines", "1000", "exit", "6")
    with Running("--mock", "2", "--log-dir", "logs", worker, *words, cwd=here) as running:
        until(lambda: count(here, "ready.*") == 2 and count(here, "logs/*.plan.json"))
        for log in Path(here, "logs").glob("worker_*"):
            log.unlink()
        Path(here, "go").touch()
        assert running.finish().code == 6


@pytest.mark.parametrize("full", ["before the start", "by the workers"])
def test_a_full_disk_behind_the_logs(here: str, worker: str, full: str) -> None:
    """Our own files are a warning each; a worker's failed write is its own failure, reported as such."""
    Path(here, "logs").mkdir()
    fill = "dd if=/dev/zero of=logs/filler bs=4k 2>/dev/null; " if full == "before the start" else ""
    mount = f'mount -t tmpfs -o size=64k tmpfs logs; {fill}exec "$@"'
    words = ("--log-dir", "logs", "--mock", "2", worker, *(() if fill else ("lines", "100000")), "touch", "done")
    with Running(*words, cwd=here, before=(*IN_MOUNT_NAMESPACE, "sh", "-c", mount, "sh")) as running:
        finished = running.finish()
    assert finished.code == (0 if fill else 98), finished.err
    assert f"only 0 MiB are free in the log directory {here}/logs" in finished.err
    assert "Traceback" not in finished.err
    assert "No space left on device" in finished.err
    assert count(here, "done.*") == (2 if fill else 0)


@pytest.mark.parametrize("options", ["size=900m", "size=2g,nr_inodes=500"])
def test_a_disk_that_will_be_full_is_told_before_the_workers_start(here: str, worker: str, options: str) -> None:
    Path(here, "logs").mkdir()
    mount = f'mount -t tmpfs -o {options} tmpfs logs; exec "$@"'
    words = ("--log-dir", "logs", "--mock", "1", worker, "exit", "0")
    with Running(*words, cwd=here, before=(*IN_MOUNT_NAMESPACE, "sh", "-c", mount, "sh")) as running:
        finished = running.finish()
    assert finished.code == 0
    warned, started = (finished.err.index(text) for text in ("in the log directory", "ma2l: started "))
    assert warned < started


@pytest.mark.parametrize("kind", ["same", "session", "deaf"])
def test_a_child_that_keeps_the_log_open_does_not_keep_the_run(here: str, worker: str, kind: str) -> None:
    words = ("--mock", "1", "--log-dir", "logs", worker, "lines", "5", "fork", kind, "exit", "3")
    finished = run(*words, cwd=here)
    assert finished.code == 3
    assert finished.out.count("[0] 0:") == 5
    assert outcome(here)["first"]["returncode"] == 3
