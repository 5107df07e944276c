"""Puts a launcher into a place without being there, by environment, device files and rank table; asks for its plan."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from ma2l.linux.wait import Waiter, Wakeup
from ma2l.mock.layout import lay_out
from ma2l.mock.node import build
from ma2l.mock.shape import parse_shape
from ma2l.plan.make import make, needs_master_ip
from ma2l.plan.spec import Plan, Site, applied
from ma2l.platforms import topology
from ma2l.platforms.topology import Topology
from ma2l.settings import Settings

TRAIN = ("python", "train.py")


class NoWaiting(Waiter):
    """Leaves the signals of the test process alone, and fails a test that would block."""

    def __init__(self) -> None:
        self.inherited_mask = frozenset()

    def wait(self, fds: object = (), deadline: float | None = None) -> Wakeup:
        raise AssertionError("this test must not wait")


@contextmanager
def host(shown: tuple[int, ...] = (), device_ips: Mapping[int, str] | None = None) -> Iterator[None]:
    """A host with these NPU device files and this ``/etc/hccn.conf``, and without platform directories."""
    with ExitStack() as patches:
        patches.enter_context(patch("ma2l.ascend.devices.device_files", return_value=shown))
        patches.enter_context(patch("ma2l.ascend.host.device_files", return_value=shown))
        patches.enter_context(patch("ma2l.ascend.hccn.configured_ips", return_value=device_ips or {}))
        patches.enter_context(patch("ma2l.platforms.tables.MOUNTS", ()))
        yield


def mock_nodes(platform: str, shape: str, root: str, soc: str = "910b", **caller: str) -> list[dict[str, str]]:
    """The environments of all nodes of a mock job, its files laid out below ``root``."""
    job = build(parse_shape(shape), platform, soc, root, caller)
    lay_out(job, completed=True)
    return [applied(node.environ, caller) for node in job.nodes]


def find(environ: Mapping[str, str], shown: tuple[int, ...] = (), **options: Any) -> Topology:
    """The topology as seen there; ``options`` are fields of ``Settings``."""
    with host(shown):
        return topology.find(Settings(**options), environ, NoWaiting(), None)


def plan(
    environ: Mapping[str, str],
    command: tuple[str, ...] = TRAIN,
    shown: tuple[int, ...] = (),
    cpus: int = 16,
    **options: Any,
) -> Plan:
    """The plan that a launcher there makes; ports 20001 and 20002 are free."""
    settings = Settings(**options)
    found = find(environ, shown, **options)
    site = Site(
        environ=environ,
        program=f"/usr/bin/{command[0]}",
        run_id="RUN",
        run_dir="/tmp/ma2l-RUN",
        log_dir=settings.log_dir or found.platform.log_dir(environ) or "/logs",
        attempt=1,
        cpus=cpus,
        ports=(20001, 20002),
        master_ip=(found.master or "127.0.0.1") if needs_master_ip(settings, found, environ, command) else "",
    )
    return make(settings, found, command, site)


def server_list(*servers: dict[str, Any]) -> str:
    """A 1.0 table; each server is its fields, with ``devices`` a list of (device id, rank)."""
    listed = []
    for n, server in enumerate(servers):
        device = [
            {"device_id": str(i), "rank_id": str(rank), "device_ip": f"192.1.{n}.{i}"} for i, rank in server["devices"]
        ]
        listed.append({**{name: server[name] for name in server if name != "devices"}, "device": device})
    return json.dumps(
        {"status": "completed", "version": "1.0", "server_count": str(len(listed)), "server_list": listed}
    )
