"""HCCL's rules: each broken in a published sample, with the exact line that names server and field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ma2l.ranktable import check

DATA = Path(__file__).parent.parent / "data" / "ranktable"
Change = Callable[[Any], object]


def changed(name: str, change: Change) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
    change(document)
    return document


def server(index: int, **fields: object) -> Change:
    return lambda document: document["server_list"][index].update(fields)


def device(of_server: int, index: int, **fields: object) -> Change:
    return lambda document: document["server_list"][of_server]["device"][index].update(fields)


def without(of_server: int, index: int, field: str) -> Change:
    return lambda document: document["server_list"][of_server]["device"][index].pop(field)


def rank(index: int, **fields: object) -> Change:
    return lambda document: document["rank_list"][index].update(fields)


def level(of_rank: int, index: int, **fields: object) -> Change:
    return lambda document: document["rank_list"][of_rank]["level_list"][index].update(fields)


def address(of_rank: int, of_level: int, **fields: object) -> Change:
    return lambda d: d["rank_list"][of_rank]["level_list"][of_level]["rank_addr_list"][0].update(fields)


def test_published_samples_are_right() -> None:
    for file in DATA.glob("*.json"):
        document = json.loads(file.read_text())
        if "group_list" not in document:
            assert check(document) == [], file


@pytest.mark.parametrize(
    ("change", "violations"),
    [
        (lambda d: d.pop("status"), ["status is missing"]),
        (lambda d: d.update(status="initializing"), ['status is "initializing", not "completed"']),
        (lambda d: d.pop("version"), ["version is missing"]),
        (lambda d: d.update(version=1.0), ["version is 1.0, a number; every value must be a JSON string"]),
        (
            lambda d: d.update(version="2.0"),
            ['version is "2.0"; a table with server_list has version "1.0" or "1.2"'],
        ),
        (lambda d: d.update(server_count="3"), ['server_count is "3", 2 servers are listed']),
        (lambda d: d.update(server_count=2), ["server_count is 2, a number; every value must be a JSON string"]),
        (lambda d: d.pop("server_count"), []),
        (lambda d: d.update(server_list=None), ["server_list is null, it must be a list"]),
        (lambda d: d.update(server_list=[]), ["server_list is empty"]),
        (lambda d: d["server_list"].append(4), ["server_list[2] is 4, a number, it must be an object"]),
        (lambda d: d["server_list"][1].pop("server_id"), ["server_list[1]: server_id is missing"]),
        (server(0, server_id=True), ["server true: server_id is true, a boolean; every value must be a JSON string"]),
        (server(0, server_id=""), ["server_list[0]: server_id is empty"]),
        (server(0, server_id="node_1"), ['server "node_1": server_id is used by server_list[0] and [1]']),
        (server(0, server_id="x" * 64), []),
        (
            server(0, server_id="x" * 65),
            [f'server "{"x" * 65}": server_id has 65 characters, at most 64 are allowed'],
        ),
        (server(0, host_ip="10.0.0.256"), ['server "node_0": host_ip is "10.0.0.256", not an IPv4 or IPv6 address']),
        (lambda d: d["server_list"][0].pop("device"), ['server "node_0": device is missing, it must be a list']),
        (server(0, device="x"), ['server "node_0": device is "x", a string, it must be a list']),
        (server(0, device=[]), ['server "node_0": device is empty']),
        (server(0, device=["x"]), ['server "node_0": device[0] is "x", a string, it must be an object']),
        (without(1, 0, "rank_id"), ['server "node_1": device[0].rank_id is missing']),
        (
            device(1, 0, device_id=9),
            ['server "node_1": device[0].device_id is 9, a number; every value must be a JSON string'],
        ),
        (device(1, 0, device_id="-1"), ['server "node_1": device[0].device_id is "-1", not a whole number from 0']),
        (device(1, 0, device_id="²"), ['server "node_1": device[0].device_id is "\\u00b2", not a whole number from 0']),
        (device(1, 1, device_id="0"), ['server "node_1": device[1].device_id 0 is also that of device[0]']),
        (device(1, 1, device_id="00"), ['server "node_1": device[1].device_id 0 is also that of device[0]']),
        (device(1, 1, numa_id=4, hardware=None), []),
        (device(0, 1, device_port="0"), ['server "node_0": device[1].device_port is "0", not a port (1 to 65535)']),
        (device(0, 1, host_port="65536"), ['server "node_0": device[1].host_port is "65536", not a port (1 to 65535)']),
        (
            device(0, 1, backup_device_port=[]),
            ['server "node_0": device[1].backup_device_port is a list; every value must be a JSON string'],
        ),
        (
            device(0, 1, backup_device_ip="x"),
            ['server "node_0": device[1].backup_device_ip is "x", not an IPv4 or IPv6 address'],
        ),
        (
            without(0, 1, "device_ip"),
            ['server "node_0": device[1].device_ip is missing; it is needed with more than one server'],
        ),
        (
            device(0, 1, device_ip="10.0.0.1,10.0.0.2"),
            ['server "node_0": device[1].device_ip has 2 addresses, that of the first device 1'],
        ),
        (
            device(1, 1, device_ip="192.168.1.8"),
            ['server "node_1": device[1].device_ip 192.168.1.8 is also used by server "node_0"'],
        ),
        (
            device(1, 1, device_ip="192.168.01.8"),
            ['server "node_1": device[1].device_ip is "192.168.01.8", not an IPv4 or IPv6 address'],
        ),
        (device(1, 1, device_ip="fe80::1"), []),
        (
            device(1, 1, device_ip="fe80::g"),
            ['server "node_1": device[1].device_ip is "fe80::g", not an IPv4 or IPv6 address'],
        ),
        (
            device(1, 1, device_ip=":\0\ud800"),
            ['server "node_1": device[1].device_ip is ":\\u0000\\ud800", not an IPv4 or IPv6 address'],
        ),
        (
            device(1, 1, rank_id="4"),
            [
                'server "node_1": device[1].rank_id is "4", the ranks of 4 devices are 0 to 3',
                "rank_id 3 is missing, the ranks of 4 devices are 0 to 3",
            ],
        ),
        (
            device(1, 1, rank_id="0"),
            [
                'server "node_1": device[1].rank_id "0" is also used by server "node_0"',
                "rank_id 3 is missing, the ranks of 4 devices are 0 to 3",
            ],
        ),
    ],
)
def test_rule_of_version_1_0(change: Change, violations: list[str]) -> None:
    assert check(changed("v1_0_a2", change)) == violations


def test_rank_ids_of_servers_must_not_interleave() -> None:
    document = changed("v1_0_a2", device(0, 1, rank_id="2"))
    document["server_list"][1]["device"][0]["rank_id"] = "1"
    end = "; the ranks of a server must be contiguous"
    assert check(document) == [
        f'server "node_0": its rank_ids 0 to 2 interleave with those of server "node_1"{end}',
        f'server "node_1": its rank_ids 1 to 3 interleave with those of server "node_0"{end}',
    ]


def test_host_ports_are_unique_in_a_server() -> None:
    document = changed("v1_2_a3", device(0, 1, host_port="16665"))
    assert check(document) == ['server "node_0": device[1].host_port "16665" is also that of device[0]']


def test_one_server_needs_no_device_ip_but_all_or_none() -> None:
    document = changed("hccl_tools_2p", without(0, 1, "device_ip"))
    assert check(document) == [
        'server "10.155.111.140": device[1].device_ip has 0 addresses, that of the first device 1'
    ]
    del document["server_list"][0]["device"][0]["device_ip"]
    assert check(document) == []


def pods(*members: list[str]) -> Change:
    listed = [
        {"super_pod_id": str(i), "server_list": [{"server_id": name} for name in names]}
        for i, names in enumerate(members)
    ]
    return lambda document: document.update(super_pod_list=listed)


@pytest.mark.parametrize(
    ("change", "violations"),
    [
        (
            device(1, 0, super_device_id=""),
            ['server "node_1": device[0].super_device_id is empty'],
        ),
        (
            without(1, 0, "super_device_id"),
            ['server "node_1": device[0].super_device_id is missing, other devices have one'],
        ),
        (
            device(1, 0, super_device_id="3"),
            ['server "node_1": device[0].super_device_id "3" is also used by server "node_0" in its super pod'],
        ),
        (
            device(1, 0, super_device_id="5"),
            ['server "node_1": device[1].super_device_id "5" is also used by server "node_1" in its super pod'],
        ),
        (
            device(1, 0, super_device_id=4),
            ['server "node_1": device[0].super_device_id is 4, a number; every value must be a JSON string'],
        ),
        (pods(["node_0", "node_1"], ["node_2"]), ['server "node_3" is in no super pod of super_pod_list']),
        (
            pods(["node_0", "node_1"], ["node_2", "node_3", "node_9"]),
            ['super pod "1": server "node_9" is not in server_list'],
        ),
        (
            pods(["node_0", "node_1"], ["node_2", "node_3", "node_1"]),
            ['super pod "1": server "node_1" is already in super pod "0"'],
        ),
        (
            lambda d: d["super_pod_list"][1].update(super_pod_id="0"),
            ['super pod "0": super_pod_id is used twice'],
        ),
        (lambda d: d["super_pod_list"][1].update(super_pod_id=""), ["super_pod_list[1].super_pod_id is empty"]),
        (
            lambda d: d["super_pod_list"][1].update(super_pod_id=1),
            ["super_pod_list[1].super_pod_id is 1, a number; every value must be a JSON string"],
        ),
        (
            lambda d: d["super_pod_list"][1].pop("server_list"),
            ["super_pod_list[1].server_list is missing, it must be a list"],
        ),
        (
            lambda d: d["super_pod_list"][1].update(server_list=[{}, "x"]),
            [
                "super_pod_list[1].server_list[0].server_id is missing",
                'super_pod_list[1].server_list[1] is "x", a string, it must be an object',
            ],
        ),
        (lambda d: d.update(super_pod_list={}), ["super_pod_list is an object, it must be a list"]),
        (lambda d: d["super_pod_list"].append(0), ["super_pod_list[2] is 0, a number, it must be an object"]),
        (
            pods(["node_0", "node_3"], ["node_1", "node_2"]),
            [
                (
                    'super pod "0": server "node_3" comes after servers of another super pod; '
                    "those of one pod must follow each other"
                )
            ],
        ),
        (
            without(1, 0, "device_ip"),
            ['server "node_1": device[0].device_ip is missing; it is needed with more than one super pod'],
        ),
        (lambda d: d.pop("super_pod_list"), []),
        (lambda d: d.update(version="1.0", super_pod_list=7), []),
    ],
)
def test_rule_of_super_pods(change: Change, violations: list[str]) -> None:
    document = changed("v1_2_a3", change)
    assert check(document) == violations


def test_interleaved_super_pods_may_also_share_ids() -> None:
    document = changed("v1_2_a3", pods(["node_0", "node_3"], ["node_1", "node_2"]))
    document["server_list"].reverse()
    assert check(document)[0].startswith('super pod "0": server "node_3" comes after servers of another super pod')


def test_without_super_device_ids_it_falls_back_to_ai_server_mode() -> None:
    document = changed("v1_2_a3", lambda d: None)
    for each in document["server_list"]:
        for own in each["device"]:
            del own["super_device_id"]
    assert check(document) == []
    del document["server_list"][0]["device"][0]["device_ip"]
    assert check(document) == [
        'server "node_0": device[0].device_ip is missing; it is needed with more than one server'
    ]


def test_one_super_pod_needs_no_device_ip() -> None:
    document = changed("v1_2_a3", pods(["node_0", "node_1"]))
    del document["server_list"][2:]
    document["server_count"] = "2"
    for each in document["server_list"]:
        for own in each["device"]:
            del own["device_ip"]
    assert check(document) == []


@pytest.mark.parametrize(
    ("change", "violations"),
    [
        (lambda d: d.pop("version"), ["version is missing"]),
        (lambda d: d.update(version="1.0"), ['version is "1.0"; a table with rank_list has version "2.0"']),
        (lambda d: d.update(status="x"), ['status is "x", not "completed"']),
        (lambda d: d.pop("status"), []),
        (lambda d: d.pop("rank_count"), ["rank_count is missing"]),
        (lambda d: d.update(rank_count=3), ["rank_count is 3, 4 ranks are listed"]),
        (lambda d: d.update(rank_count="4"), []),
        (lambda d: d.update(rank_list=3), ["rank_list is 3, a number, it must be a list"]),
        (lambda d: d.update(rank_list=[], rank_count=0), ["rank_list is empty"]),
        (
            lambda d: d.update(rank_list=[None], rank_count=1),
            ["rank_list[0] is null, it must be an object"],
        ),
        (lambda d: d["rank_list"][3].pop("local_id"), ["rank 3.local_id is missing"]),
        (rank(3, rank_id=-1), ["rank_list[3].rank_id is -1, not a whole number from 0"]),
        (rank(3, local_id=True), ["rank 3.local_id is true, not a whole number from 0"]),
        (rank(3, device_id=1.0), ["rank 3.device_id is 1.0, not a whole number from 0"]),
        (
            rank(3, rank_id=2),
            [
                "rank_list[3].rank_id 2 is also that of rank_list[2]",
                "rank_id 3 is missing, the ids of 4 ranks are 0 to 3",
            ],
        ),
        (
            rank(3, rank_id="4"),
            [
                "rank_list[3].rank_id is 4, the ids of 4 ranks are 0 to 3",
                "rank_id 3 is missing, the ids of 4 ranks are 0 to 3",
            ],
        ),
        (rank(3, device_port=0), ["rank 3.device_port is 0, not a port (1 to 65535)"]),
        (rank(3, level_list=[]), ["rank 3.level_list has 0 entries, it must be a list of 1 to 8"]),
        (rank(3, level_list={}), ["rank 3.level_list is an object, it must be a list of 1 to 8"]),
        (rank(3, level_list=[1]), ["rank 3.level_list[0] is 1, a number, it must be an object"]),
        (level(3, 1, net_layer=8), ["rank 3.level_list[1].net_layer is 8, not a layer (0 to 7)"]),
        (level(3, 1, net_layer=0), ["rank 3.level_list[1].net_layer is 0; layers start with 0 and grow"]),
        (level(3, 0, net_layer=1), ["rank 3.level_list[0].net_layer is 1; layers start with 0 and grow"]),
        (
            level(3, 0, net_type="CLOS"),
            ['rank 3.level_list[0].net_type is "CLOS", layer 0 allows TOPO_FILE_DESC'],
        ),
        (
            level(3, 1, net_type=["CLOS"]),
            ["rank 3.level_list[1].net_type is a list, layer 1 allows TOPO_FILE_DESC or CLOS"],
        ),
        (
            level(3, 1, net_instance_id=5),
            ["rank 3.level_list[1].net_instance_id is 5, a number, it must be a string"],
        ),
        (
            level(3, 1, rank_addr_list=None),
            ["rank 3.level_list[1].rank_addr_list is null, it must be a list of at most 24"],
        ),
        (
            level(3, 1, rank_addr_list=[{}] * 25),
            ["rank 3.level_list[1].rank_addr_list has 25 entries, it must be a list of at most 24"],
        ),
        (level(3, 1, rank_addr_list=[]), []),
        (
            level(3, 1, rank_addr_list=["x"]),
            ['rank 3.level_list[1].rank_addr_list[0] is "x", a string, it must be an object'],
        ),
        (
            address(3, 1, addr_type="MAC"),
            ['rank 3.level_list[1].rank_addr_list[0].addr_type is "MAC", not IPV4, IPV6 or EID'],
        ),
        (
            address(3, 1, addr="300.0.0.1"),
            ['rank 3.level_list[1].rank_addr_list[0].addr is "300.0.0.1", not an IPv4 address'],
        ),
        (
            address(3, 1, addr_type="IPv6"),
            ['rank 3.level_list[1].rank_addr_list[0].addr is "172.16.1.33", not an IPv6 address'],
        ),
        (
            address(3, 1, addr_type="EID", addr="0" * 31 + "g"),
            [f'rank 3.level_list[1].rank_addr_list[0].addr is "{"0" * 31}g", not an EID (32 hexadecimal digits)'],
        ),
        (address(3, 1, addr_type="EID", addr="0" * 31 + "F"), []),
        (address(3, 1, addr=1), ["rank 3.level_list[1].rank_addr_list[0].addr is 1, a number, it must be a string"]),
        (
            address(3, 1, ports=[1]),
            ["rank 3.level_list[1].rank_addr_list[0].ports is a list, it must be a list of strings, not empty"],
        ),
        (
            lambda d: d["rank_list"][3]["level_list"][1]["rank_addr_list"][0].pop("ports"),
            ["rank 3.level_list[1].rank_addr_list[0].ports is missing"],
        ),
    ],
)
def test_rule_of_version_2_0(change: Change, violations: list[str]) -> None:
    assert check(changed("v2_0_950", change)) == violations


def test_neither_list_is_a_violation() -> None:
    assert check({"status": "completed", "version": "1.0"}) == ["it has neither server_list nor rank_list"]


def test_violations_are_bounded_and_short() -> None:
    devices = [{"device_id": "x" * 100_000, "rank_id": "y\n" * 100_000} for _ in range(2000)]
    document = {"status": "completed", "version": "1.0", "server_list": [{"server_id": "s", "device": devices}]}
    found = check(document)
    assert len(found) == 1000
    assert max(map(len, found)) < 300
    assert not any("\n" in line for line in found)
