"""What benchmarks make of their readings."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import comparison
from benchmarks.bar import BARS, behind, ratio
from benchmarks.peers import ROOT, peers
from benchmarks.readings import Reading, as_json, of_json
from benchmarks.report import DATA, FOLDER, TITLES, report


def of(peer: str, what: str, *values: float, row: str = "start", case: str = "8 workers") -> list[Reading]:
    return [Reading(row, case, peer, what, value) for value in values]


FAST = [*of("ma2l", "first up (ms)", 50.0, 60.0, 900.0), *of("mpirun 4.1", "first up (ms)", 40.0)]
SLOW = [*of("ma2l", "first up (ms)", 500.0), *of("mpirun 4.1", "first up (ms)", 40.0)]


def test_data_survive_the_file() -> None:
    machine = {"CPU": "2"}
    assert of_json(as_json(machine, FAST)) == (machine, FAST)


def test_a_ratio_is_that_of_medians() -> None:
    assert ratio(FAST, BARS[0]) == 1.5
    assert ratio(FAST[:3], BARS[0]) is None


@pytest.mark.parametrize(("readings", "lines"), [(FAST, 0), (SLOW, 1), (FAST[:3], 0)])
def test_only_what_is_far_behind_is_a_complaint(readings: list[Reading], lines: int) -> None:
    assert len(behind(readings)) == lines


def test_what_could_not_be_measured_is_a_complaint_for_ma2l_and_a_cell_for_others() -> None:
    reading = Reading("start", "8 workers", "ma2l", "why not", "0 of 8 workers came up")
    assert behind([reading]) == ["start, 8 workers: ma2l could not be measured: 0 of 8 workers came up"]
    other = Reading("start", "8 workers", "deepspeed", "why not", "it did not end")
    assert behind([other]) == []
    assert "| deepspeed | it did not end |" in report({}, [*FAST, other])


def test_the_report_shows_medians_with_their_spread_and_what_is_wrong() -> None:
    faults = [
        *of("ma2l", "exit code", 7.0, row="faults", case="exit 7"),
        *of("ma2l", "right", 7.0, row="faults", case="exit 7"),
        *of("ma2l", "left", 0.0, row="faults", case="exit 7"),
        *of("torchrun", "exit code", 1.0, row="faults", case="exit 7"),
        *of("torchrun", "left", 3.0, row="faults", case="exit 7"),
    ]
    page = report({"CPU": "2"}, [*FAST, *faults])
    assert "| ma2l | 60 (50-900) |" in page
    assert "| exit 7 | 7 | 7 | **1**, **3 left** |" in page
    assert "1.50 | 2.5 |" in page
    assert "(missed)" in report({}, SLOW)


@pytest.fixture(scope="module")
def published() -> tuple[dict[str, str], list[Reading]]:
    """The raw data that the documentation shows."""
    return of_json(Path(DATA).read_text())


def test_the_report_is_what_its_data_say(published: tuple[dict[str, str], list[Reading]]) -> None:
    assert Path(FOLDER, "performance.md").read_text() == report(*published)


@pytest.mark.parametrize("name", comparison.READMES)
def test_the_figures_of_the_readmes_are_those_of_the_data(
    name: str, published: tuple[dict[str, str], list[Reading]]
) -> None:
    text = Path(ROOT, name).read_text()
    assert comparison.with_table(text, comparison.table(published[1], comparison.READMES[name])) == text


def test_every_peer_and_every_row_is_in_the_published_data(published: tuple[dict[str, str], list[Reading]]) -> None:
    readings = published[1]
    assert set(TITLES) <= {reading.row for reading in readings}
    measured = {reading.peer for reading in readings}
    assert {peer.name for peer in peers("floor")} <= measured
