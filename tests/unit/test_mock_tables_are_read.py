"""The launcher's own reader accepts every table of the mock, and sees in it the nodes that the mock describes."""

from __future__ import annotations

import pytest

from ma2l.mock.node import build
from ma2l.mock.server import SOCS, device_ip, node_ip, physical_ids
from ma2l.mock.shape import Shape
from ma2l.mock.table import INITIALIZING
from ma2l.ranktable import Incomplete, RankTable, parse


@pytest.mark.parametrize("platform", ["modelarts", "volcano", "ascendjob"])
@pytest.mark.parametrize("soc", SOCS)
@pytest.mark.parametrize("shape", [Shape(1, 1), Shape(1, 8), Shape(2, 4), Shape(3, 8), Shape(2, 16)], ids=str)
def test_the_reader_accepts_the_table(platform: str, soc: str, shape: Shape) -> None:
    table = parse(build(shape, platform, soc, "/mock", {}).table.encode(), "mock")
    assert isinstance(table, RankTable)
    ids = physical_ids(shape.devices, soc)
    assert [node.rank for node in table.nodes] == list(range(shape.nodes))
    for node in table.nodes:
        assert [device.device_id for device in node.devices] == list(ids)
        assert [device.ip for device in node.devices] == [device_ip(node.rank, i) for i in ids]
        first = node.rank * shape.devices
        assert [device.rank for device in node.devices] == list(range(first, first + shape.devices))


def test_the_operators_table_leads_to_addresses_that_answer() -> None:
    table = parse(build(Shape(2, 4), "ascendjob", "910b", "/mock", {}).table.encode(), "mock")
    assert isinstance(table, RankTable)
    assert [node.addresses[0] for node in table.nodes] == [node_ip(0), node_ip(1)]


def test_the_first_table_is_incomplete() -> None:
    assert isinstance(parse(INITIALIZING.encode(), "mock"), Incomplete)
