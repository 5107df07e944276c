"""The plan as text and as JSON."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ma2l.cluster import Cluster, Device, Node
from ma2l.plan import layout
from ma2l.plan.show import as_json, as_table, as_yaml
from ma2l.plan.spec import Plan
from ma2l.records import fields
from ma2l.settings import split
from tests.unit.scenario import TRAIN, find, mock_nodes, plan

GOLDEN = Path(__file__).parent.parent / "data" / "plan"


def bare(command: tuple[str, ...] = TRAIN) -> Plan:
    return plan({"ASCEND_RT_VISIBLE_DEVICES": "0-1"}, command, shown=(4, 5, 6, 7))


@pytest.mark.parametrize(("shape", "node"), [("2x2", 1), ("120x8", 100), ("1x64", 0)])
def test_the_table_of_a_node_of_a_modelarts_job(tmp_path: Path, shape: str, node: int) -> None:
    environ = mock_nodes("modelarts", shape, str(tmp_path))[node]
    made = plan(environ, ("python", "train.py", "--lr", "0.1", "--hub-token", "s3cret"))
    text = as_table(made, find(environ).cluster).replace(str(tmp_path), "/MOCK")
    assert text == (GOLDEN / f"modelarts-{shape}-node{node}.txt").read_text()


def test_yaml_and_json_say_the_same(tmp_path: Path) -> None:
    environ = mock_nodes("modelarts", "2x2", str(tmp_path))[1]
    made, cluster = plan(environ, ("python", "\udcff", "a\nb", "\u4e2d")), find(environ).cluster
    data = json.loads(as_json(made, cluster))
    assert yaml.safe_load(as_yaml(made, cluster)) == data
    assert data["servers"][1]["ranks"] == [2, 3]
    assert data["servers"][1]["server_id"] == "198.51.100.2"


def test_nodes_that_differ_are_not_called_alike() -> None:
    sizes = [8] * 5 + [4] + [8] * 10
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    nodes = tuple(
        Node(n, f"n{n}", f"s{n}", tuple(Device(start + i, i) for i in range(size)))
        for n, (start, size) in enumerate(zip(starts, sizes))
    )
    rows = layout.rows(Cluster(nodes, 0))
    assert rows[4] == ("3..12", "...", "", "24-99", "...", "")
    assert layout.size(Cluster(nodes, 0)) == "16 servers x 4 to 8 NPUs"


def test_a_script_within_the_command_is_not_spread_over_the_table() -> None:
    script = "import this\n" * 10
    made = bare(("python", "-c", script, "a b"))
    assert "\ncommand    python -c <script of 10 lines> 'a b'\n" in as_table(made)
    assert json.loads(as_json(made))["processes"][0]["argv"] == ["python", "-c", script, "a b"]
    assert "'print(1)\nprint(2)'" in as_table(bare(("python", "-c", "print(1)\nprint(2)")))


def test_json_holds_the_whole_plan() -> None:
    made = bare()
    data = json.loads(as_json(made))
    assert data["mode"] == "ranktable"
    assert [process["rank"] for process in data["processes"]] == [0, 1]
    for process, spec in zip(data["processes"], made.processes):
        assert process["env"] == dict(spec.env)
        assert tuple(process["argv"]) == spec.argv
    (file,) = made.files
    sha256 = hashlib.sha256(file.content).hexdigest()
    assert data["files"] == [{"path": file.path, "bytes": len(file.content), "sha256": sha256}]
    assert list(data) == [one.name for one in fields(made)]


def test_secrets_of_the_command_line_are_in_neither() -> None:
    made = bare(("python", "train.py", "--api-key", "s3cret", "HF_TOKEN=s3cret"))
    assert "s3cret" in made.processes[0].argv
    assert "s3cret" not in as_table(made) + as_json(made)


def test_a_variable_that_is_removed_is_shown_so() -> None:
    assert "  RANK_TABLE_FILE_V_1_0 (unset)\n" in as_table(bare())
    assert json.loads(as_json(bare()))["processes"][0]["env"]["RANK_TABLE_FILE_V_1_0"] is None


@settings(deadline=None, max_examples=30)
@given(st.lists(st.binary(min_size=1, max_size=6).filter(lambda raw: b"\0" not in raw), min_size=1, max_size=3))
def test_bytes_that_are_not_utf8_survive(raw: list[bytes]) -> None:
    words = [os.fsdecode(word) for word in raw]
    _, command = split(["--", "python", *words])
    made = bare(command)
    assert [os.fsencode(word) for word in made.processes[0].argv[1:]] == raw
    table, data = as_table(made), as_json(made)
    assert table.encode()
    assert data.encode()
    shown = json.loads(data)["processes"][0]["argv"]
    assert len(shown) == len(command)
    if not any(b"=" in word or b":" in word or word.startswith(b"-") for word in raw):
        assert tuple(shown) == command
