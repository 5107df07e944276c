"""Whom an error accuses: HCCL and MindSpore often name the rank or device that is really at fault. Pure.

Source: CANN's fault diagnosis pages ``task_exec_stage``, ``param_link_stage`` and ``cluster_info_nego`` (in
``docs/zh/user_guide/fault_diagnosis`` of the hccl repository), and MindSpore's ``meta_server_node.cc``.
"""

from __future__ import annotations

import re

from ma2l.records import dataclass

_PLACE = rb"\[([^\[\]/\s]+)/(\d+)\]"
_FORMS = (
    # the most certain first: HCCL's own verdict over the whole cluster
    (
        "location",
        re.compile(rb"Cluster Exception Location\[IP/ID\]:" + _PLACE + rb".{0,300}?ExceptionType:\[([^\]]+)\]"),
    ),
    ("location", re.compile(rb"crimer rank " + _PLACE + rb" status\[([^\]]+)\]")),
    ("location", re.compile(rb"serverId\[([^\]]{1,300})\], deviceId\[(\d+)\], ([A-Z][\w ]+?)(?:,|\n|$)")),
    ("location", re.compile(rb"Peer information: server ([^,\s]+), device ID (\d+)(,)")),
    ("location", re.compile(rb"fails to connect to dstRank \(server ([^,\s]+), device ID (\d+)(\))")),
    ("location", re.compile(rb"srcRank\[[^\]]{0,300}\] connect destRank" + _PLACE + rb"( )")),
    ("location", re.compile(rb"remoteIpAddr" + _PLACE + rb"(,)")),
    ("ranks", re.compile(rb"Failed to connect agent\[([\d,]+)\]")),
    ("ranks", re.compile(rb"Notify record from remote rank \[(\d+)\]")),
    ("ranks", re.compile(rb"Waiting peer rank: \[?(\d+)\]?;")),
    ("nodes", re.compile(rb"Timed out node list is: (?:\[const vector\])?[\[{]([\w, -]+)[\]}]")),
)


@dataclass(frozen=True)
class Culprit:
    """Who is accused."""

    server: str = ""
    """Address of the server, as the rank table names it; empty where only ranks are named."""
    device: str = ""
    """Physical id of the device on that server."""
    ranks: tuple[int, ...] = ()
    """Global ranks, empty where none is named."""
    reason: str = ""
    """In the words of the accuser, may be empty."""

    def __str__(self) -> str:
        place = f"server {self.server}, device {self.device}" if self.server else ""
        several = "s" if len(self.ranks) > 1 else ""
        ranks = f"rank{several} {', '.join(map(str, self.ranks))}" if self.ranks else ""
        who = f"{ranks} ({place})" if place and ranks else place or ranks
        return f"{who}: {self.reason}" if self.reason else who


def accused(log: bytes) -> Culprit | None:
    """The one named most certainly, or ``None``."""
    for form, pattern in _FORMS:
        match = pattern.search(log)
        if match is None:
            continue
        if form == "location":
            server, device, reason = (group.decode(errors="replace") for group in match.groups())
            return Culprit(server.partition("%")[0], device, (), reason if len(reason) > 1 else "")
        numbers = tuple(int(word) for word in re.findall(rb"\d+", match[1]) if len(word) < 10)[:16]
        if not numbers:  # nodes may have names instead
            continue
        return Culprit(ranks=numbers, reason="no heartbeat" if form == "nodes" else "")
    return None
