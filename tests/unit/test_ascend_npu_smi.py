"""Parsers of npu-smi against captured samples, and the query that runs it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ma2l.ascend import tool
from ma2l.ascend.npu_smi import Chip, NpuCount, parse_info, parse_list, parse_mapping, query

DATA = Path(__file__).parent.parent / "data" / "ascend"


def sample(name: str) -> str:
    return (DATA / name).read_text()


def test_table_of_a_910b_server_without_its_processes() -> None:
    chips = parse_info(sample("npu-smi-info-910b2.txt"))
    assert [chip.npu for chip in chips] == list(range(8))
    assert chips[0] == Chip(0, 0, "910B2", None, None, "OK", "0000:C1:00.0")


def test_table_of_an_a3_server_has_two_chips_per_npu_and_physical_ids() -> None:
    chips = parse_info(sample("npu-smi-info-a3.txt"))
    assert [(chip.npu, chip.chip) for chip in chips] == [divmod(i, 2) for i in range(16)]
    assert [chip.physical_id for chip in chips] == list(range(16))
    assert chips[11] == Chip(5, 1, "Ascend910", None, 11, "OK", "0000:8B:00.0")


def test_wider_columns_and_a_container_with_one_card() -> None:
    assert parse_info(sample("npu-smi-info-a3-wide.txt")) == (Chip(0, 0, "Ascend910", None, 0, "OK", "0000:9D:00.0"),)
    (only,) = parse_info(sample("npu-smi-info-910a-one-card.txt"))
    assert (only.npu, only.name) == (3, "910A")


def test_one_row_for_the_npu_and_several_for_its_chips() -> None:
    text = sample("npu-smi-info-910a-one-card.txt")
    row = "| 0                         | 0000:01:00.0  | 0           2280 / 15039      0    / 32768         |\n"
    chips = parse_info(text.replace(row, row + row.replace("| 0  ", "| 1  ").replace("00.0", "00.1")))
    assert [(chip.npu, chip.chip, chip.bus_id) for chip in chips] == [(3, 0, "0000:01:00.0"), (3, 1, "0000:01:00.1")]


@pytest.mark.parametrize("health", ["Warning", "Alarm", "Critical", "UNKNOWN"])
def test_ill_npus_are_listed_with_their_health(health: str) -> None:
    text = sample("npu-smi-info-910b2.txt").replace("OK            | 101.4", f"{health:<14}| -    ", 1)
    assert parse_info(text)[0].health == health


def test_map_without_the_management_units() -> None:
    chips = parse_mapping(sample("npu-smi-info-m-910b4.txt"))
    assert [(chip.npu, chip.chip, chip.logic_id) for chip in chips] == [(i, 0, i) for i in range(8)]
    assert {chip.name for chip in chips} == {"Ascend 910B4"}
    assert {chip.physical_id for chip in chips} == {None}


def test_map_with_physical_ids_and_with_slots() -> None:
    chips = parse_mapping(sample("npu-smi-info-m-a3.txt"))
    assert [(c.npu, c.chip, c.logic_id, c.physical_id) for c in chips] == [(0, 0, 0, 0), (0, 1, 1, 1), (1, 0, 2, 2)]
    slots = "NPU ID  Slot ID  Chip ID  Chip Phy-ID  Chip Name\n3  1  0  6  Ascend950\n3  1  1  -  Mcu\n"
    assert parse_mapping(slots) == (Chip(3, 0, "Ascend950", None, 6),)


def test_list_counts_chips_under_either_name() -> None:
    text = sample("npu-smi-info-l-910b4.txt")
    assert parse_list(text) == tuple(NpuCount(i, 1) for i in range(8))
    assert parse_list(text.replace("Chip Count", "Card Count")) == parse_list(text)


@pytest.mark.parametrize("text", ["", "\n", sample("npu-smi-failed-8005.txt"), "<html>|a|b|c|</html>"])
def test_other_text_is_no_npu(text: str) -> None:
    assert parse_info(text) == ()
    assert parse_mapping(text) == ()
    assert parse_list(text) == ()


@given(st.data())
def test_damaged_samples_never_raise(data: st.DataObject) -> None:
    names = ["npu-smi-info-a3.txt", "npu-smi-info-m-a3.txt", "npu-smi-info-l-910b4.txt", "npu-smi-info-910b2.txt"]
    text = sample(data.draw(st.sampled_from(names)))
    at = data.draw(st.integers(0, len(text)))
    damaged = text[:at] + data.draw(st.text(max_size=20)) + text[at + data.draw(st.integers(0, 40)) :]
    parse_info(damaged)
    parse_mapping(damaged)
    parse_list(damaged)


def with_tool(directory: Path, body: str, name: str = "npu-smi") -> dict[str, str]:
    script = directory / name
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    return {"PATH": f"{directory}:/usr/bin:/bin"}


def prints(info: str, mapping: str) -> str:
    return f'case "$*" in info) cat {DATA / info} ;; "info -m") cat {DATA / mapping} ;; esac'


def test_query_joins_the_table_and_the_map(tmp_path: Path) -> None:
    environ = with_tool(tmp_path, prints("npu-smi-info-910b2.txt", "npu-smi-info-m-910b4.txt"))
    chips = query(environ)
    assert not isinstance(chips, str)
    assert [(chip.logic_id, chip.physical_id) for chip in chips] == [(i, i) for i in range(8)]
    assert chips[1] == Chip(1, 0, "910B2", 1, 1, "OK", "0000:C2:00.0")


def test_in_a_container_the_npu_id_is_the_physical_id(tmp_path: Path) -> None:
    chips = query(with_tool(tmp_path, prints("npu-smi-info-910a-one-card.txt", "npu-smi-failed-8005.txt")))
    assert not isinstance(chips, str)
    assert [(chip.physical_id, chip.logic_id) for chip in chips] == [(3, None)]


def test_two_chips_without_printed_physical_ids_stay_unknown(tmp_path: Path) -> None:
    text = sample("npu-smi-info-a3.txt").replace("Chip  Phy-ID", "Chip        ")
    (tmp_path / "info").write_text(text)
    chips = query(with_tool(tmp_path, f'[ "$*" = info ] && cat {tmp_path}/info'))
    assert not isinstance(chips, str)
    assert {chip.physical_id for chip in chips} == {None}


def test_query_gets_the_environment_it_is_given(tmp_path: Path) -> None:
    environ = with_tool(tmp_path, 'echo "$MARK"; exit 3')
    assert query({**environ, "MARK": "hello \udcff"}) == "npu-smi info failed with code 3: hello \ufffd"


def test_a_busy_driver_is_named_by_its_code(tmp_path: Path) -> None:
    environ = with_tool(tmp_path, f"cat {DATA / 'npu-smi-failed-8005.txt'} >&2; exit 255")
    assert query(environ) == "npu-smi info failed with code 255: dcmi module initialize failed. ret is -8005"


def test_a_failure_with_code_0_is_seen_too(tmp_path: Path) -> None:
    environ = with_tool(tmp_path, f"cat {DATA / 'npu-smi-failed-8005.txt'}")
    assert query(environ) == "npu-smi info lists no NPU: dcmi module initialize failed. ret is -8005"
    assert query(with_tool(tmp_path, "exit 0")) == "npu-smi info lists no NPU: it printed nothing"


def test_no_npu_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool, "_USUAL_PLACES", {"npu-smi": (str(tmp_path),)})
    assert query({"PATH": "/nowhere"}) == "npu-smi is neither on PATH nor where the driver installs it"
    with_tool(tmp_path, prints("npu-smi-info-910b2.txt", "npu-smi-info-m-910b4.txt"))
    assert len(query({"PATH": "/nowhere:/usr/bin:/bin"})) == 8


@pytest.mark.parametrize("first_line", ["#!/nowhere/sh", "no program at all"])
def test_npu_smi_that_cannot_be_executed(tmp_path: Path, first_line: str) -> None:
    (tmp_path / "npu-smi").write_text(f"{first_line}\n")
    (tmp_path / "npu-smi").chmod(0o755)
    reason = query({"PATH": str(tmp_path)})
    assert isinstance(reason, str)
    assert reason.startswith("npu-smi info cannot be executed: ")


def test_a_stuck_tool_is_killed_with_its_children(tmp_path: Path) -> None:
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    held = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    environ = with_tool(tmp_path, f"exec 3>{fifo}; sleep 1000 & echo started >&3; wait")
    timeout_s, written = 0.2, b""
    while not written:  # on a busy machine the script may need more time to get going
        timeout_s *= 2
        printed = tool.run("npu-smi", ("info",), environ, timeout_s)
        assert printed.failure == f"npu-smi info did not answer within {timeout_s:g} s"
        assert not printed.ran
        # Readable with an end of file only once the script and its child, which hold the other end, are gone.
        while select.select([held], [], [], 30) == ([held], [], []) and (data := os.read(held, 100)):
            written += data
    assert select.select([held], [], [], 30) == ([held], [], [])
    assert os.read(held, 100) == b""
    os.close(held)


def test_importing_the_parsers_does_not_import_sh() -> None:
    code = "import sys, ma2l.ascend.host; print('sh' in sys.modules, 'subprocess' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert result.stdout.strip() == "False False"
