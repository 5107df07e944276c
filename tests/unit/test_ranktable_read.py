"""Reading: every form and packing, what is incomplete, and what is refused at once."""

from __future__ import annotations

import base64
import gc
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from ma2l.cluster import Device, Node
from ma2l.errors import ConfigError
from ma2l.ranktable import Incomplete, RankTable, build, canonical, check, decode, parse

DATA = Path(__file__).parent.parent / "data" / "ranktable"


def sample(name: str) -> bytes:
    return (DATA / f"{name}.json").read_bytes()


def read(raw: bytes) -> RankTable:
    table = parse(raw, "/t.json")
    assert isinstance(table, RankTable), table
    return table


def summary(document: object) -> str:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    incomplete = parse(raw, "/t.json")
    assert isinstance(incomplete, Incomplete), incomplete
    return incomplete.summary


ADVICE = ("see that the path names a rank table", "correct it, or have the platform write it again")


def refusal(document: object) -> str:
    """What and why; what to do about it follows always."""
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(ConfigError) as caught:
        parse(raw, "/t.json")
    line, _, advice = str(caught.value).rpartition("; ")
    assert advice in ADVICE
    return line


def template2(*instances: tuple[str, str, list[object]], **further: object) -> dict[str, Any]:
    listed = [
        {"pod_name": pod, "server_id": server, "devices": [{"device_id": i, "device_ip": f"10.0.{n}.{i}"} for i in ids]}
        for n, (pod, server, ids) in enumerate(instances)
    ]
    return {"status": "completed", "group_list": [{"group_name": "g", "instance_list": listed}], **further}


@pytest.mark.parametrize(
    ("name", "form", "nodes"),
    [
        ("template2_single", "template 2", [("jobxxxxxxxx-job-trainjob-0", "192.168.0.25", 1)]),
        ("template2_2x8", "template 2", [("fake-job-pod-0", "10.19.1.142", 8), ("fake-job-pod-1", "10.19.1.79", 8)]),
        ("v1_0_a2", "1.0", [("node_0", "node_0", 2), ("node_1", "node_1", 2)]),
        ("v1_2_a3", "1.2", [(f"node_{i}", f"node_{i}", 4) for i in range(4)]),
        ("v2_0_950", "2.0", [("az0-rack0-pod0", "az0-rack0-pod0", 2), ("az0-rack0-pod1", "az0-rack0-pod1", 2)]),
        ("v2_0_950_eid", "2.0", [("superpod_0_0", "superpod_0_0", 2)]),
        ("mindcluster_a2", "1.0", [("10.10.10.10", "10.10.10.10", 2)]),
        ("hccl_tools_2p", "1.0", [("10.155.111.140", "10.155.111.140", 2)]),
    ],
)
def test_published_sample(name: str, form: str, nodes: list[tuple[str, str, int]]) -> None:
    raw = sample(name)
    table = read(raw)
    assert (table.source, table.form) == ("/t.json", form)
    assert [(node.name, node.server_id, len(node.devices)) for node in table.nodes] == nodes
    assert [device.rank for node in table.nodes for device in node.devices] == list(range(sum(n for _, _, n in nodes)))
    if form != "template 2":
        assert table.document == json.loads(raw)
    for packed in (gzip.compress(raw), base64.b64encode(gzip.compress(raw)), base64.encodebytes(gzip.compress(raw))):
        assert read(packed) == table
    assert read(b"\n\t " + raw) == table
    assert read(b"\xef\xbb\xbf" + raw) == table


def test_template_2_becomes_what_davincirun_makes_of_it() -> None:
    table = read(sample("template2_2x8"))
    assert table.document == json.loads(sample("template2_2x8_as_1_0"))
    assert table.nodes[1].devices[7] == Device(rank=15, device_id=7, ip="192.4.33.172")
    assert table.nodes[1].addresses == ("10.19.1.79",)


def test_single_card_keeps_its_physical_id() -> None:
    device = {"device_id": "4", "device_ip": "192.1.10.254", "rank_id": "0"}
    assert read(sample("template2_single")).document == {
        "status": "completed",
        "version": "1.0",
        "server_count": "1",
        "server_list": [{"server_id": "192.168.0.25", "device": [device]}],
    }


def test_template_2_sorts_numbers_as_numbers_across_groups_and_merges_servers() -> None:
    ten = template2(("b-10", "s1", ["10", "9"]), ("b-2", "s0", [3]))
    ten["group_list"].append(template2(("a-3", "s0", ["11", "2"]))["group_list"][0])
    ten["group_list"][1]["instance_list"][0]["devices"][0]["device_ip"] = "10.9.9.9"
    ten["group_list"][1]["instance_list"][0]["devices"][1]["device_ip"] = "10.9.9.8"
    table = read(json.dumps(ten).encode())
    assert [(n.rank, n.name, n.server_id, [d.device_id for d in n.devices]) for n in table.nodes] == [
        (0, "b-2", "s0", [3]),
        (1, "a-3", "s0", [2, 11]),
        (2, "b-10", "s1", [9, 10]),
    ]
    servers: Any = table.document["server_list"]
    assert [(s["server_id"], [(d["device_id"], d["rank_id"]) for d in s["device"]]) for s in servers] == [
        ("s0", [("3", "0"), ("2", "1"), ("11", "2")]),
        ("s1", [("9", "3"), ("10", "4")]),
    ]


def test_template_2_keeps_unknown_fields_as_strings() -> None:
    document = template2(("p-0", "s", ["0"]), job=7, version="0.1")
    group = document["group_list"][0]
    group.update(group_extra="g", job=8)
    group["instance_list"][0].update(host_ip="10.1.1.1", slots=2)
    group["instance_list"][0]["devices"][0].update(super_device_id=37748736, nested={"a": [1]})
    table = read(json.dumps(document).encode())
    device = {"device_id": "0", "device_ip": "10.0.0.0", "super_device_id": "37748736", "nested": {"a": [1]}}
    assert table.document == {
        "status": "completed",
        "version": "1.0",
        "server_count": "1",
        "job": "7",
        "group_extra": "g",
        "server_list": [
            {"server_id": "s", "host_ip": "10.1.1.1", "slots": "2", "device": [{**device, "rank_id": "0"}]},
        ],
    }


def test_template_2_pods_of_one_server_must_be_neighbours() -> None:
    document = template2(("p-0", "10.1.1.1", ["0"]), ("p-1", "10.1.1.2", ["0"]), ("p-2", "10.1.1.1", ["1"]))
    assert refusal(document) == (
        'cannot use the rank table /t.json: server "10.1.1.1": its rank_ids 0 to 2 interleave with those of server '
        '"10.1.1.2"; the ranks of a server must be contiguous'
    )


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (
            template2(("a-0", "s", ["0"]), ("b-0", "t", ["0"])),
            'instances "a-0" and "b-0" both end in 0; the number decides their order, so it must be unique',
        ),
        (
            template2(("master", "s", ["0"])),
            'instance "master": pod_name does not end in "-" and a number, which decides the order of instances',
        ),
        (template2(("a-0", "s", [])), 'instance "a-0": devices is empty, it must be a list of devices'),
        (
            template2(("a-0", "s", ["x"])),
            'instance "a-0": devices[0].device_id is "x", it must be a whole number from 0',
        ),
        (template2(("a-0", "s", [0, "0"])), 'server "s": device[1].device_id 0 is also that of device[0]; '),
        (template2(group_count="1"), "group_list has no instance"),
        (template2(("a-0", "s", [0]), group_count="2"), 'group_count is "2", 1 groups are listed'),
        ({"status": "completed", "group_list": {}}, "group_list is an object, it must be a list"),
        ({"status": "completed", "group_list": [4]}, "group_list[0] is 4, a number, it must be an object"),
        (
            {"status": "completed", "group_list": [{"group_name": "g"}]},
            'group "g": instance_list is missing, it must be a list',
        ),
        (
            {"status": "completed", "group_list": [{"instance_list": [{"devices": [{"device_id": 0}]}]}]},
            (
                "group_list[0]: instance_list[0].pod_name is missing, it must be a string; "
                "group_list[0]: instance_list[0]: server_id is missing, it must be a string"
            ),
        ),
    ],
)
def test_wrong_template_2_is_refused_in_one_line(document: object, why: str) -> None:
    line = refusal(document)
    assert line.startswith(f"cannot use the rank table /t.json: {why}")
    assert "\n" not in line


def test_template_2_counts_must_agree() -> None:
    document = template2(("a-0", "s", [0, 1]))
    document["group_list"][0].update(device_count="16", instance_count=2)
    assert refusal(document).endswith(
        'group "g": instance_count is 2, 1 instances are listed; group "g": device_count is "16", 2 devices are listed'
    )


def test_node_names_and_addresses_of_a_server_list() -> None:
    document = json.loads(sample("v1_0_a2"))
    first, second = document["server_list"]
    first.update(pod_name="job-worker-0", host_ip="10.1.0.1", pod_ip="172.16.0.1", container_ip="172.16.0.1")
    second.update(pod_name=5, server_ip="10.1.0.2", container_ip="")
    document["server_list"].reverse()
    first["device"].reverse()
    nodes = read(json.dumps(document).encode()).nodes
    assert nodes[0] == Node(
        0,
        "job-worker-0",
        "node_0",
        (Device(0, 0, "192.168.1.8"), Device(1, 1, "192.168.1.9")),
        ("172.16.0.1", "10.1.0.1", "node_0"),
    )
    assert (nodes[1].rank, nodes[1].name, nodes[1].addresses) == (1, "node_1", ("10.1.0.2", "node_1"))


def test_missing_version_follows_from_the_content() -> None:
    for name, version in (("v1_0_a2", "1.0"), ("v1_2_a3", "1.2"), ("v2_0_950", "2.0")):
        document = json.loads(sample(name))
        del document["version"]
        table = read(json.dumps(document).encode())
        assert (table.form, table.document["version"]) == (version, version)
    only_ids = json.loads(sample("v1_2_a3"))
    del only_ids["version"], only_ids["super_pod_list"]
    assert read(json.dumps(only_ids).encode()).form == "1.2"


def test_unknown_version_of_a_server_list_is_kept() -> None:
    document = {**json.loads(sample("v1_2_a3")), "version": "1.3", "data_version": 4}
    table = read(json.dumps(document).encode())
    assert (table.form, table.document) == ("1.2", document)


def rank_list(*ranks: tuple[int, int, str]) -> dict[str, Any]:
    listed = []
    for index, (local, device, instance) in enumerate(ranks):
        address = {"addr_type": "IPv4", "addr": f"10.0.0.{index}", "ports": ["1/0"]}
        level = {"net_layer": 0, "net_instance_id": instance, "net_type": "TOPO_FILE_DESC", "rank_addr_list": [address]}
        listed.append({"rank_id": str(index), "local_id": local, "device_id": device, "level_list": [level]})
    return {"version": "2.0", "rank_count": len(listed), "rank_list": listed}


@pytest.mark.parametrize(
    ("ranks", "nodes"),
    [
        ([(0, 0, "a"), (1, 1, "a"), (0, 0, "a"), (1, 1, "a")], [("node0", [0, 1]), ("node1", [0, 1])]),
        ([(0, 0, "a"), (1, 1, "a"), (0, 0, "b")], [("a", [0, 1]), ("b", [0])]),
        ([(0, 0, "a"), (1, 1, "b")], [("a", [0]), ("b", [1])]),
        ([(0, 0, "a"), (1, 1, "a"), (2, 0, "a")], [("node0", [0, 1]), ("node1", [0])]),
        ([(0, 0, ""), (1, 1, "")], [("node0", [0, 1])]),
    ],
)
def test_nodes_of_a_rank_list(ranks: list[tuple[int, int, str]], nodes: list[tuple[str, list[int]]]) -> None:
    document = rank_list(*ranks)
    document["rank_list"].reverse()
    found = read(json.dumps(document).encode()).nodes
    assert [(node.server_id, [device.device_id for device in node.devices]) for node in found] == nodes
    assert [device.ip for node in found for device in node.devices] == [f"10.0.0.{i}" for i in range(len(ranks))]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty file"),
        (b" \n\t", "empty file"),
        (b"\0\0\0", "not valid JSON yet: Expecting value: line 1 column 1"),
        (b'{"status":"comp', "not valid JSON yet: Unterminated string starting at: line 1 column 11"),
        (b'{"a": "\xff"}', "not valid UTF-8 yet: byte 7 is 0xff"),
        (b"H4sIA", "base64 text cut short"),
        (base64.b64encode(gzip.compress(b'{"status":"completed"}'))[:20], "gzip data cut short"),
        (gzip.compress(b'{"status":"completed"}')[:-1], "gzip data cut short"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\0\xff\xff", "gzip data damaged: Error -3 while decompressing data: invalid"),
        (gzip.compress(b""), "not valid JSON yet: Expecting value: line 1 column 1"),
    ],
)
def test_torn_content_may_become_whole(content: bytes, expected: str) -> None:
    assert summary(content).startswith(expected)


def test_every_beginning_of_a_table_is_incomplete() -> None:
    raw = sample("template2_single").rstrip()
    packed = base64.b64encode(gzip.compress(raw))
    for content in (raw, gzip.compress(raw)[:-1], packed[:-4]):
        assert all(isinstance(parse(content[:cut], "t"), Incomplete) for cut in range(4, len(content)))


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({}, "no status yet"),
        ({"status": None}, "no status yet"),
        ({"status": "initializing"}, "still initializing"),
        ({"status": "failed\n"}, 'status is "failed\\n"'),
        (
            {**template2(("a-0", "s", list(range(8)))), "status": "initializing"},
            "still initializing",
        ),
        ({"status": "initializing", "server_count": "2", "server_list": []}, "still initializing: 0 of 2 servers"),
        ({"status": "initializing", "server_count": "2"}, "still initializing: 0 of 2 servers"),
        (
            {"status": "initializing", "server_count": "2", "server_list": [{"device": [{}]}, {"device": []}]},
            "still initializing: 1 of 2 servers",
        ),
        ({"status": "initializing", "rank_count": 4, "rank_list": [{}]}, "still initializing: 1 of 4 ranks"),
        ({"status": "initializing", "group_list": 4, "server_list": None}, "still initializing"),
    ],
)
def test_incomplete_says_what_is_missing(document: object, expected: str) -> None:
    assert summary(document) == expected


def test_incomplete_template_2_counts_devices() -> None:
    document = template2(("a-0", "s", list(range(8))))
    document["status"] = "initializing"
    document["group_list"][0]["device_count"] = "16"
    assert summary(document) == "still initializing: 8 of 16 devices"


def test_rank_list_needs_no_status() -> None:
    assert len(read(json.dumps(rank_list((0, 0, "a"))).encode()).nodes) == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[]", "cannot read the rank table /t.json: its JSON is a list, not an object"),
        (b"4", "cannot read the rank table /t.json: its JSON is a number, not an object"),
        (b'"H4sI"', "cannot read the rank table /t.json: its JSON is a string, not an object"),
        (b"[" * 200_000, "cannot read the rank table /t.json: its JSON is nested too deeply"),
        (b'{"a": NaN}', "cannot read the rank table /t.json: it holds a number that cannot be kept: NaN is not JSON"),
        (
            b'{"a": 1e999}',
            "cannot read the rank table /t.json: it holds a number that cannot be kept: 1e999 is out of range",
        ),
        (
            b'{"status": "completed"}',
            "cannot use the rank table /t.json: it has none of server_list, group_list and rank_list",
        ),
    ],
)
def test_other_json_is_refused(content: bytes, expected: str) -> None:
    assert refusal(content) == expected


def test_a_number_with_thousands_of_digits_is_refused() -> None:
    line = refusal(b'{"a": ' + b"1" * 5000 + b"}")
    assert line.startswith(
        "cannot read the rank table /t.json: it holds a number that cannot be kept: Exceeds the limit"
    )
    assert line.endswith("for integer string conversion")


def test_a_gzip_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "TEXT_LIMIT", 1 << 20)
    expected = "cannot read the rank table /t.json: it holds more than 1 MiB of text, no rank table does"
    bomb = gzip.compress(b" " * (1 << 21))
    assert refusal(bomb) == expected
    assert refusal(base64.b64encode(bomb)) == expected
    assert refusal(b"{" + b" " * (1 << 20) + b"}") == expected


def test_more_than_three_violations_are_counted() -> None:
    document = json.loads(sample("v1_0_a2"))
    for server in document["server_list"]:
        for device in server["device"]:
            device["rank_id"] = int(device["rank_id"])
    assert refusal(document) == (
        "cannot use the rank table /t.json: "
        'server "node_0": device[0].rank_id is 0, a number; every value must be a JSON string; '
        'server "node_0": device[1].rank_id is 1, a number; every value must be a JSON string; '
        'server "node_1": device[0].rank_id is 2, a number; every value must be a JSON string; and 1 more'
    )


def test_built_table_is_one_hccl_accepts_and_reads_back() -> None:
    table = read(sample("template2_2x8"))
    assert build(table.nodes) == table.document
    one_server = (
        Node(0, "p-0", "s", (Device(0, 4), Device(1, 5))),
        Node(1, "p-1", "s", (Device(2, 6),)),
    )
    document = build(one_server)
    assert document == {
        "status": "completed",
        "version": "1.0",
        "server_count": "1",
        "server_list": [
            {"server_id": "s", "device": [{"device_id": str(r + 4), "rank_id": str(r)} for r in range(3)]},
        ],
    }
    assert check(document) == []
    assert read(canonical(document)).document == document


def test_the_collector_is_as_before_whatever_the_outcome() -> None:
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            read(sample("v1_0_a2"))
            refusal(b"[]")
            assert gc.isenabled() == enabled
        finally:
            gc.enable()
