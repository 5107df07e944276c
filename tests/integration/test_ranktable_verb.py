"""``ma2l ranktable`` as a user types it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.integration.harness import run

DATA = Path(__file__).parent.parent / "data" / "ranktable"


@pytest.fixture
def tables(here: str) -> str:
    shutil.copytree(DATA, here, dirs_exist_ok=True)
    return here


def test_every_captured_table_is_fine(tables: str) -> None:
    names = sorted(name for name in os.listdir(tables) if name.endswith(".json"))
    finished = run("ranktable", "check", *names, cwd=tables)
    assert finished.code == 0
    lines = finished.out.splitlines()
    assert [line.partition(": fine, form ")[0] for line in lines] == names
    assert "template2_2x8.json: fine, form template 2, 16 ranks on 2 servers x 8 NPUs" in lines


def test_every_violation_is_a_line(tables: str) -> None:
    document = json.loads(Path(tables, "v1_0_a2.json").read_text())
    for number, server in enumerate(document["server_list"]):
        for device in server["device"]:
            device["device_ip"] = f"1.2.3.{number}"
            device["rank_id"] = "7"
    Path(tables, "bad.json").write_text(json.dumps(document))
    finished = run("ranktable", "check", "bad.json", "v1_0_a2.json", cwd=tables)
    assert finished.code == 78
    assert finished.out.count("bad.json: ") > 6
    assert "v1_0_a2.json: fine" in finished.out


def test_a_table_that_is_being_written_is_worth_another_look(tables: str) -> None:
    Path(tables, "jobstart_hccl.json").write_text('{"status":"initializing"}')
    finished = run("ranktable", "check", ".", cwd=tables)
    assert (finished.code, finished.out) == (203, "./jobstart_hccl.json: not complete: still initializing\n")
    Path(tables, "torn.json").write_text('{"status":"comp')
    assert run("ranktable", "check", "torn.json", cwd=tables).code == 203
    assert "it is not complete: not valid JSON yet" in run("ranktable", "show", "torn.json", cwd=tables).err


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (("check", "no.json"), 78, "cannot read the rank table no.json: No such file or directory; check the path"),
        (("check", "/"), 78, "cannot read the rank table /jobstart_hccl.json: No such file or directory"),
        (("check", "/dev/null"), 78, "it is no regular file"),
        (("check",), 2, "cannot find a rank table: no variable names one"),
        (("show", "README.md"), 203, "it is not complete: not valid JSON yet"),
        (("frobnicate",), 2, "choose one of show, check, convert, merge, generate"),
        (("convert", "v1_0_a2.json"), 2, "write --to 1.0|1.2|2.0"),
        (("convert", "v1_2_a3.json", "--to", "1.0"), 78, "it would lose super_pod_list, super_device_id; add --lossy"),
        (("convert", "v1_0_a2.json", "--to", "1.0", "-o", "x.txt"), 78, "HCCL reads only a path that ends in .json"),
        (("convert", "v1_0_a2.json", "--to", "1.0", "-o", "no/x.json"), 78, "No such file or directory"),
        (("merge", "v1_0_a2.json"), 2, "name two or more"),
        (("merge", "v1_0_a2.json", "v1_0_a2.json"), 78, 'server_id is used by server_list[0] and [2]'),
        (("generate", "--devices", "x"), 2, "write 0-7, 0,1,4 or [0,8)"),
        (("generate",), 197, "run on an Ascend node"),
        (("show", "--to", "1.0"), 2, "ma2l ranktable show has none"),
        (("convert", "--to"), 2, "its value is missing"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(tables: str, words: tuple[str, ...], code: int, line: str) -> None:
    finished = run("ranktable", *words, cwd=tables)
    assert finished.code == code, finished.err
    assert line in finished.err
    assert len([text for text in finished.err.splitlines() if "error" in text]) == 1


def test_without_a_name_it_is_the_table_of_the_job(tables: str) -> None:
    env = {"RANK_TABLE_FILE": f"{tables}/v1_2_a3.json"}
    finished = run("ranktable", "show", cwd=tables, env=env)
    assert finished.code == 0
    assert "job      16 ranks on 4 servers x 4 NPUs\n" in finished.out
    assert "3     node_3  node_3  12-15  0-3\n" in finished.out


def test_merged_and_converted_tables_are_files_that_hccl_reads(tables: str) -> None:
    assert run("ranktable", "merge", "template2_2x8.json", "v1_0_a2.json", "-o", "all.json", cwd=tables).code == 0
    assert Path(tables, "all.json").stat().st_mode & 0o777 == 0o640
    assert "20 ranks on 4 servers x 2 to 8 NPUs" in run("ranktable", "check", "all.json", cwd=tables).out
    out = run("ranktable", "convert", "v1_2_a3.json", "--to=1.0", "--lossy", cwd=tables).out
    assert json.loads(out)["version"] == "1.0"


@pytest.mark.parametrize(
    ("devices", "expected"),
    [(None, range(16)), ("[0,4)", range(4)), ("[8,12)", range(8, 12)), ("1,10-11", (1, 10, 11))],
)
def test_a_table_of_this_server_in_place_of_hccl_tools(here: str, devices: str | None, expected: range) -> None:
    """Sixteen devices and ranges that hccl_tools.py gets wrong, with the tools of a pretended server."""
    words = ("--devices", devices) if devices else ()
    mock = ("--mock", "16", "--mock-platform", "bare", "--mock-soc", "a3", "--per-node")
    inner = (
        sys.executable,
        "-m",
        "ma2l",
        "ranktable",
        "generate",
        *words,
        "--server-id",
        "10.0.0.7",
        "-o",
        f"{here}/t.json",
    )
    root = str(Path(__file__).parents[2])
    finished = run(*mock, *inner, cwd=here, env={"PYTHONPATH": root})
    assert finished.code == 0, finished.err
    (server,) = json.loads(Path(here, "t.json").read_text())["server_list"]
    assert server["server_id"] == "10.0.0.7"
    assert [int(device["device_id"]) for device in server["device"]] == list(expected)
    assert all(device["device_ip"].startswith("192.") for device in server["device"])
    assert [device["rank_id"] for device in server["device"]] == [str(rank) for rank in range(len(expected))]
