"""``ma2l plan`` as a user types it: it shows what a run does, and does nothing itself."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from tests.integration.harness import run


def test_a_plan_leaves_no_trace(here: str) -> None:
    finished = run("plan", "--mock", "2", "true", cwd=here, env={"TMPDIR": here})
    assert finished.code == 0
    assert finished.out.startswith("topology   rank table ")
    assert os.listdir(here) == []


def test_the_plan_is_what_runs(here: str) -> None:
    words = ("--mock", "2", "--log-dir", "logs", "--master-port", "20001", "true")
    planned = json.loads(run("plan", "--format", "json", *words, cwd=here).out)
    assert run(*words, cwd=here).code == 0
    ran = json.loads(Path(here, "logs/node0.plan.json").read_text())

    def comparable(plan: object) -> str:
        return re.sub(r"\d{8}-\d{6}-\d+", "RUN", json.dumps(plan))

    assert comparable(planned) == comparable(ran)


def test_a_rank_of_another_launcher_is_told_so(here: str) -> None:
    env = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}
    finished = run("plan", "true", cwd=here, env=env)
    assert finished.out.splitlines()[0] == "topology   already one rank, started by mpirun: CMD takes ma2l's place"
    assert "  RANK=1" in finished.out.splitlines()
    data = json.loads(run("plan", "--format=json", "true", cwd=here, env=env).out)
    assert (data["mode"], data["env"]["WORLD_SIZE"]) == ("one rank", "2")


def test_help_works_among_the_options(here: str) -> None:
    for words in (("--mock", "2", "--help"), ("plan", "--help"), ("plan", "-h")):
        assert run(*words, cwd=here).out.startswith("usage: ma2l")
