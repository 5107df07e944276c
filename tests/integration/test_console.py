"""The console: whole lines with their rank, the chosen ranks, and never a reason for training to wait."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ma2l.linux import processes
from tests.integration.harness import MA2L, Running, assert_nothing_left, run, until

Script = Callable[..., str]

LINES = 20_000
TALK = f"""\
#!{sys.executable}
import os
rank = os.environ["RANK"]
for number in range({LINES}):
    os.write(1, f"{{rank}}:{{number}}:{{'x' * (number % 97)}}\\n".encode())
"""
WAIT = "while :; do sleep 1000 & wait; done"
FILL = "head -c 1000000 /dev/zero | tr '\\0' 'x' | fold -w 99; echo; "


def check_whole(lines: list[str], ranks: range) -> None:
    """Every line of every rank once, unbroken, in its order."""
    found: dict[str, list[str]] = {str(rank): [] for rank in ranks}
    for line in lines:
        prefix, _, rest = line.partition("] ")
        found[prefix[1:]].append(rest)
    for rank in ranks:
        assert found[str(rank)] == [f"{rank}:{number}:{'x' * (number % 97)}" for number in range(LINES)]


def test_every_line_of_fast_writers_is_whole(here: str, script: Script) -> None:
    finished = run("--mock", "4", "--console-ranks", "all", script(TALK, "talk.py"), cwd=here)
    assert finished.code == 0
    check_whole(finished.out.splitlines(), range(4))


def test_lines_stay_whole_where_two_launchers_and_their_messages_share_a_pipe(here: str, script: Script) -> None:
    words = ("--mock", "2x2", "--console-ranks", "all", script(TALK, "talk.py"))
    with Running(*words, cwd=here, stderr=-2) as running:  # 2>&1
        finished = running.finish()
    assert finished.code == 0
    lines = [line for line in finished.out.splitlines() if not line.startswith("ma2l: ")]
    check_whole(lines, range(4))


@pytest.mark.parametrize(
    ("chosen", "shown"),
    [
        (None, {0, 3}),
        ("all", {0, 1, 2, 3}),
        ("none", set()),
        ("first", {0}),
        ("last", {3}),
        ("1,2-3", {1, 2, 3}),
        ("2", {2}),
    ],
)
def test_ranks_are_chosen_by_their_number_in_the_job(
    here: str, script: Script, chosen: str | None, shown: set[int]
) -> None:
    options = ("--console-ranks", chosen) if chosen else ()
    finished = run("--mock", "2x2", *options, script('echo "I am $RANK"'), cwd=here)
    assert finished.code == 0
    assert Counter(finished.out.splitlines()) == Counter(f"[{rank}] I am {rank}" for rank in shown)


def test_a_wrong_choice_of_ranks_is_a_configuration_error(here: str) -> None:
    finished = run("--mock", "2", "--console-ranks", "some", "true", cwd=here)
    assert finished.code == 78
    assert "names no ranks" in finished.err


def test_a_terminal_shows_all_ranks(here: str, script: Script) -> None:
    master, slave = pty.openpty()
    with Running("--mock", "3", script('echo "I am $RANK"'), cwd=here, stdout=slave) as running:
        os.close(slave)
        text = b""
        try:
            while data := os.read(master, 65536):
                text += data
        except OSError:  # EIO: the last writer has gone
            os.close(master)
        assert running.finish().code == 0
    assert sorted(text.split(b"\r\n")) == [b"", b"[0] I am 0", b"[1] I am 1", b"[2] I am 2"]


class Unread:
    """A pipe of one page that nobody reads, full to the brim."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, 1031, 4096)  # F_SETPIPE_SZ
        os.write(self.writer, b"-" * 4095)

    def __enter__(self) -> Unread:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.reader)
        os.close(self.writer)


@pytest.mark.parametrize("blocked", ["stdout", "stderr"])
def test_a_console_that_nobody_reads_stalls_neither_workers_nor_the_exit(
    here: str, script: Script, blocked: str
) -> None:
    worker = script(f'{FILL} touch "done.$RANK"; exit 3')
    words = ("--mock", "1", "--log-dir", "logs", worker)
    with Unread() as pipe:
        console: dict[str, Any] = {blocked: pipe.writer}
        with Running(*words, cwd=here, **console) as running:
            until(Path(here, "done.0").exists)
            assert running.finish().code == 3
    assert Path(here, "logs/worker_0.log").stat().st_size > 1_000_000
    assert json.loads(Path(here, "logs/node0.outcome.json").read_text())["exit_code"] == 3


def test_a_stop_signal_works_at_once_though_nobody_reads(here: str, script: Script) -> None:
    worker = script(f'trap "exit 0" TERM; {FILL} touch "ready.$RANK"; {WAIT}')
    with Unread() as pipe, Running("--mock", "2", worker, cwd=here, stdout=pipe.writer, stderr=pipe.writer) as running:
        until(lambda: len(list(Path(here).glob("ready.*"))) == 2)
        running.send(signal.SIGTERM)
        until(lambda: all(processes.children(pid) == [] for pid in processes.children(running.pid)))
        running.send(signal.SIGTERM)  # the user will not wait for a console either
        assert running.finish().code == 143


def test_a_slow_reader_gets_everything(here: str, script: Script) -> None:
    reader, writer = os.pipe()
    text: list[bytes] = []
    with Running("--mock", "1", script(TALK, "talk.py"), cwd=here, stdout=writer, stderr=writer) as running:
        os.close(writer)
        until(lambda: not processes.children(running.launcher) and Path(here, "ma2l-log").exists())
        with open(reader, "rb") as file:  # begins to read when the worker has gone
            text = file.read().splitlines()
        assert running.finish().code == 0
    check_whole([line.decode() for line in text if not line.startswith(b"ma2l: ")], range(1))


def test_the_verdict_comes_through_a_pipe_that_was_full_at_the_end(here: str, script: Script) -> None:
    worker = script("touch done; exit 9")
    with Unread() as pipe, Running("--mock", "1", worker, cwd=here, stderr=pipe.writer) as running:
        until(Path(here, "done").exists)
        text = b""
        while running.process.poll() is None:
            if select.select([pipe.reader], [], [], 0.05)[0]:
                text += os.read(pipe.reader, 4096)
        if select.select([pipe.reader], [], [], 0)[0]:
            text += os.read(pipe.reader, 65536)
        assert running.finish().code == 9
    assert b"rank 0 failed first: exit code 9" in text


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_console_whose_reader_has_gone_changes_nothing(here: str, script: Script, closed: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    both = 'touch "done.$RANK"; while [ ! -e "done.$((1 - RANK))" ]; do sleep 0.01; done'  # or one stops the other
    worker = script(f"{FILL} echo end; {both}; exit 4")
    console: dict[str, Any] = {closed: writer}
    with Running("--mock", "2", "--log-dir", "logs", worker, cwd=here, **console) as running:
        os.close(writer)
        assert running.finish().code == 4
    assert Path(here, "logs/worker_0.log").read_text().endswith("end\n")


@pytest.mark.parametrize("flags", [os.O_APPEND, 0])
def test_a_file_as_console_keeps_what_is_there(here: str, script: Script, flags: int) -> None:
    path = Path(here, "out.txt")
    path.write_text("before\n")
    fd = os.open(path, os.O_WRONLY | flags)
    os.lseek(fd, 0, os.SEEK_END)
    with Running("--mock", "1", script("echo ours"), cwd=here, stdout=fd, stderr=fd) as running:
        assert running.finish().code == 0
    os.write(fd, b"after\n")
    os.close(fd)
    first, *lines, last = path.read_text().splitlines()
    assert (first, last) == ("before", "after")
    assert "[0] ours" in lines


def test_a_long_line_arrives_complete(here: str, script: Script) -> None:
    worker = script("head -c 1000000 /dev/zero | tr '\\0' 'y'; echo; echo after")
    finished = run("--mock", "1", worker, cwd=here)
    *pieces, last = finished.out.splitlines()
    assert last == "[0] after"
    assert "".join(piece.removeprefix("[0] ") for piece in pieces) == "y" * 1_000_000


def test_bytes_of_any_kind_and_an_unfinished_line_come_out_as_they_are(here: str, script: Script) -> None:
    finished = run("--mock", "1", script(r"printf 'a\000\377\n10%%\r20%%\nno end'"), cwd=here)
    assert os.fsencode(finished.out) == b"[0] a\0\xff\n[0] 10%\n20%\n[0] no end\n"  # text mode makes \r a newline


def test_a_file_in_the_way_of_the_log_directory_is_one_warning(here: str, script: Script) -> None:
    Path(here, "logs").write_text("in the way")
    with_tmp = {"TMPDIR": here}
    finished = run("--mock", "2", "--log-dir", "logs/x", script("echo fine"), cwd=here, env=with_tmp)
    assert finished.code == 0
    assert "[0] fine" in finished.out
    warnings = [line for line in finished.err.splitlines() if "warning" in line and "MOCK" not in line]
    assert len(warnings) == 1
    assert "logs go to" in warnings[0]


def test_a_log_file_that_cannot_be_opened_leaves_the_worker_the_console(here: str, script: Script) -> None:
    Path(here, "logs/worker_1.log").mkdir(parents=True)
    finished = run("--mock", "2", "--log-dir", "logs", script('echo "I am $RANK"'), cwd=here)
    assert finished.code == 0
    assert "I am 1" in finished.out
    assert Path(here, "logs/worker_0.log").read_text() == "I am 0\n"


@pytest.mark.parametrize("first", ["exit 0", "exit 3", "not started"])
def test_a_second_run_in_the_same_directory_overwrites_nothing(here: str, script: Script, first: str) -> None:
    before = script("#!/no/such/interpreter\n" if first == "not started" else f"echo first; {first}", "first.sh")
    run("--mock", "2", "--log-dir", "logs", before, cwd=here)
    kept = {path: path.read_bytes() for path in Path(here, "logs").iterdir() if path.is_file()}
    finished = run("--mock", "2", "--log-dir", "logs", script("echo second"), cwd=here)
    assert "first" not in finished.out
    assert {path: path.read_bytes() for path in kept} == kept
    assert Path(here, "logs/worker_1.attempt2.log").read_text() == "second\n"


def test_a_failure_in_the_first_moment_is_written_down_like_any_other(here: str, script: Script) -> None:
    for _ in range(5):
        run("--mock", "8", "--log-dir", "logs", script("exit 1"), cwd=here)
    names = {path.name for path in Path(here, "logs").iterdir()}
    for attempt in ("", *(f".attempt{number}" for number in range(2, 6))):
        assert {f"node0.plan{attempt}.json", f"node0.outcome{attempt}.json", f"node0.launcher{attempt}.log"} <= names


def test_workers_that_never_pause_do_not_keep_a_stop_signal_waiting(here: str, script: Script) -> None:
    worker = script('touch "ready.$RANK"; exec yes "a line of some length to copy, again and again"')
    sink = os.open("/dev/null", os.O_WRONLY)
    with Running("--mock", "2", "--stop-grace", "3600", worker, cwd=here, stdout=sink) as running:
        os.close(sink)
        until(lambda: len(list(Path(here).glob("ready.*"))) == 2)
        running.send(signal.SIGTERM)
        assert running.finish().code == 143


@pytest.mark.parametrize("console", ["read", "closed"])
def test_nobody_wakes_up_while_nothing_happens(here: str, script: Script, console: str) -> None:
    reader, writer = os.pipe()
    worker = script(f'trap "exit 0" TERM; echo hello; touch "ready.$RANK"; {WAIT}')
    with Running("--mock", "2", "--console-ranks", "all", worker, cwd=here, stdout=writer) as running:
        os.close(writer)
        if console == "closed":
            os.close(reader)
        until(lambda: len(list(Path(here).glob("ready.*"))) == 2)
        until(lambda: list(Path(here).glob("ma2l-log/*/*.plan.json")))
        pids = (running.pid, running.launcher)
        settle = threading.Event()
        settle.wait(0.5)
        before = [switches(pid) for pid in pids]
        settle.wait(2.0)
        assert [switches(pid) for pid in pids] == before
        running.send(signal.SIGTERM)
        assert running.finish().code == 143
    if console == "read":
        os.close(reader)


def switches(pid: int) -> list[str]:
    """How often the process went to sleep or was put aside: unchanged while it sleeps on."""
    return [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "ctxt_switches" in line]


def test_in_a_pipeline_whose_reader_leaves_early(here: str, script: Script) -> None:
    import subprocess

    command = f"{' '.join(MA2L)} --mock 2 --console-ranks all {script(TALK, 'talk.py')} | head -n 1"
    out = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=here, capture_output=True, timeout=60)
    assert out.returncode == 0, "the run goes on without its reader"
    assert out.stdout.startswith(b"[")
    assert_nothing_left()
