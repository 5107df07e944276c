"""From files to figures: a number, or the name of what is wrong; never a made-up one, never an exception."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ma2l.results.figures import Figures, Kind, Source, figures, kind_of, parse


def of(**files: bytes | str) -> Figures:
    """Figures of one directory; ``__`` stands for ``/``."""
    return figures([Source({f"{name.replace('__', '/')}.json": content for name, content in files.items()})])


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("throughput_3.json", Kind("throughput", None, 3)),
        ("1/throughput_03.json", Kind("throughput", 1, 3)),
        ("accuracy.json", Kind("accuracy")),
        ("accuracy_1.json", Kind("accuracy", 1)),
        ("ranksize.json", Kind("ranksize")),
        ("throughput_.json", None),
        ("throughput_3.json.part", None),
        ("a/throughput_3.json", None),
        ("1/2/throughput_3.json", None),
        ("throughput_-1.json", None),
        ("throughput_3\n.json", None),
        ("result.json", None),
        ("1/accuracy.json", None),
    ],
)
def test_which_figure_a_file_is(path: str, kind: Kind | None) -> None:
    assert kind_of(path) == kind


@pytest.mark.parametrize("text", ["1234.5", " 1234.5\n", "1234.50", "1.2345e3", "\ufeff1234.5", "+1234.5"])
def test_a_bare_number(text: str) -> None:
    assert parse(text.encode()) == 1234.5


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"nan", "holds nan"),
        (b"-Infinity", "holds -Infinity"),
        (b"1e999", "holds '1e999' and not a number"),
        (b"12 samples/s", "holds '12 samples/s' and not a number"),
        (b'{"throughput": 1}', "holds '{\"throughput\": 1}' and not a number"),
        (b"1,234", "holds '1,234' and not a number"),
        (b"1_0", "holds '1_0' and not a number"),
        ("\u0663".encode(), "holds '\\\\u0663' and not a number"),
        (b"x" * 50, f"holds '{'x' * 40}...' and not a number"),
        (b"1" * 5000, "holds 5000 bytes and not a number"),
        ("Permission denied", "cannot be read (Permission denied)"),
    ],
)
def test_what_is_no_number_is_said(content: bytes | str, problem: str) -> None:
    assert parse(content) == problem


@given(st.binary(max_size=64))
def test_any_bytes_are_a_number_or_a_problem_of_one_line(content: bytes) -> None:
    found = parse(content)
    assert isinstance(found, float) or (found and found.isprintable())


def test_figures_by_rank_and_server() -> None:
    found = of(throughput_0=b"1", throughput_1=b"2", accuracy=b"0.5", ranksize=b"2", other=b"x")
    assert found == Figures({(None, 0): 1.0, (None, 1): 2.0}, {None: 0.5}, 2, named=frozenset({(None, 0), (None, 1)}))
    found = of(**{"0__throughput_0": b"1", "1__throughput_0": b"2", "accuracy_1": b"0.5"})
    assert found.throughput == {(0, 0): 1.0, (1, 0): 2.0}
    assert found.accuracy == {1: 0.5}


def test_figures_without_a_server_belong_to_the_source_s() -> None:
    found = figures([Source({"throughput_0.json": b"1", "accuracy.json": b"2"}, server=s) for s in range(2)])
    assert found.throughput == {(0, 0): 1.0, (1, 0): 1.0}
    assert found.accuracy == {0: 2.0, 1: 2.0}


def test_one_figure_twice_counts_only_when_both_agree() -> None:
    same = of(throughput_3=b"1", throughput_03=b"1.0")
    assert same.throughput == {(None, 3): 1.0}
    assert same.notes == ("throughput_03.json and throughput_3.json are the same figure twice, with the same number",)
    differ = of(throughput_3=b"1", throughput_03=b"2")
    assert differ.throughput == {}
    assert differ.problems == ("throughput_03.json and throughput_3.json claim to be the same figure and differ",)
    places = figures([Source({"accuracy.json": b"1"}, "a"), Source({"accuracy.json": b"2"}, "b")])
    assert places.problems == ("a/accuracy.json and b/accuracy.json claim to be the same figure and differ",)


@pytest.mark.parametrize("size", [b"0", b"-1", b"1.5", b"99999999999", b"1e300"])
def test_a_number_of_ranks_is_a_whole_one(size: bytes) -> None:
    found = of(ranksize=size)
    assert found.ranksize is None
    assert found.problems == (f"ranksize.json holds {float(size):g}, which is no number of NPUs",)


def test_numbers_of_ranks_that_differ() -> None:
    found = figures([Source({"ranksize.json": b"8"}, "a"), Source({"ranksize.json": b"4"}, "b")])
    assert (found.ranksize, found.problems) == (None, ("a/ranksize.json and b/ranksize.json differ: 8, 4",))
