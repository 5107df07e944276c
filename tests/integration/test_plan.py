"""``ma2l plan`` as a user types it: it shows what a run does, and does nothing itself."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

from ma2l.linux.net import free_ports
from tests.integration.harness import run


def test_a_plan_leaves_no_trace(here: str) -> None:
    finished = run("plan", "--mock", "2", "true", cwd=here, env={"TMPDIR": here})
    assert finished.code == 0
    assert finished.out.startswith("topology   rank table ")
    assert os.listdir(here) == []


def comparable(text: str) -> object:
    """A plan as JSON without what differs from run to run."""
    return json.loads(re.sub(r"\d{8}-\d{6}-\d+", "RUN", text))


def test_the_plan_is_what_runs(here: str) -> None:
    words = ("--mock", "2", "--log-dir", "logs", "--master-port", "20001", "true")
    planned = run("plan", "--format", "json", *words, cwd=here).out
    assert run(*words, cwd=here).code == 0
    assert comparable(planned) == comparable(Path(here, "logs/node0.plan.json").read_text())


def test_the_plan_of_msrun_is_what_runs_and_leaves_older_logs_alone(here: str) -> None:
    port = free_ports(1)[0]
    words = ("--worker_num=2", "--local_worker_num=2", f"--master_port={port}", "--join=True", "--log_dir=logs", "true")
    env = {"TMPDIR": here, "MASTER_PORT": "20001"}
    Path(here, "logs").mkdir()
    names = ["node0.plan.json", "scheduler.log", "worker_0.log"]
    for name in names:
        Path(here, "logs", name).write_text("older")
    planned = run("plan", "--format=json", "msrun", *words, cwd=here, env=env)
    assert planned.code == 0
    assert (os.listdir(here), sorted(os.listdir(f"{here}/logs"))) == (["logs"], names)
    assert {Path(here, "logs", name).read_text() for name in names} == {"older"}
    assert run("msrun", *words, cwd=here, env=env).code == 0
    assert comparable(planned.out) == comparable(Path(here, "logs/node0.plan.json").read_text())
    assert Path(here, "logs/worker_0.log.1").read_text() == "older"
    table = run("plan", "msrun", *words, cwd=here, env=env).out
    assert table.startswith("topology   msrun's parameters: 2 of 2 workers here, from rank 0 on\n")


def test_a_program_named_msrun_is_told_from_the_verb(here: str, script: Callable[..., str]) -> None:
    script("exit 0", "msrun")
    env = {"PATH": f"{here}:{os.environ['PATH']}"}
    for words in (("--", "msrun", "x"), ("--mock", "2", "msrun", "x")):
        data = json.loads(run("plan", "--format", "json", *words, cwd=here, env={**env, "MA2L_MOCK": "2"}).out)
        assert [(spec["role"], spec["program"]) for spec in data["processes"]] == [("once", f"{here}/msrun")]
    assert run("plan", "msrun", "--help", cwd=here, env=env).out.startswith("usage: ma2l msrun ")


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
