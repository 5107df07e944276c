"""Where CPUs and memory are: NUMA nodes and physical cores, as sysfs shows them.

Sources: ``Documentation/ABI/stable/sysfs-devices-node``, ``Documentation/ABI/stable/sysfs-devices-system-cpu`` and
``Documentation/ABI/testing/sysfs-bus-pci`` of the Linux kernel; proc(5) for ``Mems_allowed_list``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from ma2l.linux import cpulist


def nodes(sys: str = "/sys") -> dict[int, tuple[int, ...]]:
    """All CPUs of each NUMA node by its id, also those that this process may not use.

    Empty where sysfs does not show it, as in a kernel without NUMA. A node without CPUs (memory alone) has none.
    """
    base = f"{sys}/devices/system/node"
    try:
        names = os.listdir(base)
    except OSError:
        return {}
    ids = sorted(int(name[4:]) for name in names if name.startswith("node") and name[4:].isdecimal())
    return {node: _read_list(f"{base}/node{node}/cpulist") or () for node in ids}


def node_of_pci(bus_id: str, sys: str = "/sys") -> int | None:
    """The NUMA node beside a PCI device; ``None`` where neither firmware nor kernel knows it.

    Args:
        bus_id: address as tools print it, such as ``0000:C1:00.0``; sysfs has it in small letters.
    """
    text = _read(f"{sys}/bus/pci/devices/{bus_id.lower()}/numa_node")
    return int(text) if text is not None and text.isdecimal() else None  # -1 is "unknown"


def by_core(cpus: Iterable[int], sys: str = "/sys") -> tuple[int, ...]:
    """The CPUs ordered so that the hardware threads of one core are neighbours.

    Ids alone do not do it: x86 counts the first threads of all cores, then the second ones, and two ranks that were
    given the halves of such a list would run on the same cores.
    """
    return tuple(sorted(cpus, key=lambda cpu: (_core(cpu, sys), cpu)))


def memory_allowed(proc: str = "/proc") -> tuple[int, ...]:
    """NUMA nodes from which this process may take memory (cpuset); empty where the kernel does not say."""
    for line in (_read(f"{proc}/self/status") or "").splitlines():
        name, _, value = line.partition(":")
        if name == "Mems_allowed_list":
            return cpulist.parse(value)
    return ()


def _core(cpu: int, sys: str) -> int:
    threads = _read_list(f"{sys}/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    return threads[0] if threads else cpu


def _read_list(path: str) -> tuple[int, ...] | None:
    text = _read(path)
    return None if text is None else cpulist.parse(text)


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None
