"""The mock npu-smi prints the real formats: compared with samples, and read back by our own parsers."""

from __future__ import annotations

from pathlib import Path

import pytest

from ma2l.ascend import npu_smi as parse
from ma2l.mock import npu_smi
from ma2l.mock.server import SOCS, bus_id, physical_ids

DATA = Path(__file__).parent.parent / "data" / "ascend"


def shape_of(text: str) -> list[str]:
    """The text without its readings: what remains is the frame, the titles and the ids."""
    lines = []
    for line in text.splitlines():
        if "npu-smi" in line:
            line = "version"
        elif line.startswith("|") and " OK " in line:
            line = line[:46]  # up to power and temperature
        elif line.startswith("|") and ":00.0" in line:
            line = line[:60]  # up to the memory
        lines.append(line)
    return lines


def test_info_has_the_layout_of_a_real_910b2_server() -> None:
    real = (DATA / "npu-smi-info-910b2.txt").read_text()
    mock = npu_smi.info(range(8), "910b")
    processes = real.index("| NPU     Chip")
    assert shape_of(mock[: mock.index("| NPU     Chip")]) == shape_of(real[:processes])
    assert {len(line) for line in mock.splitlines()} == {len(line) for line in real.splitlines()}


def test_info_has_the_layout_of_a_real_a3_server() -> None:
    real = (DATA / "npu-smi-info-a3.txt").read_text()
    assert shape_of(npu_smi.info(range(16), "a3")) == shape_of(real)


def test_info_has_the_layout_of_a_real_910a_container() -> None:
    real = (DATA / "npu-smi-info-910a-one-card.txt").read_text()
    mock = npu_smi.info((3,), "910")
    assert shape_of(mock) == shape_of(real)
    assert mock.splitlines()[7] == real.splitlines()[7]


def test_mapping_and_listing_are_those_of_a_real_server() -> None:
    real = (DATA / "npu-smi-info-m-910b4.txt").read_text()
    assert npu_smi.mapping(range(8), "910b") == real.replace("910B4", "910B2")
    assert npu_smi.listing(range(8), "910b") == (DATA / "npu-smi-info-l-910b4.txt").read_text()


def test_mapping_of_a3_has_the_physical_id() -> None:
    real = [line.split() for line in (DATA / "npu-smi-info-m-a3.txt").read_text().splitlines()]
    mock = [line.split() for line in npu_smi.mapping(range(3), "a3").splitlines()]
    assert mock[:5] == real


def test_board_has_the_fields_of_a_real_board() -> None:
    real = (DATA / "npu-smi-info-board-910b.txt").read_text()
    mock = npu_smi.boards((0,), "910b")
    assert [line.partition(":")[0] for line in mock.splitlines() if line] == [
        line.partition(":")[0] for line in real.splitlines()
    ]


@pytest.mark.parametrize("soc", SOCS)
def test_everything_says_mock(soc: str) -> None:
    assert "npu-smi mock-" in npu_smi.info((0,), soc)
    assert "mock" in npu_smi.boards((0,), soc)


@pytest.mark.parametrize("soc", SOCS)
@pytest.mark.parametrize("devices", range(1, 17))
def test_our_parsers_read_back_every_server(soc: str, devices: int) -> None:
    ids = physical_ids(devices, soc)
    places = [npu_smi.npu_and_chip(i, soc) for i in ids]
    chips = parse.parse_info(npu_smi.info(ids, soc))
    assert [(chip.npu, chip.chip) for chip in chips] == places
    assert [chip.bus_id for chip in chips] == [bus_id(i, soc) for i in ids]
    assert {chip.health for chip in chips} == {"OK"}
    mapped = parse.parse_mapping(npu_smi.mapping(ids, soc))
    assert [(chip.npu, chip.chip, chip.logic_id) for chip in mapped] == [
        (npu, chip, logic) for logic, (npu, chip) in enumerate(places)
    ]
    if soc == "a3":
        assert [chip.physical_id for chip in chips] == [chip.physical_id for chip in mapped] == list(ids)
    counts = parse.parse_list(npu_smi.listing(ids, soc))
    assert [(entry.npu, entry.chips) for entry in counts] == [
        (npu, sum(place[0] == npu for place in places)) for npu in sorted({place[0] for place in places})
    ]
