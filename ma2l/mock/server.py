"""The servers a mock job pretends to run on: physical ids, addresses, bus ids.

Values are as awkward as real ones: a job with part of a server gets its *last* NPUs, so that physical ids and logical
indices differ, and the server's own address is not the address of the container.
"""

from __future__ import annotations

SOCS = ("910", "910b", "a3")

_SERVER_SIZE = {"910": 8, "910b": 8, "a3": 16}

# Seen on real servers of each kind; the order is not ascending.
_BUSES = {
    "910": ["C1", "81", "41", "01", "C2", "82", "42", "02"],
    "910b": ["C1", "C2", "81", "82", "01", "02", "41", "42"],
    "a3": ["9D", "9F", "99", "9B", "95", "97", "91", "93", "8D", "8F", "89", "8B", "85", "87", "81", "83"],
}


def physical_ids(devices: int, soc: str) -> tuple[int, ...]:
    """The ids as in ``/dev/davinci<id>``, ascending: the top of a server of 8 (A3: 16), or 0.. where that is full.

    Four devices are 4..7 on 910 and 910B, and 12..15 (two NPUs of two dies) on A3.
    """
    first = max(0, _SERVER_SIZE[soc] - devices)
    return tuple(range(first, first + devices))


def bus_id(device_id: int, soc: str) -> str:
    """PCIe address of one chip, such as ``0000:C1:00.0``; ids beyond a real server move to another PCI domain."""
    buses = _BUSES[soc]
    return f"{device_id // len(buses):04X}:{buses[device_id % len(buses)]}:00.0"


def node_ip(node: int) -> str:
    """Address of the container, 127.0.0.<node+1>: the one address on which its peers really answer."""
    return f"127.0.0.{node + 1}"


def host_ip(node: int) -> str:
    """Address of the machine below the container. From TEST-NET-2 (RFC 5737), so nobody takes it for a real one."""
    return f"198.51.100.{node + 1}"


def device_ip(node: int, device_id: int) -> str:
    """Address of an NPU's own port. Four networks in turn, 192.1 to 192.4, as on ModelArts; unique in the job."""
    return f"192.{device_id % 4 + 1}.{node + 1}.{device_id // 4 + 1}"


def unsorted(ids: tuple[int, ...]) -> tuple[int, ...]:
    """The same ids neither ascending nor descending (for two: descending), as rank tables list them."""
    return ids[1::2][::-1] + ids[::2]
