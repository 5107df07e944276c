"""Rank tables of generated clusters in every form, mutated ones, and arbitrary bytes."""

from __future__ import annotations

import base64
import copy
import gzip
import json
import random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ma2l.cluster import Device, Node
from ma2l.errors import ConfigError
from ma2l.ranktable import RankTable, canonical, check, parse, restrict
from tests.rank_tables import FORMS, MAKERS, Table, only_known_outcomes, places, server_list, super_pods, with_ranks

SEEDS = st.integers(0, 2**32)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["completed", "0", "1.2"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def shuffled(value: Any, order: random.Random) -> Any:
    """The same lists of objects and the same keys in another order; ordered lists of form 2.0 stay."""
    if isinstance(value, dict):
        names = order.sample(sorted(value), len(value))
        return {n: value[n] if n == "level_list" else shuffled(value[n], order) for n in names}
    return [shuffled(item, order) for item in order.sample(value, len(value))] if isinstance(value, list) else value


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, list[int], Table]:
    """Form, number of devices of each node, and the document in a shuffled order."""
    form = draw(st.sampled_from(FORMS))
    sizes = draw(st.lists(st.integers(1, 8), min_size=1, max_size=7))
    return form, sizes, shuffled(MAKERS[form](sizes), random.Random(draw(SEEDS)))


def read(document: Table) -> RankTable:
    table = parse(json.dumps(document).encode(), "t")
    assert isinstance(table, RankTable), table
    return table


@given(tables())
def test_ranks_are_numbered_through_the_nodes(case: tuple[str, list[int], Table]) -> None:
    form, sizes, document = case
    table = read(document)
    assert table.form == form
    assert [node.rank for node in table.nodes] == list(range(len(sizes)))
    assert [[device.rank for device in node.devices] for node in table.nodes] == with_ranks(sizes)
    assert [[device.ip for device in node.devices] for node in table.nodes] == [
        [f"10.2.0.{rank}" for rank in ranks] for ranks in with_ranks(sizes)
    ]
    assert check(table.document) == []


@given(tables())
def test_every_list_order_and_packing_gives_the_same_bytes(case: tuple[str, list[int], Table]) -> None:
    form, sizes, document = case
    ordered = read(MAKERS[form](sizes))
    content = canonical(read(document).document)
    assert content == canonical(ordered.document)
    assert canonical(read(json.loads(content)).document) == content
    raw = json.dumps(document).encode()
    for packed in (gzip.compress(raw), base64.b64encode(gzip.compress(raw))):
        assert parse(packed, "t") == parse(raw, "t")


@given(tables(), SEEDS)
def test_a_restricted_table_is_right_and_complete(case: tuple[str, list[int], Table], seed: int) -> None:
    form, _, document = case
    table = read(document)
    before = copy.deepcopy(table)
    choice = random.Random(seed)
    kept = {device.rank for node in table.nodes for device in node.devices if choice.random() < 0.5}
    assume(kept)
    cut = restrict(table, lambda _, device: device.rank in kept)
    assert table == before
    assert check(cut.document) == []
    assert (cut.source, cut.form) == (table.source, form)
    old = [(node.name, device.device_id, device.ip) for node in table.nodes for device in node.devices]
    new = [(node.name, device.device_id, device.ip) for node in cut.nodes for device in node.devices]
    assert new == [old[rank] for rank in sorted(kept)]
    assert [device.rank for node in cut.nodes for device in node.devices] == list(range(len(kept)))
    assert [node.rank for node in cut.nodes] == list(range(len(cut.nodes)))
    again = read(json.loads(canonical(cut.document)))
    assert sum(len(node.devices) for node in again.nodes) == len(kept)
    if form in ("1.0", "1.2"):
        assert again.nodes == cut.nodes
        assert cut.document["x"] == 1


def test_restricting_to_nothing_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        restrict(read(server_list([2])), lambda _, device: False)
    assert str(caught.value) == "cannot cut down the rank table t: none of its devices would be left"


def test_restricted_super_pods_are_exact() -> None:
    table = restrict(read(super_pods([2, 1, 1])), lambda node, device: node.rank != 1 and device.device_id == 0)
    device = {"device_id": "0"}
    assert table.document == {
        "status": "completed",
        "version": "1.2",
        "server_count": "2",
        "x": 1,
        "server_list": [
            {
                "server_id": "node_0",
                "host_ip": "10.1.0.0",
                "device": [{**device, "device_ip": "10.2.0.0", "super_device_id": "0", "rank_id": "0"}],
            },
            {
                "server_id": "node_2",
                "host_ip": "10.1.0.2",
                "device": [{**device, "device_ip": "10.2.0.3", "super_device_id": "3", "rank_id": "1"}],
            },
        ],
        "super_pod_list": [
            {"super_pod_id": "pod0", "server_list": [{"server_id": "node_0"}], "x": 1},
            {"super_pod_id": "pod2", "server_list": [{"server_id": "node_2"}], "x": 1},
        ],
    }
    assert table.nodes == (
        Node(0, "node_0", "node_0", (Device(0, 0, "10.2.0.0"),), ("10.1.0.0", "node_0")),
        Node(1, "node_2", "node_2", (Device(1, 0, "10.2.0.3"),), ("10.1.0.2", "node_2")),
    )


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.binary().map(lambda b: b"\x1f\x8b\x08" + b)
    | st.binary().map(lambda b: b"H4sI" + base64.b64encode(b))
)
def test_any_bytes(raw: bytes) -> None:
    only_known_outcomes(raw)


@given(st.dictionaries(st.sampled_from(["version", "group_list", "server_list", "rank_list", "super_pod_list"]), JSON))
def test_any_json(document: Table) -> None:
    only_known_outcomes(json.dumps(document).encode())
    only_known_outcomes(json.dumps({**document, "status": "completed"}).encode())
    only_known_outcomes(json.dumps({**document, "status": "initializing"}).encode())


@given(
    tables(), st.lists(st.tuples(SEEDS, JSON | st.just("DELETE") | st.integers(0, 9).map(str)), min_size=1, max_size=3)
)
def test_any_mutation_of_a_table(case: tuple[str, list[int], Table], mutations: list[tuple[int, object]]) -> None:
    document = case[2]
    for seed, value in mutations:
        found = places(document)
        if found:
            container, key = found[seed % len(found)]
            if value == "DELETE":
                del container[key]
            else:
                container[key] = value
    only_known_outcomes(json.dumps(document).encode())


@given(tables(), SEEDS, st.binary(max_size=3))
def test_any_torn_or_patched_table(case: tuple[str, list[int], Table], seed: int, patch: bytes) -> None:
    raw = json.dumps(case[2]).encode()
    at = seed % (len(raw) + 1)
    only_known_outcomes(raw[:at])
    only_known_outcomes(raw[:at] + patch + raw[at + len(patch) :])
    packed = gzip.compress(raw)
    at = seed % (len(packed) + 1)
    only_known_outcomes(packed[:at] + patch + packed[at + len(patch) :])
