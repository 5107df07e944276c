"""Addresses of the NPUs' ports, and what a bare host (real or mock) says about its NPUs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ma2l.ascend.hccn import device_ips, parse_conf, parse_tool
from ma2l.ascend.host import HostNpus, find
from ma2l.mock import layout
from ma2l.mock.node import build
from ma2l.mock.server import SOCS, device_ip, physical_ids
from ma2l.mock.shape import Shape

DATA = Path(__file__).parent.parent / "data" / "ascend"
NOWHERE = {"PATH": "/nowhere"}


def test_hccn_conf_of_a_server() -> None:
    assert parse_conf((DATA / "hccn.conf").read_text()) == {0: "192.1.27.6", 1: "192.2.27.6"}


def test_hccn_conf_with_noise() -> None:
    text = "# address_9=1.2.3.4\n\n address_3 = 192.4.1.1 \naddress_=1\naddress_x=2\naddress_4=\nnetmask_5=255.0.0.0\n"
    assert parse_conf(text) == {3: "192.4.1.1"}


def test_what_hccn_tool_prints() -> None:
    assert parse_tool((DATA / "hccn-tool-ip.txt").read_text()) == "192.1.45.172"
    assert parse_tool("ipaddr: 10.0.0.11 / netmask:255.255.255.0\n") == "10.0.0.11"
    assert parse_tool("hccn_tool: permission denied\n") == ""


@given(st.text())
def test_parsers_of_addresses_never_raise(text: str) -> None:
    parse_tool(text)
    assert all(isinstance(key, int) for key in parse_conf(text))


def hccn_tool(directory: Path, body: str) -> dict[str, str]:
    script = directory / "hccn_tool"
    script.write_text(f'#!/bin/sh\necho "$2" >>{directory}/calls\n{body}\n')
    script.chmod(0o755)
    return {"PATH": f"{directory}:/usr/bin:/bin"}


def test_the_file_comes_first_and_the_tool_fills_the_gaps(tmp_path: Path) -> None:
    environ = hccn_tool(tmp_path, '[ "$2" = 2 ] || exit 1; echo ipaddr:192.3.27.6')
    ips = device_ips((0, 1, 2, 3), environ, str(DATA / "hccn.conf"))
    assert ips == {0: "192.1.27.6", 1: "192.2.27.6", 2: "192.3.27.6"}
    assert (tmp_path / "calls").read_text().split() == ["2", "3"]


def test_without_file_and_tool_no_address_is_known(tmp_path: Path) -> None:
    assert device_ips((0, 1), NOWHERE, str(tmp_path / "missing")) == {}


def test_a_tool_that_cannot_run_is_not_tried_for_every_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ma2l.ascend import tool

    calls: list[tuple[str, ...]] = []

    def stuck(_name: str, arguments: tuple[str, ...], _environ: object) -> tool.Printed:
        calls.append(arguments)
        return tool.Printed("", "did not answer", ran=False)

    monkeypatch.setattr(tool, "run", stuck)
    assert device_ips(range(8), NOWHERE, str(tmp_path / "missing")) == {}
    assert calls == [("-i", "0", "-ip", "-g")]


def test_device_files_decide_and_no_tool_is_asked(tmp_path: Path) -> None:
    (tmp_path / "davinci1").touch()
    (tmp_path / "davinci0").touch()
    found = find(NOWHERE, dev=str(tmp_path), hccn_conf=str(DATA / "hccn.conf"))
    assert found == HostNpus((0, 1), {0: "192.1.27.6", 1: "192.2.27.6"}, f"{tmp_path}/davinci*")
    without = find(NOWHERE, want_ips=False, dev=str(tmp_path), hccn_conf=str(DATA / "hccn.conf"))
    assert without == HostNpus((0, 1), {}, f"{tmp_path}/davinci*")


def test_no_npu_at_all_is_a_reason(tmp_path: Path) -> None:
    reason = find(NOWHERE, dev=str(tmp_path))
    assert reason == f"no {tmp_path}/davinci* and npu-smi is neither on PATH nor where the driver installs it"


@pytest.mark.parametrize("soc", SOCS)
@pytest.mark.parametrize("devices", [1, 3, 16])
def test_a_mock_bare_server_is_found_by_its_tools_alone(tmp_path: Path, soc: str, devices: int) -> None:
    job = build(Shape(1, devices), "bare", soc, str(tmp_path), os.environ)
    layout.lay_out(job, completed=True)
    environ = {**os.environ, "PATH": str(job.nodes[0].environ["PATH"])}
    found = find(environ, dev=str(tmp_path / "no-dev"), hccn_conf=str(tmp_path / "missing"))
    ids = physical_ids(devices, soc)
    assert found == HostNpus(ids, {i: device_ip(0, i) for i in ids}, "npu-smi info")
