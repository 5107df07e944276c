"""What a scheduler's log tells of a dynamic cluster that did not form, from captured logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ma2l.diagnose import report
from ma2l.diagnose.formation import shortfall
from ma2l.diagnose.outcome import ProcessEnd

DATA = Path(__file__).resolve().parents[1] / "data/mindspore"
FORMED_NOT = "the dynamic cluster did not form: "
ADVICE = "see why the others did not start or cannot reach the scheduler, or give them more time"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("scheduler_one_of_two.log", "1 of 2 workers came in time (without rank 1)"),
        ("scheduler_one_of_two_unnumbered.log", "1 of 2 workers came in time"),
        ("scheduler_none_came.log", "no worker came in time"),
    ],
)
def test_it_says_how_many_workers_came(name: str, said: str) -> None:
    assert shortfall(str(DATA / name)) == f"{FORMED_NOT}{said}; {ADVICE}"


@pytest.mark.parametrize("name", ["scheduler_port_taken.log", "scheduler_three_for_two.log", "no such file"])
def test_it_says_nothing_where_no_worker_was_missing(name: str) -> None:
    assert shortfall(str(DATA / name)) == ""


def test_many_missing_ranks_are_cut_short(tmp_path: Path) -> None:
    text = (
        (DATA / "scheduler_one_of_two.log").read_text().replace("expected node number: 2", "expected node number: 32")
    )
    (tmp_path / "scheduler.log").write_text(text)
    line = shortfall(str(tmp_path / "scheduler.log"))
    assert line.startswith(f"{FORMED_NOT}1 of 32 workers came in time (without ranks 1, 2, 3, 4, 5, 6, 7, 8, ...); ")


def test_only_the_last_scheduler_in_a_file_counts(tmp_path: Path) -> None:
    first, second = ((DATA / f"scheduler_{name}.log").read_text() for name in ("three_for_two", "one_of_two"))
    (tmp_path / "scheduler.log").write_text(first + second)
    assert "1 of 2 workers came" in shortfall(str(tmp_path / "scheduler.log"))


def end(name: str) -> ProcessEnd:
    return ProcessEnd("scheduler", None, 100, 1, 600.0, str(DATA / name))


def test_the_report_says_how_many_came_instead_of_guessing() -> None:
    first = end("scheduler_one_of_two.log")
    (line,) = report.hints(first, first.log)
    assert line.startswith(f"{FORMED_NOT}1 of 2 workers came")


def test_the_report_guesses_where_the_scheduler_is_on_another_node() -> None:
    (line,) = report.hints(end("scheduler_one_of_two.log"), None)
    assert line.startswith("the dynamic cluster did not form, because a worker is missing or ")


def test_a_worker_too_many_is_explained() -> None:
    (line,) = report.hints(end("worker_extra.log"))
    assert line.startswith("the scheduler refused this worker, because the job has its workers already or ")


@pytest.mark.parametrize(
    "line", ["The new node: x(role: MS_WORKER) " * 100_000, "expected node number: 2" + "0" * 5000]
)
def test_a_log_that_no_scheduler_writes_is_read_in_a_moment(tmp_path: Path, line: str) -> None:
    text = (DATA / "scheduler_one_of_two.log").read_text().replace("expected node number: 2", line)
    (tmp_path / "scheduler.log").write_text(text)
    assert shortfall(str(tmp_path / "scheduler.log")) == f"{FORMED_NOT}no worker came in time; {ADVICE}"
