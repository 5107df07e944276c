"""Who is silent, told from made-up log files and clocks; and what is said of it."""

from __future__ import annotations

import pytest

from ma2l.diagnose.hang import Silence, Stamp, how_silent, suspect
from ma2l.diagnose.standing import Stack

LIMIT = 60.0
WALL = 1_000_000.0
"""What the wall clock shows when the monotonic clock shows 0."""


def look(silence: Silence, now: float, wall: float = WALL, **sizes: tuple[int, float]) -> dict[int, float]:
    """One look; each rank's size and the monotonic second of its last write. Returns how long each was quiet."""
    stamps = {int(rank[1:]): Stamp(size, wall + written) for rank, (size, written) in sizes.items()}
    silence.look(stamps, now, wall + now)
    return silence.quiet()


def test_nobody_is_silent_before_the_first_look() -> None:
    silence = Silence(LIMIT)
    assert (silence.deadline, silence.silent(), silence.fallen_silent()) == (None, {}, False)


def test_what_an_earlier_run_wrote_does_not_count() -> None:
    silence = Silence(LIMIT)
    assert look(silence, 100.0, r0=(5000, -1e6)) == {0: 0.0}
    assert silence.deadline == 160.0


def test_a_rank_that_writes_is_looked_at_once_per_limit() -> None:
    silence = Silence(LIMIT)
    look(silence, 0.0, r0=(0, 0.0))
    assert silence.deadline == 60.0
    assert look(silence, 60.0, r0=(9, 50.0)) == {0: 10.0}
    assert silence.deadline == 110.0
    assert not silence.fallen_silent()


def test_the_time_of_the_last_write_counts_and_not_that_of_the_look() -> None:
    silence = Silence(LIMIT)
    look(silence, 0.0, r0=(0, 0.0), r1=(0, 0.0))
    look(silence, 60.0, r0=(1, 1.0), r1=(1, 59.0))
    assert silence.deadline == 61.0
    assert look(silence, 61.0, r0=(1, 1.0), r1=(1, 59.0)) == {0: 60.0, 1: 2.0}
    assert silence.silent() == {0: 60.0}
    assert silence.fallen_silent()


def test_a_silence_is_told_once_and_the_next_one_again() -> None:
    silence = Silence(LIMIT)
    look(silence, 0.0, r0=(0, 0.0))
    look(silence, 60.0, r0=(0, 0.0))
    assert silence.fallen_silent()
    assert silence.deadline == 120.0, "it is still looked at"
    look(silence, 120.0, r0=(0, 0.0))
    assert not silence.fallen_silent()
    look(silence, 180.0, r0=(1, 130.0))
    assert not silence.fallen_silent()
    look(silence, 190.0, r0=(1, 130.0))
    assert silence.fallen_silent()


def test_ranks_that_fall_silent_behind_a_stuck_one_are_the_same_episode() -> None:
    silence = Silence(LIMIT)
    look(silence, 0.0, r0=(0, 0.0), r1=(0, 0.0))
    look(silence, 60.0, r0=(0, 0.0), r1=(1, 5.0))
    assert silence.fallen_silent()
    look(silence, 120.0, r0=(0, 0.0), r1=(1, 5.0))
    assert silence.silent() == {0: 120.0, 1: 115.0}
    assert not silence.fallen_silent()


def test_a_rank_that_falls_silent_much_later_is_another_episode() -> None:
    silence = Silence(LIMIT)
    look(silence, 0.0, r0=(0, 0.0), r1=(0, 0.0))
    look(silence, 60.0, r0=(0, 0.0), r1=(1, 59.0))
    assert silence.fallen_silent()
    look(silence, 119.0, r0=(0, 0.0), r1=(1, 59.0))
    assert silence.fallen_silent()


def test_a_rank_that_has_ended_or_lost_its_log_is_not_silent() -> None:
    silence = Silence(LIMIT)
    look(silence, 0.0, r0=(0, 0.0), r1=(0, 0.0))
    assert look(silence, 60.0, r1=(0, 0.0)) == {1: 60.0}
    assert look(silence, 70.0) == {}
    assert silence.deadline is None


@pytest.mark.parametrize(
    ("shift", "written", "quiet"),
    [
        (0.0, 20.0, 40.0),
        (0.0, 90.0, 0.0),  # a file server whose clock is ahead
        (0.0, -500.0, 60.0),  # one whose clock is far behind: it has certainly written since the last look
        (3600.0, 59.0, 0.0),  # our clock was set: nothing is known but that it has written
        (-3600.0, 59.0, 0.0),
    ],
)
def test_clocks_that_are_set_or_differ_make_no_silence(shift: float, written: float, quiet: float) -> None:
    silence = Silence(LIMIT)
    look(silence, 0.0, r0=(0, 0.0))
    silence.look({0: Stamp(1, WALL + written)}, 60.0, WALL + 60.0 + shift)
    assert silence.quiet() == {0: quiet}


def test_time_in_which_nobody_could_write_does_not_count() -> None:
    silence = Silence(LIMIT)
    look(silence, 0.0, r0=(0, 0.0))
    silence.restart(1000.0)
    assert silence.deadline == 1060.0
    assert look(silence, 1010.0, r0=(0, 0.0)) == {0: 10.0}


@pytest.mark.parametrize(
    ("quiet", "said"),
    [
        ({"rank 3": 61.4, "rank 4": 1.0}, "rank 3 has written nothing for 61 s"),
        ({"rank 3": 61.4}, "rank 3 has written nothing for 61 s"),
        ({"rank 3": 61.4, "rank 4": 60.0}, "no rank has written for 60 s"),
        ({"rank 0": 1.0, "rank 3": 61.4, "rank 4": 62.0}, "rank 4, rank 3 have written nothing for 61 s"),
        (
            {"rank 9": 0.0, **{f"rank {rank}": 60.0 for rank in range(6)}},
            "rank 0, rank 1, rank 2, rank 3 and 2 others have written nothing for 60 s",
        ),
    ],
)
def test_a_silence_in_words(quiet: dict[str, float], said: str) -> None:
    assert how_silent(quiet, LIMIT) == said


BARRIER = Stack(("main (net.py:9)", "barrier (/opt/x/dist.py:20)"))
REDUCE = Stack(("main (net.py:8)", "all_reduce (/opt/x/dist.py:33)"))
LOADING = Stack(("main (net.py:7)", "read (io.py:5)"))
FROZEN = Stack(("main (net.py:9)", "barrier (/opt/x/dist.py:20)"), stopped=True)


@pytest.mark.parametrize(
    ("stacks", "name", "said"),
    [
        (
            [BARRIER, BARRIER, REDUCE, BARRIER], "rank 2",
            ("no rank has written for 60 s; rank 2 stands in all_reduce (dist.py:33), "
            "the others in barrier (dist.py:20)"),
        ),
        ([BARRIER] * 4, "rank 1", "no rank has written for 60 s; all stand in barrier (dist.py:20)"),
        (
            [BARRIER, BARRIER, FROZEN, BARRIER], "rank 2",
            ("no rank has written for 60 s; rank 2 stands in barrier (dist.py:20), stopped by a signal or a debugger, "
            "the others in barrier (dist.py:20)"),
        ),
        (
            [BARRIER, BARRIER, REDUCE, REDUCE], "rank 1",
            ("no rank has written for 60 s; rank 1, silent longest, stands in barrier (dist.py:20), most others in "
            "all_reduce (dist.py:33)"),
        ),
        (
            [BARRIER, LOADING, REDUCE], "rank 1",
            "no rank has written for 60 s; rank 1 stands in read (io.py:5), the others in different places",
        ),
        (
            [LOADING, BARRIER], "rank 1",
            ("no rank has written for 60 s; rank 1, silent longest, stands in barrier (dist.py:20), the other in "
            "read (io.py:5)"),
        ),
        ([REDUCE], "rank 0", "rank 0 has written nothing for 60 s; rank 0 stands in all_reduce (dist.py:33)"),
        ([], "rank 1", "no rank has written for 60 s; rank 1 has been silent longest"),
    ],
)  # fmt: skip
def test_the_suspect_is_the_odd_one_out_or_the_one_silent_longest(stacks: list[Stack], name: str, said: str) -> None:
    quiet = {f"rank {rank}": 60.0 + (rank == 1) for rank in range(len(stacks) or 2)}
    found = suspect(quiet, LIMIT, {f"rank {rank}": stack for rank, stack in enumerate(stacks)})
    assert (found.name, found.sentence) == (name, said)
