"""The rules of Ais-Bench, parts of jobs, and what is missing."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ma2l.results.figures import Source, figures
from ma2l.results.job import result_of
from ma2l.results.merge import Run, Scope, folded, merge, node_scope
from ma2l.results.show import as_json, as_table, summary
from ma2l.results.sources import Found

FINITE = st.floats(0, 1e9)


def job(*places: dict[str, str], runs: list[dict[str, object]] | None = None) -> Found:
    (files,) = places
    return Found(Source({name: text.encode() for name, text in files.items()}), tuple(runs or ()))


def normal(values: dict[int, float], size: int | None = None, accuracy: float | None = 0.75) -> dict[str, str]:
    files = {f"throughput_{rank}.json": repr(value) for rank, value in values.items()}
    files |= {} if accuracy is None else {"accuracy.json": repr(accuracy)}
    return files | ({} if size is None else {"ranksize.json": str(size)})


@given(st.lists(FINITE, min_size=1, max_size=20), st.randoms())
def test_a_job_is_the_sum_of_its_ranks_in_whatever_order(values: list[float], order: random.Random) -> None:
    items = list(enumerate(values))
    order.shuffle(items)
    result = result_of([job(normal(dict(items), len(values)))])
    assert result.complete
    assert result.throughput_ratio == pytest.approx(sum(values))
    assert result.accuracy == 0.75
    assert (result.scope, result.single_server) == ("the whole job", False)
    assert result.slowest is not None
    assert result.slowest.throughput == min(values)


def test_servers_are_averaged_where_each_is_a_job() -> None:
    files = {f"{s}/throughput_{r}.json": str(100 * (s + 1) + r) for s in range(2) for r in range(8)}
    files |= {"accuracy_0.json": "0.7", "accuracy_1.json": "0.8", "ranksize.json": "8"}
    result = result_of([job(files)])
    assert result.complete, result.problems
    assert result.throughput_ratio == (828 + 1628) / 2
    assert result.accuracy == pytest.approx(0.75)
    assert [(one.server, one.throughput, one.accuracy) for one in result.servers] == [(0, 828, 0.7), (1, 1628, 0.8)]
    assert result.single_server


def test_an_accuracy_with_a_server_in_its_name_makes_no_server_a_job() -> None:
    """Some versions of Ais-Bench write it in any mode."""
    files = {**normal({0: 1.0, 1: 2.0}, 2, None), "accuracy_0.json": "0.7", "accuracy_1.json": "0.6"}
    result = result_of([job(files)])
    assert (result.single_server, result.throughput_ratio, result.accuracy) == (False, 3.0, 0.7)
    assert (result.complete, result.notes) == (True, ())


def test_a_job_in_several_places_is_one() -> None:
    places = [job(normal({0: 1.0, 1: 2.0}, 4)), job(normal({2: 3.0, 3: 4.0}, None, None))]
    assert result_of(places).throughput_ratio == 10.0


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (normal({0: 1.0, 2: 1.0}, 4), "throughput_1.json is missing"),
        (normal({0: 1.0, 1: 1.0}), "no usable ranksize.json: nobody knows whether there were more than 2 ranks"),
        ({**normal({0: 1.0}, 2), "throughput_1.json": ""}, "throughput_1.json is empty"),
        ({**normal({0: 1.0}, 2), "throughput_1.json": "nan"}, "throughput_1.json holds nan"),
        (normal({0: 1.0, 1: 1.0, 7: 1.0}, 2), "throughput_7.json is of no rank of this job"),
        ({**normal({0: 1.0}, 1), "throughput_00.json": "2"}, "claim to be the same figure and differ"),
    ],
)
def test_an_incomplete_job_has_no_throughput_and_says_why(files: dict[str, str], problem: str) -> None:
    result = result_of([job(files)])
    assert not result.complete
    assert result.throughput_ratio is None
    assert any(problem in one for one in result.problems), result.problems
    assert "problem: " in as_table(result)


def test_a_bad_accuracy_is_a_problem_and_none_is_a_note() -> None:
    assert result_of([job(normal({0: 1.0}, 1, None))]).notes == ("there is no accuracy.json",)
    assert result_of([job(normal({0: 1.0}, 1, None))]).complete
    bad = result_of([job({**normal({0: 1.0}, 1, None), "accuracy.json": "high"})])
    assert not bad.complete
    assert bad.accuracy is None


def test_the_nodes_results_tell_what_the_figures_do_not() -> None:
    runs: list[dict[str, object]] = [
        {
            "world_size": 4,
            "servers_of_job": 0,
            "mock": False,
            "start": "2026-01-01 00:00:05",
            "end": "2026-01-01 00:01:00",
        },
        {
            "world_size": 4,
            "servers_of_job": 0,
            "mock": True,
            "start": "2026-01-01 00:00:01",
            "end": "2026-01-01 00:02:00",
        },
    ]
    result = result_of([job(normal(dict.fromkeys(range(3), 1.0)), runs=runs)])
    assert (result.mock, result.start, result.end) == (True, "2026-01-01 00:00:01", "2026-01-01 00:02:00")
    assert result.problems == ("throughput_3.json is missing",)
    runs[1]["world_size"] = 8
    assert (
        "the nodes' results contradict each other: world_size is 4 and 8"
        in result_of([job(normal({0: 1.0}, 1), runs=runs)]).problems
    )


def test_a_server_of_which_nothing_came_is_missed() -> None:
    files = {f"0/throughput_{rank}.json": "1" for rank in range(2)} | {"ranksize.json": "2"}
    runs: list[dict[str, object]] = [{"world_size": 2, "servers_of_job": 2, "server": 0}]
    result = result_of([job(files, runs=runs)])
    assert result.problems == ("1/throughput_0.json is missing", "1/throughput_1.json is missing")
    assert result.throughput_ratio is None
    assert [one.throughput for one in result.servers] == [2.0, None]


def test_a_part_is_never_taken_for_the_whole() -> None:
    scope = node_scope(range(8), 16, None, 0)
    assert scope == Scope(tuple((None, rank) for rank in range(8)), "ranks 0-7 of 16", False, (None,))
    part = merge(figures([job(normal(dict.fromkeys(range(8), 2.0))).source]), scope, Run(mock=False))
    assert (part.complete, part.throughput_sum, part.throughput_ratio, part.whole) == (True, 16.0, None, False)
    assert summary(part) == (
        "results of ranks 0-7 of 16: throughput (sum of these ranks) 16 samples/s, "
        "slowest rank 0 with 2, spread 0.0%, accuracy 0.75"
    )
    assert node_scope(range(8, 16), 16, None, 0).accuracies == ()
    assert node_scope(range(8), 8, 1, 2).text == "server 1 of 2"
    assert node_scope(range(4, 8), 8, 1, 2).text == "ranks 4-7 of 8 on server 1 of 2"
    assert node_scope(range(8), 8, 0, 1).whole


def test_many_problems_and_many_ranks_are_folded() -> None:
    assert folded([str(n) for n in range(20)]) == (*map(str, range(7)), "and 13 more like these")
    result = result_of([job(normal({rank: 100.0 + rank for rank in range(8000)}, 8000))])
    lines = as_table(result).splitlines()
    assert len(lines) < 15
    assert max(map(len, lines)) <= 80
    assert "  rank 0                100  <- slowest" in lines
    assert "  and 7995 faster ranks" in lines
    assert len(json.loads(as_json(result))["ranks"]) == 8000


def test_a_mock_says_so_wherever_it_is_shown() -> None:
    result = result_of([job(normal({0: 1.0}, 1), runs=[{"mock": True}])])
    assert "MOCK, no NPU was used" in summary(result)
    assert "mock              YES, no NPU was used" in as_table(result)
    assert json.loads(as_json(result))["mock"] is True


@given(
    st.dictionaries(
        st.from_regex(r"(\d/)?(throughput_\d|accuracy(_\d)?|ranksize)\.json", fullmatch=True), st.binary(max_size=8)
    )
)
def test_any_files_give_a_result(files: dict[str, bytes]) -> None:
    result = result_of([Found(Source(files), ())])
    assert json.loads(as_json(result))["schema"] == 1
    assert as_table(result)
    if result.throughput_ratio is not None:
        assert result.complete
