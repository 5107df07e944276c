"""``ma2l plan`` as a user types it: it shows what a run does, and does nothing itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ma2l.linux.net import free_ports
from tests.integration.harness import run

POD = "modelarts-job-00000000-mock-mock-mock-000000000000-worker-0"


def test_a_plan_leaves_no_trace(here: str) -> None:
    finished = run("plan", "--mock", "2", "true", cwd=here, env={"TMPDIR": here})
    assert finished.code == 0
    assert finished.out.startswith("topology   rank table ")
    assert os.listdir(here) == []


def comparable(text: str) -> Any:
    """A plan as JSON without what differs from run to run."""
    return json.loads(re.sub(r"\d{8}-\d{6}-\d+", "RUN", text))


def test_the_plan_is_what_runs(here: str) -> None:
    words = ("--mock", "2", "--log-dir", "logs", "--master-port", "20001", "true")
    planned = comparable(run("plan", "--format", "json", *words, cwd=here).out)
    assert run(*words, cwd=here).code == 0
    assert planned.pop("servers") == [
        {"node_rank": 0, "name": POD, "server_id": "198.51.100.1", "ranks": [0, 1], "device_ids": [6, 7]}
    ]
    assert planned == comparable(Path(here, "logs/node0.plan.json").read_text())


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


IDENTITY = (
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "NNODES", "MASTER_ADDR", "MASTER_PORT"),
    *("RANK_ID", "RANK_SIZE", "DEVICE_ID", "ASCEND_DEVICE_ID", "JOB_ID", "HCCL_CONNECT_TIMEOUT", "OMP_NUM_THREADS"),
)


def test_one_rank_by_hand_is_what_the_launcher_starts(here: str) -> None:
    """Whatever rank, whichever node of a mock."""
    dump = f"import os; print({IDENTITY!a}, [os.environ.get(name) for name in {IDENTITY!a}])"
    words = ("--mock", "2x2", "--master-port", "20001", "--console-ranks", "all", sys.executable, "-c", dump)
    lines = set(run(*words, cwd=here).out.splitlines())
    assert len(lines) == 4
    for rank in range(4):
        text = run("plan", "--rank", str(rank), *words, cwd=here).out
        done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, env={**os.environ, "TMPDIR": here})
        assert f"[{rank}] {done.stdout.strip()}" in lines, done.stderr
    (table, *_) = Path(here).glob("ma2l-rank-*/rank_table.json")
    assert json.loads(table.read_text())["server_count"] == "2"


def test_a_rank_and_a_script_go_together(here: str) -> None:
    for words, why in (
        (("--format", "sh"), "a script is one rank"),
        (("--rank", "0", "--format", "json"), "one rank is a script"),
        (("--rank", "x"), "it is no rank"),
        (("--format", "xml"), "no such format; choose one of table, json, yaml, sh"),
    ):
        finished = run("plan", *words, "--mock", "2", "true", cwd=here)
        assert finished.code == 2
        assert why in finished.err
    finished = run("plan", "--rank", "7", "--mock", "2", "true", cwd=here)
    assert finished.code == 78
    assert "cannot print rank 7: here run the ranks 0-1 of 2; " in finished.err
    finished = run("plan", "--rank", "9", "--mock", "2x4", "true", cwd=here)
    assert "cannot print rank 9: the job has the ranks 0-7; name one of them" in finished.err
