"""Addresses of the NPUs' own network ports: from ``/etc/hccn.conf``, else from ``hccn_tool``.

Source: "HCCN Tool interface reference" of Ascend; the same order of sources as ``utils/hccl_tools`` in
mindspore-ai/models, the other way round: the file is free to read, the tool often needs root.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ma2l.ascend import tool

HCCN_CONF = "/etc/hccn.conf"


def parse_conf(text: str) -> dict[int, str]:
    """``address_<physical id>=<ip>`` lines; other lines and empty addresses are skipped, the last of a kind counts."""
    addresses: dict[int, str] = {}
    for line in text.splitlines():
        name, _, value = (part.strip() for part in line.partition("="))
        number = name[len("address_") :] if name.startswith("address_") else ""
        if number.isascii() and number.isdecimal() and len(number) <= 6 and value:
            addresses[int(number)] = value
    return addresses


def parse_tool(text: str) -> str:
    """The address in what ``hccn_tool -i N -ip -g`` prints (``ipaddr:192.1.45.172``); empty where there is none."""
    for line in text.splitlines():
        name, _, value = line.strip().partition(":")
        words = value.split()
        if name == "ipaddr" and words:
            return words[0]
    return ""


def device_ips(ids: Iterable[int], environ: Mapping[str, str], hccn_conf: str = HCCN_CONF) -> dict[int, str]:
    """Addresses by physical id; an id whose address nobody tells is absent.

    Args:
        ids: physical ids.
        environ: environment for hccn_tool; its ``PATH`` is searched.
    """
    known = parse_conf(_read(hccn_conf))
    found: dict[int, str] = {}
    usable = True
    for device_id in ids:
        ip = known.get(device_id, "")
        if not ip and usable:
            printed = tool.run("hccn_tool", ("-i", str(device_id), "-ip", "-g"), environ)
            ip = parse_tool(printed.text)
            usable = printed.ran  # a missing or stuck tool is the same for the next device
        if ip:
            found[device_id] = ip
    return found


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:  # often absent in containers, or readable by root only
        return ""


def configured_ips(hccn_conf: str = HCCN_CONF) -> dict[int, str]:
    """Addresses by physical id in the configuration file alone; empty where there is no file. Runs no tool."""
    return parse_conf(_read(hccn_conf))
