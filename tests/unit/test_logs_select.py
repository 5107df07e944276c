"""Which ranks the console shows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ma2l.errors import ConfigError
from ma2l.logs.select import console_ranks


def shown(text: str | None, world_size: int = 8, terminal: bool = False) -> list[int]:
    test = console_ranks(text, world_size, terminal)
    return [rank for rank in range(world_size) if test(rank)]


@pytest.mark.parametrize(
    ("text", "ranks"),
    [
        ("all", list(range(8))), ("none", []), ("first", [0]), ("last", [7]), ("0,3-5", [0, 3, 4, 5]),
        ("first, last", [0, 7]), ("2-2,last", [2, 7]), ("7-99", [7]), ("99", []),
    ],
)  # fmt: skip
def test_choices(text: str, ranks: list[int]) -> None:
    assert shown(text) == ranks


def test_a_terminal_shows_all_and_a_log_the_first_and_the_last() -> None:
    assert shown(None, terminal=True) == list(range(8))
    assert shown(None) == [0, 7]
    assert shown(None, world_size=1) == [0]


@pytest.mark.parametrize("text", ["", "0,", "5-3", "-1", "x", "ALL", "1-", "\u00b2", "9" * 5000, "1--2", "1-2-3"])
def test_anything_else_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"names no ranks; write all, none, first, last or a list such as 0,3-5$"):
        console_ranks(text, 8, False)


@given(st.text(max_size=12), st.integers(0, 64))
def test_no_text_breaks_it(text: str, world_size: int) -> None:
    problem = ""
    try:
        console_ranks(text, world_size, False)(0)
    except ConfigError as error:
        problem = str(error)
    assert problem == "" or problem.startswith("cannot show the console ranks ")
