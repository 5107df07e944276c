"""The description of a mock job: environments and rank tables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ma2l.errors import UsageError
from ma2l.mock.node import PLATFORMS, MockJob, build
from ma2l.mock.server import SOCS
from ma2l.mock.shape import Shape

# A caller's environment with a sign of everything: two platforms, a rank of three launchers, and the user's own.
CALLER = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/home/someone",
    "LD_PRELOAD": "/lib/x.so",
    "PYTHONPATH": "/src",
    "MA_RANDOM_NEW_NAME": "1",
    "VC_PS_HOSTS": "a,b",
    "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    "OMPI_COMM_WORLD_RANK": "3",
    "TORCHELASTIC_RUN_ID": "x",
    "RANK_TABLE_FILE": "/old/table.json",
    "RANK_ID": "7",
    "RANK": "7",
    "LOCAL_RANK": "7",
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "29511",
    "MS_ROLE": "MS_SCHED",
    "ASCEND_VISIBLE_DEVICES": "0",
    "ASCEND_RT_VISIBLE_DEVICES": "0,1",
    "NPU-VISIBLE-DEVICES": "0",
    "HCCL_CONNECT_TIMEOUT": "300",
    "MA2L_LOG_DIR": "/logs",
}

OWN_NAMES = {
    "modelarts": ("MA_", "VC_", "VK_TASK_INDEX", "DLS_LOCAL_CACHE_PATH", "PAAS_POD_ID", "NPU-VISIBLE-DEVICES"),
    "volcano": ("VC_", "VK_TASK_INDEX"),
    "ascendjob": ("ASCEND_", "MASTER_", "WORLD_SIZE", "RANK", "LOCAL_", "REPLICA_TYPE", "MINDX_TASK_ID", "POD_UID")
    + ("XDL_IP", "HostNetwork"),
    "bare": (),
}


def job(platform: str, shape: str = "2x4", soc: str = "910b", **options: str) -> MockJob:
    nodes, _, devices = shape.rpartition("x")
    return build(Shape(int(nodes or 1), int(devices)), platform, soc, "/mock", CALLER, **options)


def seen(mock: MockJob, node: int = 0) -> dict[str, str]:
    """The environment that the node's launcher gets."""
    merged: dict[str, str | None] = {**CALLER, **mock.nodes[node].environ}
    return {name: value for name, value in merged.items() if value is not None}


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("soc", SOCS)
def test_nothing_of_another_platform_or_rank_is_left(platform: str, soc: str) -> None:
    environ = seen(job(platform, "1x4", soc))
    allowed = (*OWN_NAMES[platform], "RANK_TABLE_FILE", "HOSTNAME", "FMK_WORKSPACE", "MA2L_MOCK", "PATH")
    if platform == "bare":
        allowed = ("MA2L_MOCK", "PATH")
    users = {
        "HOME", "LD_PRELOAD", "PYTHONPATH", "HCCL_CONNECT_TIMEOUT", "MASTER_PORT", "ASCEND_RT_VISIBLE_DEVICES",
        "MA2L_LOG_DIR",
    }  # fmt: skip
    assert [name for name in environ if name not in users and not name.startswith(allowed)] == []
    assert "MA_RANDOM_NEW_NAME" not in environ
    assert "OMPI_COMM_WORLD_RANK" not in environ
    assert "RANK_ID" not in environ


@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_the_user_steers_stays(platform: str) -> None:
    environ = seen(job(platform, "1x4"))
    for name in ("HOME", "LD_PRELOAD", "PYTHONPATH", "HCCL_CONNECT_TIMEOUT", "MASTER_PORT", "MA2L_LOG_DIR"):
        assert environ[name] == CALLER[name]
    assert environ["ASCEND_RT_VISIBLE_DEVICES"] == "0,1"


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_node_never_mocks_again_and_finds_the_mock_tools_first(platform: str) -> None:
    environ = seen(job(platform, "1x4"))
    assert environ["MA2L_MOCK"] == "0"
    assert environ["PATH"] == "/mock/node0/bin:/usr/bin:/bin"


def test_without_a_path_the_system_default_follows_the_mock_tools() -> None:
    mock = build(Shape(1, 1), "bare", "910b", "/mock", {})
    assert mock.nodes[0].environ["PATH"] == "/mock/node0/bin:/bin:/usr/bin"


def test_modelarts_environment_is_that_of_the_real_dump() -> None:
    environ = seen(job("modelarts"), 1)
    name = "modelarts-job-00000000-mock-mock-mock-000000000000-worker-1"
    expected = {
        "MA_VJ_NAME": "ma-job-00000000-mock-mock-mock-000000000000",
        "MA_CURRENT_INSTANCE_NAME": name,
        "HOSTNAME": name,
        "MA_TASK_NAME": "worker",
        "MA_NUM_HOSTS": "2",
        "MA_NUM_GPUS": "4",
        "VC_TASK_INDEX": "1",
        "VC_WORKER_NUM": "2",
        "VC_WORKER_HOSTS": "127.0.0.1,127.0.0.2",
        "MA_CURRENT_IP": "127.0.0.2",
        "NPU-VISIBLE-DEVICES": "4,5,6,7",
        "RANK_TABLE_FILE": "/mock/node1/user-config",
        "MA_LOG_DIR": "/mock/node1/modelarts/log",
        "MA_MOUNT_PATH": "/mock/node1/modelarts",
    }
    assert {key: environ[key] for key in expected} == expected
    assert "MA_CURRENT_HOST_IP" not in environ
    assert json.loads(environ["MA_INPUTS"])["inputs"][0]["name"] == "data_url"
    assert not [key for key in environ if any(word in key for word in ("KEY", "SECRET", "TOKEN", "CREDENTIAL", "S3_"))]


def test_a_log_directory_of_the_caller_serves_every_node() -> None:
    mock = job("modelarts", log_dir="/shared/log")
    assert [seen(mock, node)["MA_LOG_DIR"] for node in (0, 1)] == ["/shared/log"] * 2
    assert not any("/shared/log" in node.directories for node in mock.nodes), "a plan makes nothing"


def test_volcano_announces_the_file_and_no_modelarts() -> None:
    environ = seen(job("volcano"), 1)
    assert environ["RANK_TABLE_FILE"] == "/mock/node1/user-config/jobstart_hccl.json"
    assert environ["VC_TASK_INDEX"] == environ["VK_TASK_INDEX"] == "1"
    assert environ["HOSTNAME"] == "mock-vcjob-worker-1"
    assert not [name for name in environ if name.startswith("MA_")]


def test_ascendjob_misleads_as_the_operator_does() -> None:
    environ = seen(job("ascendjob"), 1)
    assert environ["RANK"] == "1"
    assert environ["LOCAL_RANK"] == "{0,1,2,3}"
    assert environ["WORLD_SIZE"] == "8"
    assert environ["MASTER_ADDR"] == "127.0.0.1"
    assert environ["ASCEND_VISIBLE_DEVICES"] == "4,5,6,7"
    assert environ["RANK_TABLE_FILE"] == "/mock/node1/hccl/hccl.json"
    assert build(Shape(1, 1), "ascendjob", "910b", "/m", {}).nodes[0].environ["MASTER_PORT"] == "2222"


def scalars(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in scalars(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in scalars(item)]
    return [value]


@pytest.mark.parametrize("platform", ["modelarts", "volcano"])
def test_template_2_is_as_hostile_as_reality(platform: str) -> None:
    table = json.loads(job(platform, "3x8").table)
    assert table["status"] == "completed"
    assert table["group_count"] == "1"
    (group,) = table["group_list"]
    assert (group["device_count"], group["instance_count"]) == ("24", "3")
    instances = group["instance_list"]
    assert [int(i["pod_name"].rpartition("-")[2]) for i in instances] == [2, 1, 0]
    assert all("mock" in i["pod_name"] for i in instances)
    ids = [int(device["device_id"]) for device in instances[0]["devices"]]
    assert sorted(ids) == list(range(8))
    assert ids not in (sorted(ids), sorted(ids, reverse=True))
    assert {type(leaf) for leaf in scalars(table)} == {str}


@pytest.mark.parametrize("platform", ["modelarts", "volcano"])
def test_a_node_finds_itself_in_template_2_by_pod_name(platform: str) -> None:
    mock = job(platform, "2x4")
    names = [i["pod_name"] for i in json.loads(mock.table)["group_list"][0]["instance_list"]]
    assert [seen(mock, node)["HOSTNAME"] for node in (1, 0)] == names


@pytest.mark.parametrize(
    ("devices", "soc", "ids"),
    [
        (4, "910b", [4, 5, 6, 7]),
        (1, "910", [7]),
        (8, "910b", list(range(8))),
        (4, "a3", [12, 13, 14, 15]),
        (16, "a3", list(range(16))),
        (20, "910b", list(range(20))),
    ],
)
def test_physical_ids_are_the_top_of_the_server(devices: int, soc: str, ids: list[int]) -> None:
    table = json.loads(job("modelarts", f"1x{devices}", soc).table)
    listed = [int(d["device_id"]) for d in table["group_list"][0]["instance_list"][0]["devices"]]
    assert sorted(listed) == ids


@pytest.mark.parametrize("platform", ["modelarts", "ascendjob"])
def test_addresses_of_the_largest_job_are_unique_and_valid(platform: str) -> None:
    table = job(platform, "127x512").table
    ips = [leaf for leaf in scalars(json.loads(table)) if leaf.startswith("192.")]
    assert len(ips) == len(set(ips)) == 127 * 512
    assert all(0 < int(part) < 255 for ip in ips for part in ip.split("."))


@pytest.mark.parametrize(("soc", "version"), [("910", "1.0"), ("910b", "1.0"), ("a3", "1.2")])
def test_the_operators_table_names_ranks_and_addresses(soc: str, version: str) -> None:
    table = json.loads(job("ascendjob", "2x4", soc).table)
    assert table["version"] == version
    assert table["server_count"] == "2"
    last, first = table["server_list"]
    assert (first["container_ip"], last["container_ip"]) == ("127.0.0.1", "127.0.0.2")
    assert first["hardware_type"] == f"mock-{soc}"
    for server, ranks in ((first, "0123"), (last, "4567")):
        by_device = sorted(server["device"], key=lambda device: int(device["device_id"]))
        assert [device["rank_id"] for device in by_device] == list(ranks)
        assert by_device != server["device"]
    if soc == "a3":
        sdids = [device["super_device_id"] for server in table["server_list"] for device in server["device"]]
        assert len(set(sdids)) == 8
        (pod,) = table["super_pod_list"]
        assert {server["server_id"] for server in pod["server_list"]} == {first["server_id"], last["server_id"]}
    assert {type(leaf) for leaf in scalars(table)} == {str}


def test_the_operator_identifies_a_node_by_its_host_address() -> None:
    mock = job("ascendjob", "2x4")
    hosts = [server["host_ip"] for server in json.loads(mock.table)["server_list"]]
    assert [seen(mock, node)["XDL_IP"] for node in (1, 0)] == hosts


@pytest.mark.parametrize(
    ("platform", "soc", "shape", "words"),
    [
        ("slurm", "910b", Shape(1, 1), "use modelarts, volcano, ascendjob, bare"),
        ("bare", "310", Shape(1, 1), "use 910, 910b, a3"),
        ("bare", "910b", Shape(2, 4), "mock one, or another platform"),
    ],
)
def test_what_cannot_be_mocked_is_a_usage_error(platform: str, soc: str, shape: Shape, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(shape, platform, soc, "/mock", {})
    assert words in str(caught.value)
