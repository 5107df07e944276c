"""Which lines of a log are shown, from made-up logs in the forms that CPython and the frameworks write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ma2l.diagnose.ends import LIMIT, last_bytes
from ma2l.diagnose.excerpt import LAST_LINES, LONGEST, WHOLE, Excerpt, excerpt

SHORT = """\
Traceback (most recent call last):
  File "train.py", line 9, in <module>
    main()
  File "train.py", line 5, in main
    raise ValueError("bad batch")
ValueError: bad batch
"""
NOISE = "".join(f"step {n} loss 0.{n}\n" for n in range(40))


def text(found: Excerpt) -> str:
    return "".join(line.decode() + "\n" for line in found.lines)


def test_a_short_traceback_is_shown_whole_and_nothing_else() -> None:
    found = excerpt((NOISE + SHORT).encode())
    assert text(found) == SHORT
    assert (found.error, found.traceback, found.fatal) == ("ValueError: bad batch", True, True)


def test_a_traceback_is_found_though_the_log_goes_on() -> None:
    found = excerpt((SHORT + "[rank0] destroying process group\nbye\n").encode())
    assert text(found).startswith(SHORT)
    assert found.error == "ValueError: bad batch"


def test_one_that_was_survived_is_not_what_the_process_died_of() -> None:
    assert not excerpt((SHORT + NOISE).encode()).fatal


@pytest.mark.parametrize("prefix", ["[rank3]: ", "(Worker pid=12) ", "2026-01-01 ERROR "])
def test_a_framework_may_put_its_prefix_before_each_line(prefix: str) -> None:
    lines = "".join(f"{prefix}{line}\n" for line in SHORT.splitlines())
    found = excerpt((NOISE + lines).encode())
    assert text(found) == lines
    assert found.error.endswith("ValueError: bad batch")


def test_a_logger_may_put_its_prefix_before_the_first_line_only() -> None:
    assert text(excerpt(f"{NOISE}2026-01-01 ERROR {SHORT}".encode())) == f"2026-01-01 ERROR {SHORT}"


def test_a_long_traceback_keeps_its_last_frames_and_what_was_raised() -> None:
    frames = "".join(f'  File "deep.py", line {n}, in f{n}\n    f{n + 1}()\n    ^^^^\n' for n in range(30))
    found = excerpt(f"Traceback (most recent call last):\n{frames}KeyError: 'x'\n".encode())
    lines = text(found).splitlines()
    assert len(lines) <= WHOLE
    assert lines[:3] == ["Traceback (most recent call last):", "  ...", '  File "deep.py", line 26, in f26']
    assert lines[-3:] == ['  File "deep.py", line 29, in f29', "    f30()", "KeyError: 'x'"]


def test_the_exception_that_led_to_another_is_named() -> None:
    bridge = "\nDuring handling of the above exception, another exception occurred:\n\n"
    second = "Traceback (most recent call last):\n" + '  File "a.py", line 1, in f\n    g()\n' * 9 + "OSError: closed\n"
    found = excerpt((NOISE + SHORT + bridge + second).encode())
    assert text(found).startswith("ValueError: bad batch\n  ... which led to:\nTraceback")
    assert found.error == "OSError: closed"
    assert len(found.lines) <= WHOLE


def test_a_chain_that_was_survived_did_not_lead_to_what_came_later() -> None:
    bridge = "\nDuring handling of the above exception, another exception occurred:\n\n"
    last = SHORT.replace("ValueError: bad batch", "OSError: closed")
    long = last.replace("    main()\n", "    main()\n" + '  File "train.py", line 7, in f\n    g()\n' * 9)
    for found in (excerpt(f"{SHORT}{bridge}{SHORT}{NOISE}{end}".encode()) for end in (last, long)):
        assert found.lines[0] == b"Traceback (most recent call last):"
        assert "ValueError: bad batch" not in text(found)


def test_the_traceback_of_a_loader_s_worker_stands_for_that_of_the_loop() -> None:
    """The form is that of ``torch/_utils.py``."""
    loop = SHORT.replace("ValueError: bad batch", "ValueError: Caught ValueError in DataLoader worker process 0.")
    found = excerpt(f"{loop}Original {SHORT}\n".encode())
    assert text(found) == f"Original {SHORT}"
    assert (found.error, found.fatal) == ("ValueError: bad batch", True)


TORCHRUN = (
    SHORT.replace("ValueError: bad batch", "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ")
    + "====\ntrain.py FAILED\n----\nFailures:\n"
    + "  rank      : 3 (local_rank: 3)\n" * 20
)


def test_what_torchrun_says_does_not_hide_what_a_rank_died_of() -> None:
    found = excerpt(f"{NOISE}{SHORT}E1126 failed (exitcode: 1) local_rank: 3\n{TORCHRUN}".encode())
    assert text(found).startswith(SHORT)
    assert (found.error, found.fatal) == ("ValueError: bad batch", True)
    assert not excerpt(f"{SHORT}{NOISE}{TORCHRUN}".encode()).fatal
    assert "ChildFailedError" in excerpt(f"{NOISE}{TORCHRUN}".encode()).error


def test_of_several_ranks_in_one_log_the_first_that_shows_no_symptom_counts() -> None:
    def died(rank: int, of: str) -> str:
        return "".join(f"[rank{rank}]: {line}\n" for line in SHORT.replace("ValueError: bad batch", of).splitlines())

    symptom, mistake = "RuntimeError: EI0006: Getting socket times out", "KeyError: 'x'"
    for order in ((symptom, mistake, symptom), (mistake, symptom, "OSError: 5"), (symptom, symptom, mistake)):
        log = "".join(died(rank, of) for rank, of in enumerate(order))
        assert excerpt((NOISE + log + TORCHRUN).encode()).error == mistake
    assert text(excerpt((died(0, symptom) + died(1, symptom)).encode())) == died(0, symptom)
    assert excerpt((died(0, "KeyError: 1") + died(0, "OSError: 2")).encode()).error == "OSError: 2", "one rank alone"


def test_a_short_chain_is_shown_whole() -> None:
    first = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\nKeyError: 1\n'
    bridge = "\nThe above exception was the direct cause of the following exception:\n\n"
    second = 'Traceback (most recent call last):\n  File "a.py", line 2, in g\nOSError: closed\n'
    assert text(excerpt((first + bridge + second).encode())) == first + bridge + second


@pytest.mark.parametrize(
    "side_show",
    [
        'Exception in thread Thread-2:\nTraceback (most recent call last):\n  File "t.py", line 1, in run\nEOFError\n',
        'Traceback (most recent call last):\n  File "t.py", line 1, in run\nKeyboardInterrupt\n',
        'Process SpawnProcess-3:\nTraceback (most recent call last):\n  File "t.py", line 1, in run\nOSError: 9\n',
        'Exception ignored in: <function a>\nTraceback (most recent call last):\n  File "t.py", line 1, in d\nE: 9\n',
    ],
)
def test_what_helpers_print_when_all_is_over_does_not_hide_the_cause(side_show: str) -> None:
    found = excerpt(f"{SHORT}\n{side_show}".encode())
    assert (found.error, found.fatal) == ("ValueError: bad batch", True)
    alone = excerpt(side_show.encode())
    assert alone.traceback
    assert not alone.fatal


def test_text_below_the_exception_belongs_to_it() -> None:
    cann = "RuntimeError: HCCL error\n[ERROR] ERR02200 DIST call hccl api failed.\nEJ0001: Failed to initialize\n"
    found = excerpt(f'Traceback (most recent call last):\n  File "a.py", line 1, in f\n{cann}\n{NOISE}'.encode())
    assert text(found).endswith(cann)


def test_a_crash_shows_the_stack_of_the_thread_that_crashed() -> None:
    log = (
        f"{NOISE}Fatal Python error: Segmentation fault\n\nThread 0x01 (most recent call first):\n"
        '  File "other.py", line 1 in wait\n\nCurrent thread 0x02 (most recent call first):\n'
        '  File "op.py", line 7 in run\n\nExtension modules: numpy\n'
    )
    found = excerpt(log.encode(), by_signal=True)
    assert text(found) == (
        "Fatal Python error: Segmentation fault\nCurrent thread 0x02 (most recent call first):\n"
        '  File "op.py", line 7 in run\n'
    )
    assert found.error == "Fatal Python error: Segmentation fault"


def test_a_killed_process_did_not_die_of_a_traceback() -> None:
    found = excerpt((SHORT + NOISE).encode(), by_signal=True)
    assert text(found) == "".join(NOISE.splitlines(keepends=True)[-LAST_LINES:])
    assert not found.traceback
    assert text(excerpt((NOISE + SHORT).encode(), by_signal=True)) == SHORT, "it was stuck after this, perhaps"


def test_without_a_traceback_the_last_lines_are_shown_and_the_most_telling_is_named() -> None:
    found = excerpt(f"{NOISE}ERROR: no such data set\nusage: train\n".encode())
    assert len(found.lines) == LAST_LINES
    assert found.error == "ERROR: no such data set"
    assert excerpt(NOISE.encode()).error == "step 39 loss 0.39"


@pytest.mark.parametrize("log", [b"", b"\n\n", b" \n\0\0", b"\r\n"])
def test_an_empty_log_shows_nothing(log: bytes) -> None:
    assert excerpt(log) == Excerpt((), "", False, False)


def test_lines_are_shown_as_a_terminal_would_leave_them_and_cut() -> None:
    found = excerpt(b" 10%\r 50%\r100%\r\n" + b"x" * 100_000 + b"\n\x1b[31merror\x1b[0m: \x00gone\n")
    assert found.lines[0] == b"100%"
    assert len(found.lines[1]) == LONGEST + 4
    assert found.error == "error: gone"


@pytest.mark.parametrize("torn", [SHORT[:40], SHORT[:75], "Traceback (most recent call last):", SHORT.replace(" ", "")])
def test_a_torn_traceback_is_shown_as_plain_lines(torn: str) -> None:
    found = excerpt((NOISE + torn).encode())
    assert not found.traceback
    assert len(found.lines) == LAST_LINES


CHAIN = "During handling of the above exception, another exception occurred:"
CRASH = ["Fatal Python error: x", "Current thread 0x1"]
ODD = ["", "a\rb", "\x00\xff", "Process A:", "[rank1]: " + SHORT.splitlines()[0], CHAIN]
LINES = st.lists(st.sampled_from([*SHORT.splitlines(), *CRASH, *ODD]))


@settings(deadline=None)  # a busy machine is no failure
@given(LINES, st.booleans())
def test_whatever_the_log_the_excerpt_is_short(lines: list[str], by_signal: bool) -> None:
    found = excerpt("\n".join(lines).encode(), by_signal)
    assert len(found.lines) <= max(LAST_LINES, WHOLE)
    assert "\n" not in found.error


@settings(deadline=None)  # a busy machine is no failure
@given(st.binary(max_size=2000), st.booleans())
def test_binary_is_no_problem(log: bytes, by_signal: bool) -> None:
    assert all(b"\n" not in line for line in excerpt(log, by_signal).lines)


def test_no_more_than_the_end_of_a_large_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "worker_3.log"
    log.write_bytes(b"first\n" + b"x" * LIMIT + b"\nend\n")
    assert last_bytes(str(log)) == b"end\n"
    log.write_bytes(b"x" * 1_000_000)
    assert last_bytes(str(log)) == b"x" * LIMIT


def test_a_sparse_file_of_gigabytes_is_no_problem(tmp_path: Path) -> None:
    log = tmp_path / "worker_3.log"
    with log.open("wb") as file:
        file.truncate(1 << 33)
        file.seek(0, 2)
        file.write(b"\nend\n")
    assert last_bytes(str(log)) == b"end\n"


def test_what_is_no_readable_file_is_empty(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    os.symlink("loop", tmp_path / "loop")
    for name in (None, str(tmp_path), str(tmp_path / "gone"), str(tmp_path / "fifo"), str(tmp_path / "loop"), "a\0b"):
        assert last_bytes(name) == b""
