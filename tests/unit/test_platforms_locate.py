"""Finding the own node in a rank table, and servers that pods share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ma2l.cluster import Device, Node
from ma2l.errors import ConfigError
from ma2l.platforms.locate import Identity, own_node
from ma2l.platforms.share import split


def node(
    rank: int, name: str, ids: tuple[int, ...] = (0, 1), server: str = "", addresses: tuple[str, ...] = ()
) -> Node:
    first = rank * len(ids)
    members = tuple(Device(first + n, i, f"192.1.{rank}.{i}") for n, i in enumerate(ids))
    return Node(rank, name, server or name, members, addresses or (server or name,))


PODS = (node(0, "job-a-0", server="s0"), node(1, "job-a-1", server="s1"), node(2, "job-a-2", server="s2"))


@pytest.mark.parametrize(
    ("me", "rank", "how"),
    [
        (Identity(pod="job-a-1"), 1, "pod name job-a-1"),
        (Identity(pod="other", ips=("s2",)), 2, "address s2"),
        (Identity(ips=("10.0.0.1", "s1")), 1, "address s1"),
        (Identity(device_ips=("192.1.2.0", "192.1.2.1", "1.1.1.1")), 2, "3 local device addresses"),
        (Identity(pod="renamed-1", task_index=1), 1, "task index 1"),
        (Identity(pod="job-a-1", ips=("s0",), task_index=2), 1, "pod name job-a-1"),
    ],
)
def test_found_by_the_best_evidence(me: Identity, rank: int, how: str) -> None:
    assert own_node(PODS, me, "t.json") == (rank, how)


def test_a_task_index_is_the_number_in_the_pods_name_and_not_a_place() -> None:
    pods = (node(0, "job-a-3"), node(1, "job-a-7"))
    assert own_node(pods, Identity(task_index=7), "t")[0] == 1
    with pytest.raises(ConfigError, match="task index 0 fits none"):
        own_node(pods, Identity(task_index=0), "t")


def test_a_sole_node_is_ours_unless_the_platform_speaks_of_more() -> None:
    assert own_node(PODS[:1], Identity(pod="x"), "t") == (0, "the only node")
    assert own_node(PODS[:1], Identity(pod="job-a-0"), "t", expected=2) == (0, "pod name job-a-0")
    with pytest.raises(ConfigError, match="pod name x fits none; its nodes are job-a-0"):
        own_node(PODS[:1], Identity(pod="x"), "t", expected=2)


def test_a_host_that_is_not_in_the_table_is_one_line() -> None:
    with pytest.raises(ConfigError) as error:
        own_node(PODS, Identity(pod="x", ips=("1.2.3.4",), device_ips=("9.9.9.9",), task_index=8), "/t.json")
    assert str(error.value) == (
        "cannot find this node in the rank table /t.json: pod name x fits none; address 1.2.3.4 fits none; "
        "1 local device addresses fits none; task index 8 fits none; its nodes are job-a-0, job-a-1, job-a-2; "
        "set MA_CURRENT_INSTANCE_NAME, POD_IP or --node-rank"
    )
    with pytest.raises(ConfigError, match="this node knows no name or address of its own"):
        own_node(PODS, Identity(), "t")


def test_two_pods_on_one_server_are_told_apart_by_their_devices() -> None:
    pods = (node(0, "a", (0, 1), "s"), node(1, "b", (2, 3), "s"))
    assert own_node(pods, Identity(ips=("s",), device_ids=(2, 3)), "t") == (
        1,
        "address s and the devices given to it",
    )
    with pytest.raises(ConfigError, match="fits none"):
        own_node(pods, Identity(ips=("s",), device_ids=(0, 1, 2, 3)), "t")


SERVERS = (node(0, "s0", tuple(range(8)), addresses=("10.0.0.1",)), node(1, "s1", tuple(range(8))))


def test_servers_are_split_by_device_id_into_nodes_like_this_one() -> None:
    nodes = split(SERVERS, 4, (4, 5, 6, 7), "t")
    assert [(n.rank, n.name, n.server_id, n.addresses) for n in nodes] == [
        (0, "s0/0", "s0", ("10.0.0.1",)), (1, "s0/1", "s0", ("10.0.0.1",)),
        (2, "s1/0", "s1", ("s1",)), (3, "s1/1", "s1", ("s1",)),
    ]  # fmt: skip
    assert [[d.device_id for d in n.devices] for n in nodes] == [[0, 1, 2, 3], [4, 5, 6, 7]] * 2
    assert [d.rank for n in nodes for d in n.devices] == list(range(16))


@pytest.mark.parametrize(
    ("expected", "mine"),
    [(None, (0, 1)), (2, (0, 1)), (1, (0,)), (4, ()), (4, tuple(range(8)))],
    ids=["nobody says", "as many nodes as servers", "fewer", "nothing given", "whole servers"],
)
def test_servers_stay_whole(expected: int | None, mine: tuple[int, ...]) -> None:
    assert split(SERVERS, expected, mine, "t") is SERVERS


@pytest.mark.parametrize(("expected", "mine"), [(3, (0, 1, 2, 3)), (4, (0, 1, 2)), (4, (0, 1)), (16, (0, 1))])
def test_what_does_not_come_out_even_is_one_line(expected: int, mine: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError) as error:
        split(SERVERS, expected, mine, "/t.json")
    assert str(error.value) == (
        f"cannot find {expected} nodes in the rank table /t.json: its 2 servers with 8, 8 devices cannot be split into "
        f"{expected} nodes with {len(mine)} devices each, as this one has; "
        "give every pod as many devices, or correct the number of nodes"
    )


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_every_pod_makes_the_same_nodes_and_each_rank_is_in_one(servers: int, pods: int, size: int) -> None:
    ids = tuple(range(pods * size))
    whole = tuple(node(n, f"s{n}", ids) for n in range(servers))
    views = [split(whole, servers * pods, range(p * size, p * size + size), "t") for p in range(pods)]
    assert all(view == views[0] for view in views)
    assert [n.rank for n in views[0]] == list(range(servers * pods))
    assert sorted(d.rank for n in views[0] for d in n.devices) == list(range(servers * pods * size))
