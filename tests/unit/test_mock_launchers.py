"""The plan of a launcher that starts one real launcher for each node of a mock job."""

from __future__ import annotations

import json
import sys

import pytest

from ma2l.mock import launchers
from ma2l.mock.node import build
from ma2l.mock.shape import Shape
from ma2l.plan.show import as_json, as_table
from ma2l.plan.spec import Plan


def two_nodes(platform: str = "modelarts", **flags: str) -> Plan:
    job = build(Shape(2, 4), platform, "910b", "/mock", {"PATH": "/bin"}, "/logs")
    return launchers.plan(job, flags, ("python", "plan", "\udcff"), "RUN", "/logs")


def test_each_node_has_a_launcher_with_its_environment() -> None:
    made = two_nodes()
    assert [spec.name for spec in made.processes] == ["the launcher of node 0", "the launcher of node 1"]
    assert [spec.env["VC_TASK_INDEX"] for spec in made.processes] == ["0", "1"]
    assert {spec.env["MA2L_MOCK"] for spec in made.processes} == {"0"}
    assert (made.world_size, made.nodes, made.mode) == (8, 2, "mock")


def test_the_command_follows_two_dashes_and_only_options_about_the_mock_stay_here() -> None:
    argv = two_nodes(mode="torch", mock="2x4", mock_platform="modelarts", per_node="true").processes[0].argv
    assert argv[argv.index("--") - 2 :] == ("--mode=torch", "--per_node=true", "--", "python", "plan", "\udcff")
    assert argv[0] == sys.executable


@pytest.mark.parametrize(("platform", "variable"), [("modelarts", None), ("volcano", "/logs"), ("ascendjob", "/logs")])
def test_all_nodes_write_to_one_directory(platform: str, variable: str | None) -> None:
    for spec in two_nodes(platform).processes:
        assert spec.env.get("MA2L_LOG_DIR") == variable
        assert (spec.env.get("MA_LOG_DIR") == "/logs") == (platform == "modelarts")
    assert "--log_dir=/logs" in two_nodes(platform, log_dir="relative").processes[0].argv


def test_the_plan_can_be_printed() -> None:
    made = two_nodes()
    assert "the launcher of node 1" in as_table(made)
    assert [process["local_rank"] for process in json.loads(as_json(made))["processes"]] == [0, 1]


@pytest.mark.parametrize(
    ("script", "own"),
    [("/nowhere/__main__.py", ("-m", "ma2l")), ("-c", ("-m", "ma2l")), (__file__, (__file__,))],
)
def test_it_starts_what_it_was_started_as(monkeypatch: pytest.MonkeyPatch, script: str, own: tuple[str, ...]) -> None:
    monkeypatch.setattr(sys, "argv", [script])
    assert two_nodes().processes[0].argv[1 : 1 + len(own)] == own
