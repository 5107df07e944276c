"""Which failures are followed by another start, and what is said."""

from __future__ import annotations

import pytest

from ma2l.errors import ConfigError
from ma2l.restarts import Policy, policy


@pytest.mark.parametrize(
    ("restart_on", "restarted", "not_restarted"),
    [
        (None, (1, 9, 77, 79, 125, 128, 137, 139, 197, 203, 252, 255), (2, 78, 126, 127)),
        ("2", (2,), (1, 3, 137)),
        ("1,137,128-255", (1, 128, 137, 255), (2, 127)),
        (" 9 , 7 ", (7, 9), (8,)),
        ("1-255", (1, 2, 255), ()),
    ],
)
def test_which_codes_are_worth_a_restart(
    restart_on: str | None, restarted: tuple[int, ...], not_restarted: tuple[int, ...]
) -> None:
    chosen = policy(2, restart_on)
    assert [code for code in restarted if not chosen.judge(1, code, 60.0)[0]] == []
    assert [code for code in not_restarted if chosen.judge(1, code, 60.0)[0]] == []


@pytest.mark.parametrize("text", ["", "x", "0", "0-3", "256", "1-256", "3-1", "1;2", "-1", "1,,2", "all"])
def test_what_is_no_list_of_codes_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^cannot restart on .*; write 1,137,128-255"):
        policy(1, text)


@pytest.mark.parametrize(
    ("restart_on", "attempt", "seconds", "again"),
    [
        (None, 1, 9.9, False),
        (None, 1, 10.0, True),
        (None, 2, 0.1, True),
        ("9", 1, 0.0, True),
    ],
)
def test_what_fails_soon_after_its_very_first_start_is_a_mistake_unless_asked_for(
    restart_on: str | None, attempt: int, seconds: float, again: bool
) -> None:
    assert policy(2, restart_on).judge(attempt, 9, seconds)[0] is again


def test_every_attempt_is_counted_and_the_last_is_the_last() -> None:
    twice: Policy = policy(1, "9,11")
    assert twice.judge(1, 9, 0.0) == (True, "attempt 1 of 2 ended with exit code 9; starting attempt 2 of 2")
    assert twice.judge(2, 11, 99.0) == (False, "attempt 2 of 2 ended with exit code 11")


@pytest.mark.parametrize(
    ("restart_on", "why"),
    [
        (None, "no restart helps against this code"),
        ("1", "--restart-on does not name this code"),
    ],
)
def test_why_there_is_no_other_attempt_is_said(restart_on: str | None, why: str) -> None:
    said = f"attempt 1 of 3 ended with exit code 2, and there is no other: {why}"
    assert policy(2, restart_on).judge(1, 2, 60.0) == (False, said)
