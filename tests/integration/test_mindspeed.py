"""MindSpeed's way to launch: its run script with msrun, under ma2l and unchanged, and its defaults as a profile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from ma2l.linux.net import free_ports
from tests.integration.harness import Finished, Running, run, until

Script = Callable[..., str]

RUN_SH = """\
msrun --worker_num=8 \\
      --local_worker_num=8 \\
      --master_port=8132 \\
      --log_dir=log \\
      --join=True \\
      --cluster_time_out=300 \\
      run_language_model.py --config-path /path/to/config/test_language_model.yaml
"""
"""Verbatim from the documentation of MindSpeed-Core-MS."""

TELL = """\
import json, os, sys
role = os.environ.get("MS_ROLE", "")
name = "seen.scheduler" if role == "MS_SCHED" else "seen." + os.environ.get("RANK", "once")
with open(os.environ["SEEN"] + "/" + name + ".part", "w") as file:
    json.dump({"env": dict(os.environ), "argv": sys.argv, "cwd": os.getcwd()}, file)
os.rename(file.name, file.name[:-5])
if role == "MS_SCHED":
    sys.exit()
"""
STAY = (
    TELL
    + """\
import signal, time
def save(*_):
    open(os.environ["SEEN"] + "/saved." + os.environ["RANK"], "w").close()
    sys.exit()
signal.signal(signal.SIGTERM, save)
open(os.environ["SEEN"] + "/ready." + os.environ["RANK"], "w").close()
while True:
    time.sleep(1000)
"""
)
ALL_GRANTED = {"ASCEND_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"}


@pytest.fixture
def env(here: str) -> Mapping[str, str]:
    """msrun calls Python ``python``, which not every machine has."""
    os.mkdir(f"{here}/bin")
    os.symlink(sys.executable, f"{here}/bin/python")
    return {"PATH": f"{here}/bin:{os.environ['PATH']}", "SEEN": here, "TMPDIR": here}


@pytest.fixture
def model(here: str) -> Path:
    """The training script, which here only tells what it was given."""
    path = Path(here, "run_language_model.py")
    path.write_text(TELL)
    return path


def launch(here: str, env: Mapping[str, str], *words: str, cwd: str = "") -> Finished:
    finished = run(*words, cwd=cwd or here, env=env)
    print(finished.out, finished.err)
    return finished


def seen(here: str) -> dict[str, dict[str, object]]:
    """What each process was given, by rank, ``scheduler`` or ``once``."""
    return {path.suffix[1:]: json.loads(path.read_text()) for path in Path(here).glob("seen.*")}


def environs(here: str) -> dict[str, dict[str, str]]:
    return {name: process["env"] for name, process in seen(here).items()}  # type: ignore[misc]


def free_port() -> str:
    return str(free_ports(1)[0])


def numbers(count: int) -> set[str]:
    return {str(number) for number in range(count)}


@pytest.mark.usefixtures("model")
def test_the_run_script_of_its_documentation_runs_unchanged(here: str, env: Mapping[str, str]) -> None:
    Path(here, "run.sh").write_text(RUN_SH)
    finished = launch(here, env, "--mock", "8", "--per-node", "--shim-msrun", "bash", "run.sh")
    assert finished.code == 0
    found = seen(here)
    assert found.keys() == numbers(8) | {"scheduler"}
    arguments = ["run_language_model.py", "--config-path", "/path/to/config/test_language_model.yaml"]
    for process in found.values():
        assert (process["argv"], process["cwd"]) == (arguments, here)
    for name, environ in environs(here).items():
        expected = {"MS_WORKER_NUM": "8", "MS_SCHED_PORT": "8132", "MS_TOPO_TIMEOUT": "300"}
        assert {variable: environ[variable] for variable in expected} == expected
        assert name == "scheduler" or environ["DEVICE_ID"] == name
    logs = {path.name for path in Path(here, "log").glob("[ws]*.log")}
    assert logs == {"scheduler.log", *(f"worker_{rank}.log" for rank in range(8))}


def test_the_script_knows_its_node(here: str, env: Mapping[str, str], script: Script) -> None:
    names = "MASTER_ADDR NNODES NODE_RANK WORLD_SIZE NPUS_PER_NODE"
    values = " ".join(f"${name}" for name in names.split())
    text = f'#!/bin/sh\necho "{values}" > node.$NODE_RANK; command -v msrun > msrun.$NODE_RANK'
    finished = launch(here, env, "--mock", "2x4", "--shim-msrun", "sh", script(text, "run.sh"))
    assert finished.code == 0
    assert [Path(here, f"node.{node}").read_text() for node in (0, 1)] == [
        "127.0.0.1 2 0 8 4\n", "127.0.0.1 2 1 8 4\n"
    ]  # fmt: skip
    paths = {Path(here, f"msrun.{node}").read_text().strip() for node in (0, 1)}
    assert len(paths) == 2
    assert all(os.path.basename(os.path.dirname(path)) == "shim" for path in paths)
    assert not any(map(os.path.exists, paths)), "they go with their runs"


@pytest.mark.usefixtures("model")
def test_the_script_may_go_elsewhere_and_bring_its_own_modules(here: str, env: Mapping[str, str]) -> None:
    for name in ("ma2l.py", "signal.py"):
        Path(here, "modules", name).parent.mkdir(exist_ok=True)
        Path(here, "modules", name).write_text("raise SystemExit('the wrong one')\n")
    shutil.copytree(f"{here}/modules", f"{here}/elsewhere")
    options = f"--worker_num=1 --local_worker_num=1 --master_port={free_port()} --log_dir=log"
    text = f"msrun {options} env -u PYTHONPATH python ../run_language_model.py\n"
    Path(here, "run.sh").write_text(f"cd elsewhere; export PYTHONPATH={here}/modules; {text}")
    finished = launch(here, env, "--mock", "1", "--shim-msrun", "bash", "run.sh")
    assert finished.code == 0
    assert seen(here)["0"]["cwd"] == f"{here}/elsewhere"


def test_the_exit_code_of_a_worker_comes_through(here: str, env: Mapping[str, str], model: Path) -> None:
    model.write_text(TELL + "if os.environ['RANK'] == '1': sys.exit(7)\n")
    Path(here, "run.sh").write_text(RUN_SH.replace("=8 ", "=2 "))
    finished = launch(here, env, "--mock", "2", "--shim-msrun", "bash", "run.sh")
    assert finished.code == 7
    assert "rank 1 failed first: exit code 7" in finished.out
    assert "the command failed first: exit code 7" in finished.err


@pytest.mark.parametrize("rear", ["", " | tee train.log"])
def test_a_stop_reaches_the_workers_with_the_whole_grace(
    here: str, env: Mapping[str, str], model: Path, rear: str
) -> None:
    model.write_text(STAY)
    Path(here, "run.sh").write_text(RUN_SH.replace("=8 ", "=2 ").rstrip() + rear)
    words = ("--mock", "2", "--stop-grace", "3600", "--shim-msrun", "bash", "run.sh")
    with Running(*words, cwd=here, env=env) as running:
        until(lambda: all(Path(here, f"ready.{rank}").exists() for rank in range(2)) or running.process.poll())
        running.send(signal.SIGTERM)
        finished = running.finish()
    print(finished.out, finished.err)
    assert finished.code == 143
    assert sorted(path.name for path in Path(here).glob("saved.*")) == ["saved.0", "saved.1"]
    assert "within 3600 s; a second stop signal kills" in finished.out, "the inner launcher has as long"


@pytest.mark.usefixtures("model")
def test_the_profile_reaches_the_msrun_of_the_script(here: str, env: Mapping[str, str]) -> None:
    text = f"export ASCEND_RT_VISIBLE_DEVICES=2,3\ncd sub\nmsrun --master_port {free_port()} ../run_language_model.py\n"
    Path(here, "run.sh").write_text(text)
    Path(here, "team.yaml").write_text("log_dir: team_log\njoin: False\ncluster_time_out: 7200\n")
    os.mkdir(f"{here}/sub")
    finished = launch(here, env, "--mock", "8", "--profile", "./team.yaml", "--shim-msrun", "bash", "run.sh")
    assert finished.code == 0
    assert environs(here).keys() == numbers(2) | {"scheduler"}
    assert {environ["MS_TOPO_TIMEOUT"] for environ in environs(here).values()} == {"7200"}
    assert Path(here, "sub/team_log/worker_1.log").exists()


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_msrun_with_the_profile_launches_exactly_the_chosen_devices(
    here: str, env: Mapping[str, str], model: Path, how: str
) -> None:
    chosen = {**env, "ASCEND_RT_VISIBLE_DEVICES": "2,3"}
    words = ("--join=True", "--master_port", free_port(), str(model), "--config-path", "x.yaml")
    if how == "flag":
        finished = launch(here, chosen, "msrun", "--profile", "mindspeed", *words)
    else:
        finished = launch(here, {**chosen, "MA2L_PROFILE": "mindspeed"}, "msrun", *words)
    assert finished.code == 0
    found = environs(here)
    assert found.keys() == numbers(2) | {"scheduler"}
    assert [found[rank]["DEVICE_ID"] for rank in "01"] == ["0", "1"]
    assert {environ["ASCEND_RT_VISIBLE_DEVICES"] for environ in found.values()} == {"2,3"}
    assert {environ["MS_TOPO_TIMEOUT"] for environ in found.values()} == {"7200"}
    assert Path(here, "output/msrun_log/worker_1.log").exists()


def test_a_command_with_the_profile_launches_exactly_the_chosen_devices(
    here: str, env: Mapping[str, str], model: Path
) -> None:
    chosen = {**env, **ALL_GRANTED, "ASCEND_RT_VISIBLE_DEVICES": "2,3"}
    finished = launch(here, chosen, "--profile", "mindspeed", sys.executable, str(model))
    assert finished.code == 0
    found = environs(here)
    assert found.keys() == numbers(2) | {"scheduler"}
    assert [found[rank]["DEVICE_ID"] for rank in "01"] == ["0", "1"]
    assert {environ["MS_WORKER_NUM"] for environ in found.values()} == {"2"}
    assert {environ["MS_TOPO_TIMEOUT"] for environ in found.values()} == {"7200"}
    assert Path(here, "output/msrun_log/worker_1.log").exists()


def test_a_profile_does_not_keep_a_job_to_one_node(here: str, env: Mapping[str, str], model: Path) -> None:
    finished = launch(here, env, "--mock", "2x2", "--profile", "mindspeed", sys.executable, str(model))
    assert finished.code == 0
    found = environs(here)
    assert found.keys() == numbers(4) | {"scheduler"}
    assert {environ["MS_WORKER_NUM"] for environ in found.values()} == {"4"}
    assert {path.name for path in Path(here, "output/msrun_log").glob("worker_*")} == {
        f"worker_{rank}.log" for rank in range(4)
    }


def test_a_profile_does_not_disturb_a_foreign_launcher(here: str, env: Mapping[str, str], script: Script) -> None:
    os.rename(script(f'exec {sys.executable} "$(dirname "$0")/../run_language_model.py" "$@"'), f"{here}/bin/msrun")
    Path(here, "run_language_model.py").write_text(TELL)
    finished = launch(here, env, "--mock", "2", "--profile", "mindspeed", "--", "msrun", "--worker_num=2", "net.py")
    assert finished.code == 0
    ((name, process),) = seen(here).items()
    assert name == "once"
    assert process["argv"] == [f"{here}/bin/../run_language_model.py", "--worker_num=2", "net.py"]


def test_a_mode_that_somebody_chose_is_refused_there_all_the_same(here: str, env: Mapping[str, str]) -> None:
    words = ("--mock", "2", "--profile", "mindspeed", "--mode", "dynamic-cluster", "--per-node", "true")
    finished = launch(here, env, *words)
    assert finished.code == 78
    assert "ma2l: error: cannot use the mode dynamic-cluster: --per-node, and this mode tells each" in finished.err


def test_a_wrong_value_of_a_profile_names_the_file(here: str, env: Mapping[str, str]) -> None:
    Path(here, "team.yaml").write_text("master_port: 80\n")
    finished = launch(here, env, "msrun", "--profile", "./team.yaml", "net.py")
    assert finished.code == 78
    why = "it is out of range; write a number from 1024 to 65535"
    assert finished.err.splitlines()[-1] == f"ma2l: error: cannot use {here}/team.yaml: master_port = '80': {why}"


def test_a_plan_shows_the_shim_and_makes_none(here: str, env: Mapping[str, str]) -> None:
    finished = launch(here, env, "plan", "--mock", "2", "--shim-msrun", "bash", "run.sh")
    assert finished.code == 0
    lines = finished.out.splitlines()
    assert any(line.startswith("file ") and "/shim/msrun (SHA-256 " in line for line in lines)
    assert "note       bash runs once per node: --shim-msrun" in lines
    assert os.listdir(here) == ["bin"]
