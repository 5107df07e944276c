"""Which place we are in, what its variables mean, and the signs that forbid an automatic mock."""

from __future__ import annotations

import pytest

from ma2l.errors import ConfigError, UsageError
from ma2l.mock import decide as mock_decide
from ma2l.mock.shape import Shape
from ma2l.platforms import mindcluster, signs
from ma2l.platforms.bare import BARE
from ma2l.platforms.mindcluster import MINDCLUSTER
from ma2l.platforms.modelarts import MODELARTS
from ma2l.platforms.topology import current_platform
from ma2l.platforms.volcano import VOLCANO, task_hosts
from ma2l.settings import Settings
from tests.unit.scenario import mock_nodes


@pytest.mark.parametrize("platform", [MODELARTS, VOLCANO, MINDCLUSTER, BARE], ids=lambda p: p.name)
def test_the_mock_of_a_platform_is_taken_for_it(platform: object, tmp_path: object) -> None:
    names = {"ModelArts": "modelarts", "Volcano": "volcano", "MindCluster": "ascendjob", "bare server": "bare"}
    name = current_platform(mock_nodes(names[platform.name], "4", str(tmp_path))[0])  # type: ignore[attr-defined]
    assert name is platform


def test_names_of_a_v1_job() -> None:
    environ = {
        "BATCH_JOB_ID": "job0001",
        "BATCH_TASK_INDEX": "1",
        "BATCH_TASK_CURRENT_INSTANCE": "job0001-custom0-1",
        "BATCH_TASK_LOG_PATH": "/tmp/log",
        "DLS_TASK_NUMBER": "2",
    }
    assert current_platform(environ) is MODELARTS
    assert MODELARTS.job_id(environ) == "job0001"
    assert MODELARTS.log_dir(environ) == "/tmp/log"
    assert MODELARTS.text(environ, "pod") == "job0001-custom0-1"
    assert MODELARTS.number(environ, "nodes") == 2
    assert MODELARTS.number(environ, "node_rank") == 1


@pytest.mark.parametrize(
    ("environ", "directory"),
    [
        ({"MA_LOG_DIR": "/a", "MA_MOUNT_PATH": "/m"}, "/a"),
        ({"MA_MOUNT_PATH": "/m"}, "/m/log"),
        ({}, ""),
    ],
)
def test_where_modelarts_collects_logs(environ: dict[str, str], directory: str) -> None:
    assert MODELARTS.log_dir(environ) == directory


@pytest.mark.parametrize(
    ("environ", "job_id"),
    [
        ({"MA_VJ_NAME": "ma-job-1"}, "modelarts-job-1"),
        ({"MA_VJ_NAME": "modelarts-job-1"}, "modelarts-job-1"),
        ({}, "modelarts-job"),
    ],
)
def test_the_job_id_of_modelarts_is_never_empty(environ: dict[str, str], job_id: str) -> None:
    assert MODELARTS.job_id(environ) == job_id


@pytest.mark.parametrize("text", ["two", "-1", "1.0", " 1", "\u00b2", "9" * 5000])
def test_a_variable_that_counts_must_be_a_number(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        MODELARTS.number({"MA_NUM_HOSTS": text}, "nodes")
    expected = f"cannot use MA_NUM_HOSTS={text!r}: it is not a whole number; correct or unset MA_NUM_HOSTS"
    assert str(error.value) == expected


def test_an_empty_number_is_unset_and_the_next_name_counts() -> None:
    assert MODELARTS.number({"MA_NUM_HOSTS": "", "VC_WORKER_NUM": "3"}, "nodes") == 3


def test_host_lists_of_tasks() -> None:
    environ = {"VC_WORKER_HOSTS": "a, b,", "VC_MASTER_HOSTS": "m", "VC_PS_HOSTS": "", "VC_WORKER_NUM": "2"}
    assert task_hosts(environ) == {"VC_MASTER_HOSTS": ("m",), "VC_WORKER_HOSTS": ("a", "b")}
    assert MODELARTS.hosts(environ) == {"VC_WORKER_HOSTS": ("a", "b")}
    assert MODELARTS.hosts({**environ, "MA_TASK_NAME": "master"}) == {"VC_MASTER_HOSTS": ("m",)}


def test_only_the_operator_makes_a_scheduler_pod() -> None:
    assert mindcluster.is_scheduler_pod({"MS_ROLE": "MS_SCHED", "MINDX_TASK_ID": "x"})
    assert not mindcluster.is_scheduler_pod({"MS_ROLE": "MS_WORKER", "MINDX_TASK_ID": "x"})
    assert not mindcluster.is_scheduler_pod({"MS_ROLE": "MS_SCHED"})
    assert mindcluster.prepared_dynamic_cluster({"MS_ROLE": "MS_WORKER", "MINDX_TASK_ID": "x"})


@pytest.mark.parametrize(
    "name",
    [
        "MA_ANYTHING", "VC_TASK_INDEX", "VK_TASK_INDEX", "BATCH_JOB_ID", "RANK_TABLE_FILE", "RANK_TABLE_FILE_V_1_0",
        "MINDSPORE_HCCL_CONFIG_PATH", "MINDX_TASK_ID", "XDL_IP", "OMPI_COMM_WORLD_RANK", "KUBERNETES_SERVICE_HOST",
        "ASCEND_VISIBLE_DEVICES", "NPU_VISIBLE_DEVICES", "NPU-VISIBLE-DEVICES",
    ],
)  # fmt: skip
def test_a_variable_is_a_sign(name: str) -> None:
    assert signs.signs({name: ""}, lambda path: False, lambda path: []) == (name,)


def test_files_are_signs_and_an_installed_cann_is_none() -> None:
    cann = {"/usr/local/Ascend", "/usr/local/Ascend/ascend-toolkit"}
    assert signs.signs({"ASCEND_TOOLKIT_HOME": "x", "MA2L_MODE": "x"}, lambda p: p in cann, lambda p: ["null"]) == ()
    here = {"/user/config", "/user/serverid/devindex/config", "/usr/local/Ascend/driver"}
    found = signs.signs({}, lambda p: p in here, lambda p: ["nvidia0", "davinci_manager", "davinci3", "null"])
    assert set(found) == here | {"/dev/davinci3", "/dev/davinci_manager", "/dev/nvidia0"}


@pytest.fixture
def laptop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mock_decide, "signs", lambda environ: tuple(n for n in environ if n.startswith("MA_")))


@pytest.mark.usefixtures("laptop")
def test_a_mock_is_made_when_asked_for_or_without_any_sign() -> None:
    assert mock_decide.decide(Settings(mock="2x4"), {"MA_X": ""})[0] == Shape(2, 4)
    assert mock_decide.decide(Settings(nproc_per_node=3), {})[0] == Shape(1, 3)
    shape, line = mock_decide.decide(Settings(), {})
    assert shape is not None
    assert line.startswith(f"MOCK: a pretended modelarts job, 1 node with {shape.devices} NPU")
    assert ("memory" in line) == (shape.devices < 8)


@pytest.mark.usefixtures("laptop")
@pytest.mark.parametrize(
    ("settings", "environ"),
    [
        (Settings(mock="0"), {}),
        (Settings(), {"MA_X": ""}),
        (Settings(nnodes=1), {}),
        (Settings(master_addr="h"), {}),
        (Settings(rank_table_file="t"), {}),
    ],
)
def test_no_mock_by_accident(settings: Settings, environ: dict[str, str]) -> None:
    assert mock_decide.decide(settings, environ) == (None, "")


@pytest.mark.usefixtures("laptop")
def test_wrong_wishes_about_a_mock() -> None:
    with pytest.raises(UsageError) as error:
        mock_decide.decide(Settings(mock="2x4", node_rank=1), {})
    expected = "cannot be node 1 of a mock job: all of its nodes are started here; drop --node-rank"
    assert str(error.value) == expected
    with pytest.raises(UsageError, match="0x8"):
        mock_decide.decide(Settings(mock="0x8"), {})
    with pytest.raises(UsageError, match="between 1 and 512"):
        mock_decide.decide(Settings(nproc_per_node=4096), {})
