"""Where ranks stand, read from texts; and which one stands where no other does."""

from __future__ import annotations

from pathlib import Path

import pytest

from ma2l.diagnose import stacks
from ma2l.diagnose.standing import Stack, from_log, odd_one_out, parse

DATA = Path(__file__).parents[1] / "data" / "stacks"
TEXT = """\
stacks at 20260101-000000
no Python frames of process 12: some reason

=== rank 0 (pid 10): has written nothing for 61 s
process 10: state S (sleeping), threads: 1, memory: 4 kB: sh run.sh 'a (b:1)'
  thread 10 "sh", state S (sleeping), in the kernel: do_wait, system call 61, switched 1 + 0 times
    kernel: do_wait < entry
process 11: state S (sleeping), threads: 3, memory: 4 kB: python net.py
  thread 11 "MainThread", state S (sleeping), in the kernel: futex_wait, system call 202, switched 1 + 0 times
    barrier (/opt/x y/dist.py:20)
    <module> (/job/net.py:9)
    kernel: futex_wait < entry
  thread 13 "loader", state S (sleeping), system call 230, switched 1 + 0 times
    wait (/usr/lib/threading.py:320)
  thread of Python "another"
    read (/usr/lib/io.py:7)
  threads 14, 15 "OpenMP", state S (sleeping)

=== rank 1 (pid 12)
process 12: state T (stopped), threads: 1, memory: 4 kB: ./train
  thread 12 "train", state T (stopped), in the kernel: do_signal_stop, switched 1 + 0 times

=== rank 2 (pid 20)
process 20 has ended meanwhile

=== scheduler (pid 30)
process 30: state R (running), threads: 1, memory: 4 kB: python s.py
  thread 30 "python", state R (running), system call running, switched 1 + 0 times
"""


def test_the_main_thread_of_the_first_process_with_python_frames_stands_for_a_rank() -> None:
    assert parse(TEXT) == {
        "rank 0": Stack(("<module> (/job/net.py:9)", "barrier (/opt/x y/dist.py:20)")),
        "rank 1": Stack(("the kernel's do_signal_stop",), stopped=True, python=False),
        "scheduler": Stack((), python=False),
    }


def test_a_place_is_short() -> None:
    found = parse(TEXT)
    assert found["rank 0"].place == "barrier (dist.py:20)"
    assert found["rank 1"].place == "the kernel's do_signal_stop, stopped by a signal or a debugger"
    assert found["scheduler"].place == "an unknown place"


@pytest.mark.parametrize("text", ["", "===", "=== rank 0 (pid 1)", "\n=== rank 0 (pid 1)\nprocess x\n  thread 1\n"])
def test_a_text_that_was_cut_short_says_nothing(text: str) -> None:
    assert parse(text) == {}


def test_the_stack_that_faulthandler_prints_at_the_end_of_a_log() -> None:
    printed = (DATA / "faulthandler-3.11.log").read_bytes()
    frames = ("<module> (/job/net.py:13)", "train (/job/net.py:9)", "all_reduce (/job/net.py:5)")
    assert from_log(b"step 1\nstep 2 \xff\n" + printed) == Stack(frames)


@pytest.mark.parametrize(
    "end", [b"", b"step 1\n", b"Fatal Python error: Aborted\n", b'Thread 0x1 (most recent call first):\n  File "a"\n']
)
def test_a_log_without_a_printed_stack_has_none(end: bytes) -> None:
    assert from_log(end) is None


MAIN = ("MainThread", ["all_reduce (/job/net.py:5)", "train (/job/net.py:9)", "<module> (/job/net.py:13)"])
PID = 24092


def py_spy(python: str) -> bytes:
    return (DATA / f"py-spy-0.4.3-python-{python}.json").read_bytes()


@pytest.mark.parametrize(("python", "tids"), [("3.11", [PID, 24095]), ("3.9", [PID, -2])])
def test_the_frames_that_py_spy_prints(python: str, tids: list[int]) -> None:
    frames = stacks.read_frames(py_spy(python), PID)
    assert list(frames) == tids
    assert frames[PID] == MAIN
    name, loader = frames[tids[1]]
    assert (name, len(loader)) == ("loader", 3)
    assert all("/usr/local/lib/python3." in frame for frame in loader)


def test_the_main_thread_is_the_oldest_where_threads_have_no_names() -> None:
    nameless = py_spy("3.9").replace(b'"MainThread"', b"null").replace(b'"loader"', b"null")
    assert stacks.read_frames(nameless, PID)[PID] == ("", MAIN[1])


@pytest.mark.parametrize(
    ("ways", "odd"),
    [
        ("ab ab ac", 2),  # alone at the innermost frame
        ("ax ay b a", 2),  # parted at the outermost; what differs further in is chance
        ("ab ac b bd", None),  # two and two: nobody is alone before the last frame, and there are two such pairs
        ("ab ab ab", None),
        ("a b c", None),  # everybody is somewhere else
        ("ab ac", None),  # of two nobody can say who is odd
        ("ab", None),
        ("", None),
        ("ab ab a", 2),  # it has not gone as far
        ("abx aby abz abz abz abz bc bc bc bd", None),  # two turned off
        ("aax aay aaz aaz b b b b", None),
        ("ax ax ay b b b", 2),  # nobody is alone where pipeline stages part, but further in there is one
    ],
)
def test_the_odd_one_out(ways: str, odd: int | None) -> None:
    found = odd_one_out({f"rank {rank}": Stack(tuple(way)) for rank, way in enumerate(ways.split())})
    assert found == (None if odd is None else f"rank {odd}")


def test_the_one_that_is_stopped_is_odd_wherever_it_stands() -> None:
    assert odd_one_out({"a": Stack(("x",)), "b": Stack(("x",), stopped=True), "c": Stack(("y",))}) == "b"
    assert odd_one_out({"a": Stack(("x",), stopped=True), "b": Stack(("x",), stopped=True), "c": Stack(())}) is None


def test_a_rank_whose_frames_could_not_be_read_is_not_odd_for_that() -> None:
    python = {f"rank {rank}": Stack(("main", "barrier")) for rank in range(3)}
    assert odd_one_out({**python, "rank 3": Stack(("the kernel's futex_wait",), python=False)}) is None
    assert odd_one_out({**python, "rank 3": Stack((), python=False)}) is None


def test_without_any_python_frames_the_kernel_tells_who_is_odd() -> None:
    waiting = {f"rank {rank}": Stack(("the kernel's futex_wait",), python=False) for rank in range(3)}
    assert odd_one_out({**waiting, "rank 3": Stack(("the kernel's pause",), python=False)}) == "rank 3"
