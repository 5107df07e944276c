"""Which CPUs are beside each NPU: captured tables, the mock's, and sysfs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ma2l.ascend.topo import Affinity, find, parse
from ma2l.linux import cpulist
from ma2l.mock import npu_smi
from ma2l.mock.server import SOCS, bus_id, physical_ids

DATA = Path(__file__).parent.parent / "data" / "ascend"
REAL_910B, REAL_A3 = DATA / "npu-smi-info-t-topo-910b3.txt", DATA / "npu-smi-info-t-topo-a3.txt"


def cpus(text: str) -> tuple[int, ...]:
    return cpulist.parse(text)


def test_the_table_of_a_910b_server() -> None:
    lists = ("144-167", "144-167", "96-119", "96-119", "0-23", "0-23", "48-71", "48-71")
    assert parse(REAL_910B.read_text()) == {device: cpus(text) for device, text in enumerate(lists)}


def test_the_table_of_an_a3_container_has_ids_and_no_affinity() -> None:
    assert parse(REAL_A3.read_text()) == {12: (), 13: ()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NPU0       X          0-3,8-11\n", {0: (0, 1, 2, 3, 8, 9, 10, 11)}),
        ("           NPU4       CPU Affinity\nNPU4       X          7\n", {4: (7,)}),
        ("NPU0       X\n", {0: ()}),
        ("NPU0\nNPU  X  0-3\nNPUx  X  0-3\nNPU-SMI  X  0-3\n", {}),
        ("NPU0       X          3-0\n", {0: ()}),
        ("NPU1       X          0-99999999\n", {1: ()}),
        ("DCMI model initialized failed, because the device is used. ret is -8020\n", {}),
    ],
)
def test_odd_tables(text: str, expected: dict[int, tuple[int, ...]]) -> None:
    assert parse(text) == expected


@given(st.text())
def test_no_text_is_a_traceback(text: str) -> None:
    parse(text)


def test_the_mock_prints_the_real_format() -> None:
    assert npu_smi.topo(range(8), "910b") == REAL_910B.read_text()
    assert npu_smi.topo((12, 13), "a3") == REAL_A3.read_text()


@pytest.mark.parametrize("soc", SOCS)
@pytest.mark.parametrize("devices", [1, 3, 8, 16])
def test_the_mocks_tables_are_read_back(soc: str, devices: int) -> None:
    ids = physical_ids(devices, soc)
    beside = {i: () if soc == "a3" else cpus(npu_smi.cpus_beside(i)) for i in ids}
    assert parse(npu_smi.topo(ids, soc)) == beside


def tool(directory: Path, **texts: str) -> dict[str, str]:
    """An npu-smi that prints these texts for ``info``, ``-m`` and ``-t topo``, and fails otherwise."""
    cases = []
    for name, arguments in (("info", "info"), ("map", "info -m"), ("topo", "info -t topo")):
        if name in texts:
            (directory / name).write_text(texts[name])
            cases.append(f"'{arguments}') exec cat {directory / name} ;;")
    script = directory / "npu-smi"
    script.write_text('#!/bin/sh\ncase "$*" in\n' + "\n".join(cases) + "\nesac\necho failed >&2\nexit 1\n")
    script.chmod(0o755)
    return {"PATH": f"{directory}:{os.defpath}"}


def sysfs(root: Path, nodes: dict[int, str], pci: dict[str, str]) -> str:
    for node, text in nodes.items():
        directory = root / "devices/system/node" / f"node{node}"
        directory.mkdir(parents=True)
        (directory / "cpulist").write_text(f"{text}\n")
    for bus, node_text in pci.items():
        directory = root / "bus/pci/devices" / bus
        directory.mkdir(parents=True)
        (directory / "numa_node").write_text(f"{node_text}\n")
    return str(root)


def test_the_tables_affinity_comes_first(tmp_path: Path) -> None:
    (tmp_path / "davinci9").touch()
    found = find(tool(tmp_path, topo=REAL_910B.read_text()), dev=str(tmp_path), sys="/nowhere")
    assert found.near[4] == cpus("0-23")
    assert (found.devices, found.how) == ((*range(8), 9), "npu-smi info -t topo")


def test_without_affinity_sysfs_knows_the_pci_devices_node(tmp_path: Path) -> None:
    ids = (12, 13)
    environ = tool(tmp_path, topo=REAL_A3.read_text(), info=npu_smi.info(ids, "a3"), map=npu_smi.mapping(ids, "a3"))
    buses = [bus_id(i, "a3").lower() for i in ids]
    sys = sysfs(tmp_path / "sys", {0: "0-3", 1: "4-7"}, dict(zip(buses, ("1", "-1"))))
    found = find(environ, dev=str(tmp_path / "dev"), sys=sys)
    assert found == Affinity({12: (4, 5, 6, 7)}, ids, f"{sys}/bus/pci")


def test_where_nobody_knows_there_is_a_reason(tmp_path: Path) -> None:
    missing = find({"PATH": "/nowhere"}, dev=str(tmp_path), sys=str(tmp_path))
    assert missing == Affinity({}, (), "npu-smi is neither on PATH nor where the driver installs it")
    failing = find(tool(tmp_path), dev=str(tmp_path), sys=str(tmp_path))
    assert failing == Affinity({}, (), "npu-smi info failed with code 1: failed")
    ids = (0, 1)
    environ = tool(tmp_path, info=npu_smi.info(ids, "910b"), map=npu_smi.mapping(ids, "910b"))
    unknown = find(environ, dev=str(tmp_path), sys=str(tmp_path))
    assert unknown == Affinity({}, ids, f"neither npu-smi nor {tmp_path}/bus/pci tells where the NPUs are")
