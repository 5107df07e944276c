"""The archive that somebody who helps asks for: its layout, what is masked in it, and what is left out and said."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ma2l import bundle as bundles
from ma2l.bundle import bundle
from ma2l.secrets import mask_bytes

ENVIRON = {"PATH": "/no/tools", "HUB_TOKEN": "s3cret", "PLAIN": "x"}


def packed(tmp_path: Path) -> dict[str, bytes]:
    """Names below the archive's own directory, and contents."""
    made = bundle(str(tmp_path / "logs"), str(tmp_path / "b.tar.gz"), ENVIRON)
    with tarfile.open(tmp_path / "b.tar.gz") as tar:
        members = tar.getmembers()
        contents = {member.name.partition("/")[2]: tar.extractfile(member) for member in members}
        found = {name: file.read() for name, file in contents.items() if file}
    assert len(found) == len(members) == made.files
    assert not list(tmp_path.glob("*.part"))
    return found


def write(tmp_path: Path, **files: str) -> None:
    for name, text in files.items():
        path = tmp_path / "logs" / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_layout_of_the_log_analyser(tmp_path: Path) -> None:
    write(
        tmp_path, worker_0_DOT_log="zero", worker_1_DOT_log="one", node0_DOT_plan_DOT_json="{}", scheduler_DOT_log="s",
        node0_DOT_npu_info_before_DOT_txt="before", ascend__process_log__rank_0__debug__plog__plog="p", other="x",
    )  # fmt: skip
    found = packed(tmp_path)
    assert found["rank-0.txt"] == b"zero"
    assert found["rank-1.txt"] == b"one"
    assert found["process_log/rank_0/debug/plog/plog"] == b"p"
    assert found["environment_check/npu_info_before.txt"] == b"before"
    assert b"npu-smi" in found["environment_check/npu_info_after.txt"]
    assert found["ma2l/scheduler.log"] == b"s"
    assert found["ma2l/node0.plan.json"] == b"{}"
    assert {"ma2l/explain.txt", "ma2l/versions.txt", "ma2l/environment.txt", "ma2l/MANIFEST.txt"} <= set(found)
    assert "ma2l/other" not in found


def test_a_job_on_modelarts_and_servers_with_ranks_of_the_same_number(tmp_path: Path) -> None:
    job = "modelarts-job-1"
    write(tmp_path, **{f"{job}-node{n}-proc-rank-0-device-0_DOT_txt": f"node {n}" for n in range(2)})
    write(tmp_path, **{f"node{n}_DOT_npu_info_before_DOT_txt": f"before {n}" for n in range(2)})
    found = packed(tmp_path)
    assert found[f"{job}-node0-proc-rank-0-device-0/rank-0.txt"] == b"node 0"
    assert found[f"{job}-node1-proc-rank-0-device-0/rank-0.txt"] == b"node 1"
    assert found["node0/environment_check/npu_info_before.txt"] == b"before 0"
    assert found["node1/environment_check/npu_info_before.txt"] == b"before 1"


def test_secrets_are_masked_everywhere(tmp_path: Path) -> None:
    write(
        tmp_path,
        worker_0_DOT_log='HF_TOKEN=s3cret {"api_key": "s3cret"} --password s3cret\nhttp://u:s3cret@h/ loss=1\n',
    )
    found = packed(tmp_path)
    assert all(b"s3cret" not in content for content in found.values())
    assert found["rank-0.txt"] == b'HF_TOKEN=*** {"api_key": "***"} --password ***\nhttp://u:***@h/ loss=1\n'
    assert b"PLAIN=x" in found["ma2l/environment.txt"]


def test_large_logs_are_their_ends(tmp_path: Path) -> None:
    write(tmp_path, worker_0_DOT_log="a" * 100 + "end")
    path = str(tmp_path / "logs/worker_0.log")
    assert bundles._tail(path, 5) == b"[ma2l: only the last 5 bytes of 103]\naaend"
    assert bundles._tail(path, 103) == b"a" * 100 + b"end"


def test_what_is_no_file_is_left_out_and_said(tmp_path: Path) -> None:
    write(tmp_path, worker_0_DOT_log="zero")
    os.mkfifo(tmp_path / "logs/worker_1.log")
    (tmp_path / "logs/worker_2.log").symlink_to("/etc/passwd")
    found = packed(tmp_path)
    assert "rank-1.txt" not in found
    assert "rank-2.txt" not in found
    assert b"worker_1.log is left out: it is no regular file" in found["ma2l/MANIFEST.txt"]


def test_an_archive_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path, worker_0_DOT_log="zero")
    with pytest.raises(OSError, match="No such file"):
        bundle(str(tmp_path / "logs"), str(tmp_path / "no/b.tar.gz"), ENVIRON)
    with pytest.raises(OSError, match="No such file"):
        bundle(str(tmp_path / "none"), str(tmp_path / "b.tar.gz"), ENVIRON)
    assert sorted(os.listdir(tmp_path)) == ["logs"]


@given(st.binary(max_size=200))
def test_masking_any_bytes_changes_only_values(text: bytes) -> None:
    masked = mask_bytes(text)
    assert masked.count(b"\n") <= text.count(b"\n")
    if not any(sign in text for sign in (b"=", b"--", b":")):
        assert masked == text


@pytest.mark.parametrize(
    "line",
    [b"epoch=3 loss=0.25 lr=1e-4", b"tokenizer=/path/x", b"step: 5, keys: [1, 2]", b'{"lr": "0.1"}', b"a --lr 0.1"],
)
def test_ordinary_lines_stay(line: bytes) -> None:
    assert mask_bytes(line) == line
