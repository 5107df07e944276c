"""Rank tables as real files: waited for, refused, chosen, and what the ranks get of them."""

from __future__ import annotations

import base64
import gzip
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ma2l.mock.publish import configmap
from tests.integration.harness import Finished, Running, run

Script = Callable[..., str]
Publish = Callable[[], object]

NAME = "jobstart_hccl.json"
INITIALIZING = '{"status":"initializing"}'
WORKER = """\
env -0 > "env.$RANK"
cp "$RANK_TABLE_FILE" "table.$RANK"
stat -c '%F %a' "$RANK_TABLE_FILE" "$(dirname "$RANK_TABLE_FILE")" > "stat.$RANK"
"""
# Root reads everything, unless it gives up the right to.
BOUND_BY_MODES = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.getuid() == 0 else ()


def device(number: int, rank: int, server: int = 0) -> dict[str, str]:
    return {"device_id": str(number), "device_ip": f"192.1.{server}.{number + 1}", "rank_id": str(rank)}


def one_server(*ranks: int, server_id: str = "10.0.0.1") -> str:
    """A 1.0 table of one server with a device for each given rank."""
    devices = [device(number, rank) for number, rank in enumerate(ranks)]
    servers = [{"server_id": server_id, "device": devices}]
    return json.dumps({"version": "1.0", "status": "completed", "server_count": "1", "server_list": servers})


def two_pods() -> str:
    """A template 2 table of two pods with two devices each, the last pod first and the devices unsorted."""
    instances = [
        {
            "pod_name": f"job-worker-{pod}",
            "server_id": f"10.0.0.{pod + 1}",
            "devices": [{"device_id": str(i), "device_ip": f"192.1.{pod}.{i}"} for i in (5, 4)],
        }
        for pod in (1, 0)
    ]
    group = {"group_name": "job", "device_count": "4", "instance_count": "2", "instance_list": instances}
    return json.dumps({"status": "completed", "group_count": "1", "group_list": [group]})


def written(here: str, text: str, name: str = NAME) -> str:
    path = Path(here, name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return str(path)


def environment(here: str, rank: int) -> dict[str, str]:
    """What a worker saw."""
    variables = Path(here, f"env.{rank}").read_bytes().decode(errors="surrogateescape").split("\0")
    return dict(variable.split("=", 1) for variable in variables if variable)


def table_of(here: str, rank: int) -> Any:
    return json.loads(Path(here, f"table.{rank}").read_text())


def ranks(here: str) -> list[int]:
    return sorted(int(path.suffix[1:]) for path in Path(here).glob("env.*"))


def wait_then(here: str, worker: str, publish: Publish, env: Mapping[str, str | None]) -> Finished:
    """Let ma2l begin to wait for its table, publish it, and return how the run ended."""
    with Running(worker, cwd=here, env=env) as running:
        assert running.process.stderr is not None
        line = running.process.stderr.readline()
        assert "waiting up to 1800 s for the rank table" in line
        publish()
        return running.finish()


@pytest.mark.parametrize(
    "first",
    [None, "", " \n", one_server(0, 1)[:60], INITIALIZING, '{"version":"1.0"}', "H4sIAAAAAAAA", "\udce4"],
    ids=["missing", "empty", "blank", "torn", "initializing", "no status", "torn base64", "torn UTF-8"],
)
def test_what_is_not_complete_is_waited_for(here: str, script: Script, first: str | None) -> None:
    path = Path(here, "table.json")
    if first is not None:
        path.write_bytes(first.encode(errors="surrogateescape"))
    complete = Path(here, "complete")
    complete.write_text(one_server(0, 1))
    finished = wait_then(here, script(WORKER), lambda: complete.rename(path), {"RANK_TABLE_FILE": str(path)})
    assert finished.code == 0
    assert ranks(here) == [0, 1]


def test_a_table_in_a_directory_that_appears_late_is_seen(here: str, script: Script) -> None:
    env = {"RANK_TABLE_FILE": f"{here}/late/table.json"}
    finished = wait_then(here, script(WORKER), lambda: written(here, one_server(0, 1), "late/table.json"), env)
    assert finished.code == 0
    assert ranks(here) == [0, 1]


def test_a_table_that_is_written_in_place_in_pieces_is_waited_for(here: str, script: Script) -> None:
    text = one_server(0, 1)

    def in_pieces() -> None:
        with open(f"{here}/{NAME}", "w") as file:
            for start in range(0, len(text), 40):
                file.write(text[start : start + 40])
                file.flush()

    assert wait_then(here, script(WORKER), in_pieces, {"RANK_TABLE_FILE": here}).code == 0
    assert ranks(here) == [0, 1]


@pytest.mark.parametrize("variable_names", ["the directory", "the file"])
def test_a_swap_of_a_configmap_is_seen(here: str, script: Script, variable_names: str) -> None:
    config = f"{here}/config"
    configmap(config, NAME, INITIALIZING)
    env = {"RANK_TABLE_FILE": config if variable_names == "the directory" else f"{config}/{NAME}"}
    finished = wait_then(here, script(WORKER), lambda: configmap(config, NAME, one_server(0, 1)), env)
    assert finished.code == 0
    assert ranks(here) == [0, 1]
    assert Path(here, "stat.0").read_text().startswith("regular file 640\n")


def test_a_table_that_goes_wrong_while_waiting_ends_the_wait(here: str, script: Script) -> None:
    path = written(here, INITIALIZING)
    finished = wait_then(here, script(WORKER), lambda: written(here, one_server(0, 0)), {"RANK_TABLE_FILE": path})
    assert finished.code == 78


@pytest.mark.parametrize(
    ("content", "summary"),
    [
        (None, ("no such file yet", "No such file or directory")),
        ("", ("empty file", "it is empty")),
        (INITIALIZING, ("still initializing", INITIALIZING)),
        (one_server(0, 1)[:50], ("not valid JSON yet", '"status": "completed"')),
        (
            two_pods().replace("completed", "initializing").replace('"device_count": "4"', '"device_count": "16"'),
            ("4 of 16 devices", "initializing"),
        ),
    ],
    ids=["missing", "empty", "initializing", "torn", "half"],
)
@pytest.mark.parametrize("by", ["file", "directory"])
def test_giving_up_says_what_is_there(here: str, content: str | None, summary: tuple[str, ...], by: str) -> None:
    path = f"{here}/{NAME}"
    if content is not None:
        written(here, content)
    variable = path if by == "file" else here
    timeout = "1" if content == INITIALIZING and by == "file" else "0"
    finished = run("--rank-table-timeout", timeout, "true", cwd=here, env={"RANK_TABLE_FILE": variable})
    assert finished.code == 203
    last = finished.err.splitlines()[-1]
    assert f"after {timeout} s" in last
    assert variable in last
    assert [part for part in summary if part not in last] == []
    assert not Path(here, "ma2l-log").exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (one_server(0, 0), "rank_id"),
        (one_server(0, 2), "rank_id"),
        (one_server(0, 1).replace('"server_count": "1"', '"server_count": "2"'), "server_count"),
        (one_server(0, 1).replace('"rank_id": "1"', '"rank_id": 1'), "rank_id"),
        ("[]", "not an object"),
        ('{"status":"completed"}', "none of server_list, group_list and rank_list"),
    ],
    ids=["rank twice", "gap", "count", "number", "list", "nothing"],
)
def test_wrong_content_is_refused_at_once(here: str, content: str, why: str) -> None:
    path = written(here, content)
    finished = run("touch", "started", cwd=here, env={"RANK_TABLE_FILE": path})
    assert finished.code == 78
    assert len(finished.err.splitlines()) == 1
    assert path in finished.err
    assert why in finished.err
    assert not Path(here, "started").exists()


def test_a_file_that_may_not_be_read_is_refused_at_once(here: str) -> None:
    path = written(here, one_server(0, 1))
    os.chmod(path, 0)
    with Running("true", cwd=here, env={"RANK_TABLE_FILE": path}, before=BOUND_BY_MODES) as running:
        finished = running.finish()
    assert finished.code == 78
    assert finished.err.count("\n") == 1
    assert f"cannot read the rank table {path}: Permission denied" in finished.err


def test_a_directory_in_the_variable_holds_the_table(here: str, script: Script) -> None:
    written(here, one_server(0, 1), f"config/{NAME}")
    assert run(script(WORKER), cwd=here, env={"RANK_TABLE_FILE": f"{here}/config/"}).code == 0
    assert ranks(here) == [0, 1]


def test_the_variable_for_version_1_0_wins(here: str, script: Script) -> None:
    env = {
        "RANK_TABLE_FILE": written(here, two_pods()),
        "RANK_TABLE_FILE_V_1_0": written(here, one_server(0, 1, 2, server_id="v1"), "v1.json"),
    }
    assert run(script(WORKER), cwd=here, env=env).code == 0
    assert ranks(here) == [0, 1, 2]
    assert table_of(here, 0)["server_list"][0]["server_id"] == "v1"
    assert "RANK_TABLE_FILE_V_1_0" not in environment(here, 0)


def test_the_option_wins_over_every_variable_and_every_route_plan(here: str, script: Script) -> None:
    chosen = written(here, one_server(0, server_id="chosen"), "chosen.json")
    written(here, one_server(0, server_id="planned"), "jobstart_routeplan.json")
    env = {"RANK_TABLE_FILE_V_1_0": written(here, two_pods(), "v1.json")}
    assert run("--rank-table-file", chosen, script(WORKER), cwd=here, env=env).code == 0
    assert table_of(here, 0)["server_list"][0]["server_id"] == "chosen"


def test_mindspores_own_variable_is_an_input_and_rewritten(here: str, script: Script) -> None:
    path = written(here, one_server(0, 1), "mindspore.json")
    assert run(script(WORKER), cwd=here, env={"MINDSPORE_HCCL_CONFIG_PATH": path}).code == 0
    assert ranks(here) == [0, 1]
    seen = environment(here, 1)
    assert seen["MINDSPORE_HCCL_CONFIG_PATH"] == seen["RANK_TABLE_FILE"] != path
    assert (seen["RANK_ID"], seen["RANK_SIZE"], seen["DEVICE_ID"]) == ("1", "2", "1")


def test_a_packed_table_is_read_and_the_ranks_get_it_plain(here: str, script: Script) -> None:
    packed = base64.b64encode(gzip.compress(one_server(0, 1).encode())).decode()
    assert run(script(WORKER), cwd=here, env={"RANK_TABLE_FILE": written(here, packed)}).code == 0
    assert table_of(here, 1)["server_list"][0]["server_id"] == "10.0.0.1"


@pytest.mark.parametrize("plan", ["completed", "initializing", "torn"])
def test_a_route_plan_wins_when_it_is_completed(here: str, script: Script, plan: str) -> None:
    planned = one_server(0, 1, server_id="planned")
    texts = {"completed": planned, "initializing": INITIALIZING, "torn": planned[:50]}
    written(here, texts[plan], "config/jobstart_routeplan.json")
    written(here, one_server(0, 1, server_id="plain"), f"config/{NAME}")
    assert run(script(WORKER), cwd=here, env={"RANK_TABLE_FILE": f"{here}/config"}).code == 0
    used = table_of(here, 0)["server_list"][0]["server_id"]
    assert used == ("planned" if plan == "completed" else "plain")


def two_launchers(here: str, worker: str, env: Mapping[str, str]) -> list[Finished]:
    """Start one ma2l per pod of ``two_pods``, at the same time; returns how they ended, by pod."""
    path = written(here, two_pods())

    def pod(number: int) -> Running:
        own = {"MA_CURRENT_INSTANCE_NAME": f"job-worker-{number}", "RANK_TABLE_FILE": path, **env}
        return Running("--log-dir", "logs", worker, cwd=here, env=own)

    with pod(0) as first, pod(1) as second:
        ends = [running.process.communicate(timeout=60) for running in (first, second)]
        return [Finished(r.process.returncode, *end) for r, end in zip((first, second), ends)]


def test_both_nodes_hand_the_same_bytes_to_their_ranks_and_keep_nothing(here: str, script: Script) -> None:
    ends = two_launchers(here, script(WORKER), {})
    assert [end.code for end in ends] == [0, 0]
    assert ranks(here) == [0, 1, 2, 3]
    assert len({Path(here, f"table.{rank}").read_bytes() for rank in range(4)}) == 1
    for rank in range(4):
        seen = environment(here, rank)
        file = Path(seen["RANK_TABLE_FILE"])
        assert file.suffix == ".json"
        assert str(file).count(".json") == 1
        assert Path(here, f"stat.{rank}").read_text() == "regular file 640\ndirectory 700\n"
        assert not file.exists()
        assert not file.parent.exists()
        assert (seen["NODE_RANK"], seen["LOCAL_RANK"]) == (str(rank // 2), str(rank % 2))
    devices = [d["device_id"] for server in table_of(here, 0)["server_list"] for d in server["device"]]
    assert devices == ["4", "5", "4", "5"]
    assert [environment(here, rank)["DEVICE_ID"] for rank in range(4)] == ["0", "1", "0", "1"]


def test_an_order_of_nodes_beside_a_table_is_ignored_and_said_so(here: str, script: Script) -> None:
    ends = two_launchers(here, script(WORKER), {"RANK_AFTER_ACC": "1", "VC_TASK_INDEX": "1"})
    assert [end.code for end in ends] == [0, 0]
    assert ranks(here) == [0, 1, 2, 3]
    assert [end.err.count("RANK_AFTER_ACC is ignored") for end in ends] == [1, 1]
