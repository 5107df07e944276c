"""A mock job on disk: rank tables that appear late and atomically, tools that print under any shell."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from ma2l.errors import SystemRefused
from ma2l.mock import layout, npu_smi, publish, stage
from ma2l.mock.node import MockJob, build
from ma2l.mock.server import physical_ids
from ma2l.mock.shape import Shape
from ma2l.settings import Settings

TABLES = {
    "modelarts": "user-config/jobstart_hccl.json",
    "volcano": "user-config/jobstart_hccl.json",
    "ascendjob": "hccl/hccl.json",
}
SHELLS = (["sh"], ["dash"], ["busybox", "sh"])


def laid_out(root: Path, platform: str, shape: Shape, *, completed: bool, soc: str = "910b") -> MockJob:
    job = build(shape, platform, soc, str(root), os.environ)
    layout.lay_out(job, completed=completed)
    return job


@pytest.mark.parametrize("platform", TABLES)
def test_the_table_of_every_node_turns_from_initializing_to_completed(tmp_path: Path, platform: str) -> None:
    job = laid_out(tmp_path, platform, Shape(2, 4), completed=False)
    files = [tmp_path / f"node{node}" / TABLES[platform] for node in (0, 1)]
    assert [json.loads(file.read_text()) for file in files] == [{"status": "initializing"}] * 2
    layout.complete(job)
    assert [file.read_text() for file in files] == [job.table] * 2


@pytest.mark.parametrize("platform", TABLES)
def test_a_job_without_delay_starts_with_the_completed_table(tmp_path: Path, platform: str) -> None:
    job = laid_out(tmp_path, platform, Shape(1, 1), completed=True)
    assert (tmp_path / "node0" / TABLES[platform]).read_text() == job.table


def test_a_bare_server_has_tools_and_no_table(tmp_path: Path) -> None:
    job = laid_out(tmp_path, "bare", Shape(1, 4), completed=False)
    layout.complete(job)
    assert sorted(os.listdir(tmp_path / "node0")) == ["bin", "npu"]


def test_the_announced_path_leads_to_the_table(tmp_path: Path) -> None:
    for platform, name in TABLES.items():
        job = laid_out(tmp_path / platform, platform, Shape(1, 2), completed=True)
        announced = Path(str(job.nodes[0].environ["RANK_TABLE_FILE"]))
        file = announced / "jobstart_hccl.json" if announced.is_dir() else announced
        assert file == tmp_path / platform / "node0" / name
        assert announced.is_dir() == (platform == "modelarts")


def test_modelarts_directories_exist_before_the_launcher_starts(tmp_path: Path) -> None:
    job = build(Shape(2, 1), "modelarts", "910b", str(tmp_path / "root"), os.environ)
    layout.lay_out(job, completed=True)
    for node in job.nodes:
        for name in ("MA_LOG_DIR", "MA_JOB_DIR", "DLS_LOCAL_CACHE_PATH"):
            assert os.path.isdir(str(node.environ[name]))


def test_the_volume_looks_like_a_configmap(tmp_path: Path) -> None:
    job = laid_out(tmp_path, "modelarts", Shape(1, 1), completed=False)
    volume = tmp_path / "node0" / "user-config"
    before = os.readlink(volume / "..data")
    layout.complete(job)
    after = os.readlink(volume / "..data")
    assert before != after
    assert after.startswith("..20")
    assert sorted(os.listdir(volume)) == sorted([after, "..data", "jobstart_hccl.json"])
    assert os.readlink(volume / "jobstart_hccl.json") == "..data/jobstart_hccl.json"


def test_at_every_step_of_an_update_the_file_is_there_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish.configmap(str(tmp_path), "t.json", "old")
    seen: list[str] = []
    for name in ("mkdir", "symlink", "rename", "unlink", "rmdir"):
        real = getattr(os, name)

        def step(*arguments: str, real: object = real) -> None:
            assert callable(real)
            real(*arguments)
            seen.append((tmp_path / "t.json").read_text())

        monkeypatch.setattr(os, name, step)
    publish.configmap(str(tmp_path), "t.json", "new")
    assert seen == ["old", "old", "new", "new", "new"]


def test_readers_see_whole_tables_during_200_updates(tmp_path: Path) -> None:
    job = laid_out(tmp_path, "modelarts", Shape(1, 8), completed=False)
    file = tmp_path / "node0" / TABLES["modelarts"]
    contents: set[str] = set()
    missing: list[OSError] = []
    stop = threading.Event()

    def read() -> str:
        try:
            return file.read_text()
        except FileNotFoundError:
            # The kernel resolved ..data just before it was renamed, and its target is gone; real volumes have this
            # race as well. The very next look must succeed.
            return file.read_text()

    def reader() -> None:
        while not stop.is_set():
            try:
                contents.add(read())
            except OSError as error:
                missing.append(error)

    thread = threading.Thread(target=reader)
    thread.start()
    for _ in range(200):
        layout.complete(job)
    stop.set()
    thread.join()
    contents.add(read())
    assert missing == []
    assert contents <= {'{"status":"initializing"}', job.table}
    assert job.table in contents


def test_the_operator_writes_a_plain_file_and_its_version(tmp_path: Path) -> None:
    job = laid_out(tmp_path, "ascendjob", Shape(1, 1), completed=False)
    file = tmp_path / "node0" / "hccl" / "hccl.json"
    inode = file.stat().st_ino
    layout.complete(job)
    assert file.stat().st_ino == inode  # truncated and written, not replaced
    assert file.stat().st_mode & 0o777 == 0o644
    assert not file.is_symlink()
    assert (file.parent / "version").read_text().isdecimal()


def printed(shell: list[str], root: Path, tool: str, *arguments: str) -> str:
    script = str(root / "node0" / "bin" / tool)
    return subprocess.run([*shell, script, *arguments], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@pytest.mark.parametrize("soc", ["910", "910b", "a3"])
def test_npu_smi_prints_the_same_under_every_shell(tmp_path: Path, shell: list[str], soc: str) -> None:
    laid_out(tmp_path, "bare", Shape(1, 4), completed=True, soc=soc)
    ids = physical_ids(4, soc)
    assert printed(shell, tmp_path, "npu-smi", "info") == npu_smi.info(ids, soc)
    assert printed(shell, tmp_path, "npu-smi", "info", "-m") == npu_smi.mapping(ids, soc)
    assert printed(shell, tmp_path, "npu-smi", "info", "-l") == npu_smi.listing(ids, soc)
    assert printed(shell, tmp_path, "npu-smi", "info", "-t", "topo") == npu_smi.topo(ids, soc)
    boards = npu_smi.boards(ids, soc).split("\n\n")
    npus = sorted({npu_smi.npu_and_chip(i, soc)[0] for i in ids})
    for npu, board in zip(npus, boards):
        assert printed(shell, tmp_path, "npu-smi", "info", "-t", "board", "-i", str(npu)) == board + "\n"


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@pytest.mark.parametrize(
    "arguments",
    [
        [], ["info", "-t", "ecc"], ["info", "-t", "board", "-i"], ["info", "-t", "board", "-i", "0"],
        ["info", "-t", "board", "-i", "4/p;s/x"], ["upgrade"], ["info -m", ""],
    ],
    ids=" ".join,
)  # fmt: skip
def test_npu_smi_refuses_what_it_cannot_print(tmp_path: Path, shell: list[str], arguments: list[str]) -> None:
    laid_out(tmp_path, "bare", Shape(1, 4), completed=True)
    script = str(tmp_path / "node0" / "bin" / "npu-smi")
    result = subprocess.run([*shell, script, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("npu-smi (mock): cannot print this: ")


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_hccn_tool_prints_addresses_of_own_devices_only(tmp_path: Path, shell: list[str]) -> None:
    laid_out(tmp_path, "bare", Shape(1, 4), completed=True)
    assert printed(shell, tmp_path, "hccn_tool", "-i", "4", "-ip", "-g") == "ipaddr:192.1.1.2\nnetmask:255.255.0.0\n"
    script = str(tmp_path / "node0" / "bin" / "hccn_tool")
    result = subprocess.run([*shell, script, "-i", "0", "-ip", "-g"], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "mock" in result.stderr


def test_tools_run_as_programs_from_a_root_with_awkward_letters(tmp_path: Path) -> None:
    root = tmp_path / "it's a $ro ot"
    laid_out(root, "bare", Shape(1, 1), completed=True)
    script = str(root / "node0" / "bin" / "npu-smi")
    result = subprocess.run([script, "info", "-l"], capture_output=True, text=True, check=True)
    assert result.stdout == npu_smi.listing((7,), "910b")


@pytest.mark.parametrize("text", [npu_smi.NPU_SMI, npu_smi.HCCN_TOOL], ids=["npu-smi", "hccn_tool"])
def test_the_tools_are_clean_posix_shell(text: str) -> None:
    result = subprocess.run(["shellcheck", "--shell=sh", "-"], input=text, capture_output=True, text=True, check=False)
    assert result.stdout == ""
    assert result.returncode == 0


def test_a_place_that_cannot_hold_a_mock_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemRefused, match="Not a directory; make room, or set TMPDIR"):
        stage.set_up(Shape(1, 2), Settings(), {}, f"{tmp_path}/file/mock", str(tmp_path))
