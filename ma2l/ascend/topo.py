"""Which CPUs are beside each NPU: ``npu-smi info -t topo``, else the NUMA node of its PCIe device in sysfs.

910 and 910B print the column ``CPU Affinity`` and call a row ``NPU<id>``; Atlas A3 has no such column and calls a row
``Phy-ID<id>``. Both numbers are physical ids. Samples with origin in ``tests/data/ascend``.
"""

from __future__ import annotations

from collections.abc import Mapping

from ma2l.ascend import npu_smi, tool
from ma2l.ascend.devices import device_files
from ma2l.linux import cpulist, numa
from ma2l.records import dataclass

_ROWS = ("NPU", "Phy-ID")


@dataclass(frozen=True)
class Affinity:
    """What is known of the places of this host's NPUs."""

    near: Mapping[int, tuple[int, ...]]
    """CPUs beside each NPU by physical id, ascending; absent where unknown."""
    devices: tuple[int, ...]
    """Physical ids of all NPUs seen here, whoever uses them; empty when none are seen."""
    how: str
    """Where ``near`` comes from, or why it is empty."""


def parse(text: str) -> dict[int, tuple[int, ...]]:
    """The rows of ``npu-smi info -t topo``: CPUs by physical id, none where the table has no affinity or a row no list.

    A row is its name, a word per NPU (``X``, ``HCCS``, ``SIO``, ...) and perhaps a list of CPUs. The heading is told
    from a row by its second word, which names another NPU.
    """
    found: dict[int, tuple[int, ...]] = {}
    for line in text.splitlines():
        first, *words = line.split() or [""]
        device_id = _row_id(first)
        if device_id is not None and words and _row_id(words[0]) is None:
            found[device_id] = _cpus(words[-1])
    return found


def find(environ: Mapping[str, str], *, dev: str = "/dev", sys: str = "/sys") -> Affinity:
    """Ask npu-smi, then sysfs.

    Args:
        environ: environment for npu-smi; its ``PATH`` is searched.
    """
    printed = tool.run("npu-smi", ("info", "-t", "topo"), environ)
    rows = {} if printed.failure else parse(printed.text)
    devices = {*device_files(dev), *rows}
    near = {device_id: cpus for device_id, cpus in rows.items() if cpus}
    if near:
        return Affinity(near, tuple(sorted(devices)), "npu-smi info -t topo")
    chips = npu_smi.query(environ) if printed.ran else printed.failure
    if isinstance(chips, str):
        return Affinity({}, tuple(sorted(devices)), chips)
    by_id = {chip.physical_id: chip.bus_id for chip in chips if chip.physical_id is not None}
    nodes = numa.nodes(sys)
    for device_id, bus_id in by_id.items():
        node = numa.node_of_pci(bus_id, sys) if bus_id else None
        if node is not None and nodes.get(node):
            near[device_id] = nodes[node]
    how = f"{sys}/bus/pci" if near else f"neither npu-smi nor {sys}/bus/pci tells where the NPUs are"
    return Affinity(near, tuple(sorted({*devices, *by_id})), how)


def _row_id(word: str) -> int | None:
    for name in _ROWS:
        number = word[len(name) :]
        if word.startswith(name) and number.isascii() and number.isdecimal() and len(number) <= 6:
            return int(number)
    return None


def _cpus(word: str) -> tuple[int, ...]:
    try:
        return cpulist.parse(word)
    except ValueError:  # the last word is a kind of link: this table has no affinity
        return ()
