"""What a node does with its ranks' figures at the end."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ma2l.results import sources
from ma2l.results.collect import Request, collect, stamps

FIGURES = {"throughput_0.json": "1.5", "throughput_1.json": "2.5", "accuracy.json": "0.5", "ranksize.json": "4"}


def request(directory: Path, **changes: Any) -> Request:
    (directory / "logs").mkdir(exist_ok=True)
    fields: dict[str, Any] = {
        "directory": str(directory / "out"), "log_dir": str(directory / "logs"), "name": "node0.result.json",
        "ranks": (0, 1), "world_size": 4, "started": 0.0, "ended": 60.0, **changes,
    }  # fmt: skip
    return Request(**fields)


def write(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = directory / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_own_ranks_are_collected_and_nobody_is_waited_for(tmp_path: Path) -> None:
    write(tmp_path, FIGURES | {"throughput_2.json": "nobody cares"})
    found = collect(request(tmp_path), {})
    assert found is not None
    assert (found.result.scope, found.result.throughput_sum, found.result.accuracy) == ("ranks 0-1 of 4", 4.0, 0.5)
    assert (found.result.problems, found.whole, found.complaints) == ((), None, ())
    data = json.loads((tmp_path / "out/node0.result.json").read_text())
    assert (data["world_size"], data["servers_of_job"], data["throughput_ratio"]) == (4, 0, None)
    assert data["start"].endswith(":00:00")
    assert data["end"].endswith(":01:00")


def test_a_number_of_ranks_that_the_launcher_did_not_start_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path, FIGURES | {"ranksize.json": "3"})
    found = collect(request(tmp_path), {})
    assert found is not None
    assert found.result.problems == ("ranksize.json says 3 ranks, the launchers started 4",)
    assert not found.result.complete


def test_another_node_leaves_accuracy_to_rank_0(tmp_path: Path) -> None:
    write(tmp_path, {"throughput_2.json": "1", "throughput_3.json": "1"})
    found = collect(request(tmp_path, ranks=(2, 3), name="node1.result.json"), {})
    assert found is not None
    assert (found.result.complete, found.result.notes, found.result.accuracy) == (True, (), None)


def test_a_training_without_figures_hears_nothing_of_this(tmp_path: Path) -> None:
    assert collect(request(tmp_path), {}) is None
    write(tmp_path, {"model.ckpt": "x", "throughput_9.json": "1"})
    assert collect(request(tmp_path), {}) is None
    assert sorted(os.listdir(tmp_path / "out")) == ["model.ckpt", "throughput_9.json"]
    required = collect(request(tmp_path, required=True), {})
    assert required is not None
    assert required.result.problems == ("throughput_0.json is missing", "throughput_1.json is missing")


def test_figures_of_an_earlier_run_do_not_count(tmp_path: Path) -> None:
    write(tmp_path, FIGURES)
    before = stamps(str(tmp_path / "out"))
    (tmp_path / "out/throughput_1.json").unlink()
    write(tmp_path, {"throughput_1.json": "2.5"})
    found = collect(request(tmp_path), before)
    assert found is not None
    assert not found.result.complete
    assert found.result.problems[0] == "accuracy.json was left by an earlier run"
    assert "throughput_0.json was left by an earlier run" in found.result.problems
    assert [one.rank for one in found.result.ranks] == [1]


def test_the_last_node_on_a_shared_directory_writes_the_whole(tmp_path: Path) -> None:
    write(tmp_path, FIGURES)
    first = collect(request(tmp_path), {})
    assert first is not None
    assert first.whole is None
    write(tmp_path, {"throughput_2.json": "3.5", "throughput_3.json": "4.5"})
    last = collect(request(tmp_path, ranks=(2, 3), name="node1.result.json", mock=True), {})
    assert last is not None
    assert last.whole is not None
    assert last.whole.throughput_ratio == 12.0
    data = json.loads((tmp_path / "out/result.json").read_text())
    assert (data["throughput_ratio"], data["accuracy"], data["scope"], data["mock"]) == (
        12.0,
        0.5,
        "the whole job",
        True,
    )
    assert not list((tmp_path / "out").glob("*.part"))


def test_servers_that_are_jobs_of_their_own_never_meet(tmp_path: Path) -> None:
    for server in range(2):
        write(tmp_path, {f"{server}/throughput_{rank}.json": str(10 * server + rank) for rank in range(2)})
        write(tmp_path, {f"accuracy_{server}.json": "0.5"})
        own = {"server": server, "servers": 2, "world_size": 2, "name": f"node{server}.result.json"}
        found = collect(request(tmp_path, **own), {})
        assert found is not None
        assert (found.result.complete, found.result.throughput_sum) == (True, 20 * server + 1.0)
        assert found.result.scope == f"server {server} of 2"
    assert found is not None
    assert found.whole is not None
    assert found.whole.throughput_ratio == 11.0


@pytest.mark.parametrize(("earlier", "merged"), [("job-7", True), ("job-6", False), ("", False)])
def test_a_server_that_ended_before_another_began_is_of_the_same_job(
    tmp_path: Path, earlier: str, merged: bool
) -> None:
    """Its figures lie there at the other's start, as an earlier job's do."""
    found = None
    for server, job in enumerate((earlier, "job-7" if earlier else "")):
        before = stamps(str(tmp_path / "out")) if server else {}
        write(tmp_path, {f"{server}/throughput_{rank}.json": str(10 * server + rank) for rank in range(2)})
        write(tmp_path, {f"accuracy_{server}.json": "0.5", "ranksize.json": "2"})
        own = {"server": server, "servers": 2, "world_size": 2, "name": f"node{server}.result.json", "job": job}
        found = collect(request(tmp_path, **own), before)
    assert found is not None
    assert bool(found.whole) == merged
    assert (tmp_path / "out/result.json").exists() == merged


def test_what_a_result_does_not_have_is_not_of_its_job(tmp_path: Path) -> None:
    """Node 0 evaluates nothing; an accuracy, and a rank's other number, were left by an earlier job."""
    write(tmp_path, {"accuracy.json": "0.99", "throughput_0.json": "7"})
    before = stamps(str(tmp_path / "out"))
    write(tmp_path, {"throughput_0.json": "10"})
    collect(request(tmp_path, ranks=(0,), world_size=2, job="job-7"), before)
    later = stamps(str(tmp_path / "out"))
    write(tmp_path, {"throughput_1.json": "11"})
    second = request(tmp_path, ranks=(1,), world_size=2, job="job-7", name="node1.result.json")
    found = collect(second, later)
    assert found is not None
    assert found.whole is not None
    assert (found.whole.throughput_ratio, found.whole.accuracy) == (21.0, None)
    write(tmp_path, {"throughput_0.json": "12"})
    later = stamps(str(tmp_path / "out"))
    write(tmp_path, {"throughput_1.json": "11.5"})
    found = collect(second, later)
    assert found is not None
    assert found.whole is None


def test_the_last_attempt_of_a_node_has_its_result(tmp_path: Path) -> None:
    for attempt, value in (("", 1.0), (".attempt10", 3.0), (".attempt2", 2.0)):
        text = json.dumps({"world_size": value})
        write(tmp_path, {f"node0.result{attempt}.json": text, "throughput_0.json": "1"})
    assert [run["world_size"] for run in sources.of_directory(str(tmp_path / "out")).runs] == [3.0]


@pytest.mark.parametrize("ranks", [None, 3, [[]], [{"rank": []}], [{"rank": 0, "server": {}}]])
def test_a_node_s_result_may_hold_anything(tmp_path: Path, ranks: object) -> None:
    write(tmp_path, FIGURES | {"throughput_2.json": "1", "throughput_3.json": "1"})
    before = stamps(str(tmp_path / "out"))
    write(tmp_path, {"node1.result.json": json.dumps({"job": "job-7", "ranks": ranks})})
    write(tmp_path, {"throughput_0.json": "11.5", "throughput_1.json": "12.5"})
    found = collect(request(tmp_path, job="job-7"), before)
    assert found is not None
    assert found.whole is None


def test_a_server_s_figures_may_lie_flat_in_its_own_directory(tmp_path: Path) -> None:
    write(tmp_path, {"throughput_0.json": "1", "throughput_1.json": "2", "accuracy.json": "0.5"})
    found = collect(request(tmp_path, server=1, servers=2, world_size=2), {})
    assert found is not None
    assert (found.result.complete, found.result.throughput_sum, found.result.accuracy) == (True, 3.0, 0.5)


def test_a_directory_that_cannot_be_written_is_a_complaint(tmp_path: Path) -> None:
    write(tmp_path, FIGURES)
    (tmp_path / "out/node0.result.json").mkdir()
    found = collect(request(tmp_path), {})
    assert found is not None
    assert found.path == str(tmp_path / "logs/node0.result.json")
    assert found.complaints == (f"cannot write {tmp_path}/out/node0.result.json: Is a directory",)
    (tmp_path / "logs/node0.result.json").unlink()
    (tmp_path / "logs/node0.result.json").mkdir()
    nowhere = collect(request(tmp_path), {})
    assert nowhere is not None
    assert (nowhere.path, len(nowhere.complaints)) == (None, 2)


@pytest.mark.parametrize("kind", ["pipe", "directory", "link to nowhere"])
def test_what_is_no_file_is_named_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    write(tmp_path, FIGURES)
    path = tmp_path / "out/throughput_1.json"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    found = collect(request(tmp_path), {})
    assert found is not None
    (problem,) = found.result.problems
    why = {"pipe": "cannot be read (it is no regular file)", "directory": "cannot be read (Is a directory)"}
    assert problem == f"throughput_1.json {why.get(kind, 'is missing')}"
