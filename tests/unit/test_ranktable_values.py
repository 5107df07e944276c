"""Scalars of rank tables: one look at many says what a look at each would."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ma2l.ranktable.values import are_ipv4, is_ipv4, natural, naturals

NUMBERS = st.one_of(
    st.integers(0, 10**12).map(str), st.text("0123456789", max_size=12), st.text(max_size=3), st.just("²")
)
ADDRESSES = st.one_of(
    st.lists(st.integers(0, 260).map(str), min_size=1, max_size=6).map(".".join),
    st.text("0123456789.", max_size=9),
    st.ip_addresses(v=4).map(str),
)


@given(st.lists(NUMBERS, max_size=5))
def test_numbers(values: list[str]) -> None:
    assert naturals(values) == [natural(value) for value in values]


@given(st.lists(ADDRESSES, min_size=1, max_size=5))
def test_addresses(texts: list[str]) -> None:
    assert are_ipv4(texts) == all(map(is_ipv4, texts))
