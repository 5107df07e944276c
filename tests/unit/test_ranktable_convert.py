"""Converting and merging rank tables: nothing is lost unasked, nothing is made up, and HCCL's rules hold afterwards."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ma2l.errors import ConfigError
from ma2l.ranktable import RankTable, check, parse
from ma2l.ranktable.convert import convert
from ma2l.ranktable.merge import merge
from tests.rank_tables import MAKERS

DATA = Path(__file__).parent.parent / "data" / "ranktable"
SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


def sample(name: str) -> RankTable:
    return read((DATA / name).read_text())


def read(text: str, source: str = "t") -> RankTable:
    table = parse(text.encode(), source)
    assert isinstance(table, RankTable)
    return table


def test_template_2_becomes_what_the_platforms_runner_makes_of_it() -> None:
    expected = json.loads((DATA / "template2_2x8_as_1_0.json").read_text())
    assert convert(sample("template2_2x8.json"), "1.0").document == expected


def test_super_pods_are_lost_only_knowingly() -> None:
    converted = convert(sample("v1_2_a3.json"), "1.0")
    assert converted.lost == ("super_pod_list", "super_device_id")
    assert check(converted.document) == []
    device = converted.document["server_list"][0]["device"][0]
    assert device["backup_device_ip"] == "192.168.1.7"
    assert "super_device_id" not in device


def test_layers_are_lost_only_knowingly() -> None:
    converted = convert(sample("v2_0_950.json"), "1.0")
    assert set(converted.lost) == {"local_id", "device_port", "host_port", "level_list"}
    assert check(converted.document) == []
    assert [s["server_id"] for s in converted.document["server_list"]] == ["az0-rack0-pod0", "az0-rack0-pod1"]
    assert "device_ip" not in convert(sample("v2_0_950_eid.json"), "1.0").document["server_list"][0]["device"][0]


def test_a_table_that_tells_of_super_pods_is_1_2() -> None:
    document: dict[str, Any] = dict(sample("v1_2_a3.json").document)
    older = read(json.dumps({**document, "version": "1.0"}))
    assert convert(older, "1.2").document == document


@pytest.mark.parametrize(
    ("name", "to", "why"),
    [
        ("v1_0_a2.json", "1.2", "it tells neither the super pods nor a device's id in one"),
        ("v2_0_950.json", "1.2", "it tells neither the super pods"),
        ("v1_0_a2.json", "2.0", "form 1.0 says nothing of the network layers and ports of a rank"),
        ("template2_2x8.json", "2.0", "form 1.0 says nothing of the network layers"),
    ],
)
def test_what_nobody_knows_is_not_made_up(name: str, to: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        convert(sample(name), to)


@given(st.sampled_from(["1.0", "1.2", "2.0", "template 2"]), st.lists(SIZES, min_size=2, max_size=3))
def test_merged_tables_number_their_ranks_through(form: str, jobs: list[list[int]]) -> None:
    """Each job's servers, addresses and super pods are made its own, as those of different jobs are."""
    tables = []
    for number, sizes in enumerate(jobs):
        text = (
            json.dumps(MAKERS[form](sizes)).replace("10.2.0.", f"10.2.{number}.").replace("10.1.0.", f"10.1.{number}.")
        )
        tables.append(read(re.sub(r'"(node_|rack|pod)(?=\d)', rf'"\g<1>{number}-', text)))
    merged = merge(tables)
    assert check(merged) == []
    whole = read(json.dumps(merged))
    assert [device.rank for node in whole.nodes for device in node.devices] == list(range(sum(map(sum, jobs))))
    ips = [device.ip for table in tables for node in table.nodes for device in node.devices]
    assert [device.ip for node in whole.nodes for device in node.devices] == ips


def test_one_super_pod_in_several_tables_is_one() -> None:
    tables = []
    for number in range(2):
        text = json.dumps(MAKERS["1.2"]([2])).replace("node_0", f"node_{number}").replace("10.2.0.", f"10.2.{number}.")
        tables.append(read(text.replace('"super_device_id": "', f'"super_device_id": "{number}')))
    (pod,) = merge(tables)["super_pod_list"]
    assert [member["server_id"] for member in pod["server_list"]] == ["node_0", "node_1"]


def test_tables_of_two_forms_are_not_merged() -> None:
    tables = [read((DATA / name).read_text(), name) for name in ("v1_0_a2.json", "v1_2_a3.json")]
    with pytest.raises(ConfigError) as error:
        merge(tables)
    assert str(error.value) == (
        "cannot merge these rank tables: their forms differ: v1_0_a2.json is 1.0, v1_2_a3.json is 1.2; "
        "convert them to one form first"
    )
