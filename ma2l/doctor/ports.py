"""Ports that HCCL, torch and MindSpore listen on.

Source: HCCL user guide: ``HCCL_IF_BASE_PORT`` (default 60000) and the 31 ports after it on the host, 16666 on the NPU,
which nobody but HCCL can ask.
"""

from __future__ import annotations

from ma2l.doctor.finding import Finding, fail, ok, unknown, warn
from ma2l.doctor.scene import Scene
from ma2l.errors import Ma2lError
from ma2l.linux import cpulist, net
from ma2l.plan import dynamic_cluster, torch

BASE, COUNT = 60000, 32


def hccl(scene: Scene) -> Finding:
    """The range on the host is free, and nobody gets a port of it by chance."""
    text = scene.environ.get("HCCL_IF_BASE_PORT") or str(BASE)
    if not (text.isascii() and text.isdecimal() and 1024 <= int(text) <= 65520):
        return fail(f"HCCL_IF_BASE_PORT={text} is no port from 1024 to 65520", "correct or unset it")
    ports = range(int(text), min(int(text) + COUNT, 65536))
    taken = [port for port in ports if not net.is_free(port)]
    if taken:
        return warn(
            f"port {cpulist.text(taken)} of HCCL's {ports[0]}-{ports[-1]} is taken",
            "set HCCL_IF_BASE_PORT on all nodes",
        )
    low, high = (int(word) for word in (scene.read("/proc/sys/net/ipv4/ip_local_port_range").split() or ("0", "0"))[:2])
    reserved = scene.read("/proc/sys/net/ipv4/ip_local_reserved_ports").strip()
    try:
        kept = set(cpulist.parse(reserved))
    except ValueError:
        kept = set()
    if low <= ports[-1] and ports[0] <= high and not kept.issuperset(ports):
        fix = f"sysctl -w net.ipv4.ip_local_reserved_ports={ports[0]}-{ports[-1]}"
        return warn(f"{ports[0]}-{ports[-1]} are free, but the kernel gives them to anybody ({low}-{high})", fix)
    return ok(f"{ports[0]}-{ports[-1]} are free")


def npu(scene: Scene) -> Finding:
    """Port 16666 on the NPUs: taken only by a process that has them open."""
    if not scene.npus:
        return unknown("there is no NPU")
    if scene.holders:
        return warn("another process uses these NPUs, and may use the port", "end it first")
    return ok("nobody uses these NPUs")


def meeting(scene: Scene) -> Finding:
    """Where ranks of several nodes meet, on node 0."""
    found = scene.topology
    if isinstance(found, Ma2lError):
        return unknown("the nodes of the job are not known")
    if len(found.cluster.nodes) == 1:
        return ok("one node alone takes free ports")
    if found.cluster.node_rank != 0:
        return ok("they are node 0's")
    settings, environ = scene.settings, scene.environ
    name, usual = (
        ("MS_SCHED_PORT", dynamic_cluster.DEFAULT_PORT) if scene.of_mindspore else ("MASTER_PORT", torch.DEFAULT_PORT)
    )
    text = environ.get(name) or str(usual)
    port = settings.master_port or (int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0)
    if not 0 < port < 65536:
        return fail(f"{name}={text} is no port", "correct or unset it")
    if net.is_free(port):
        return ok(f"port {port} is free")
    return fail(f"port {port} is taken", "end what listens there, or pass --master-port on all nodes")
