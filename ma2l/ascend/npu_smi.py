"""Reads what ``npu-smi`` prints: the list, the map, the table of NPUs and of their processes.

An *NPU* is a card; it has one *chip*, on Atlas A3 two, and one process trains on each chip. Every parser accepts the
layouts of 910, 910B and A3, skips lines it does not know, and returns nothing for text that is something else.

Source: "npu-smi info" in the npu-smi command reference of Ascend; samples with origin in ``tests/data/ascend``.
"""

from __future__ import annotations

from collections.abc import Mapping

from ma2l.ascend import tool
from ma2l.records import dataclass, replace

_COLUMNS = ("NPU ID", "Slot ID", "Chip ID", "Chip Logic ID", "Chip Phy-ID", "Chip Name")


@dataclass(frozen=True)
class NpuCount:
    """One entry of ``npu-smi info -l``."""

    npu: int
    chips: int


@dataclass(frozen=True)
class Chip:
    """One chip that can train, as far as npu-smi describes it."""

    npu: int
    """NPU (card) id."""
    chip: int
    """Index of the chip on its NPU."""
    name: str
    """Such as ``910B2``."""
    logic_id: int | None = None
    """Index among the visible chips, as CANN counts them."""
    physical_id: int | None = None
    """Id as in ``/dev/davinci<id>``; ``None`` where it is not printed."""
    health: str = ""
    """``OK``, ``Warning``, ``Alarm``, ``Critical``, ``UNKNOWN``; empty if not printed."""
    bus_id: str = ""
    """PCIe address such as ``0000:C1:00.0``; empty if not printed."""


def parse_list(text: str) -> tuple[NpuCount, ...]:
    """Entries of ``npu-smi info -l`` (older versions say ``Card Count`` for the number of chips)."""
    found: list[NpuCount] = []
    npu: int | None = None
    for line in text.splitlines():
        name, _, value = (part.strip() for part in line.partition(":"))
        if not _is_number(value):
            continue
        if name == "NPU ID":
            npu = int(value)
        elif name in ("Chip Count", "Card Count") and npu is not None:
            found.append(NpuCount(npu, int(value)))
            npu = None
    return tuple(found)


def parse_mapping(text: str) -> tuple[Chip, ...]:
    """Chips in ``npu-smi info -m``; the management unit (``Mcu``, without a logical id) is left out."""
    columns: list[str] = []
    found: list[Chip] = []
    for line in text.splitlines():
        if "NPU ID" in line and "Chip ID" in line:
            columns = sorted((name for name in _COLUMNS if name in line), key=line.index)
            continue
        values = line.split(None, len(columns) - 1) if columns else []
        row = dict(zip(columns, values))
        ids = [row.get(name, "") for name in ("NPU ID", "Chip ID")]
        named = [row[name] for name in ("Chip Logic ID", "Chip Phy-ID") if name in row]
        if len(values) == len(columns) and all(map(_is_number, ids)) and any(map(_is_number, named)):
            name = row.get("Chip Name", "").strip()
            logic, physical = _number(row.get("Chip Logic ID", "")), _number(row.get("Chip Phy-ID", ""))
            found.append(Chip(int(ids[0]), int(ids[1]), name, logic, physical))
    return tuple(found)


def parse_info(text: str) -> tuple[Chip, ...]:
    """Chips in the table of ``npu-smi info``: a row for the NPU, then one (or more) for its chips."""
    found: list[Chip] = []
    has_physical = False
    card: tuple[int, str, str] | None = None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) < 3:
            continue
        words = cells[0].split()
        if words[:1] == ["NPU"] and cells[1].lower().startswith("process"):
            break  # rows of processes would look like rows of chips
        if words[:1] == ["Chip"]:
            has_physical = "Phy-ID" in words
        elif words and all(map(_is_number, words)) and card and (":" in cells[1] or len(words) == 1):
            physical = int(words[1]) if has_physical and len(words) > 1 else None
            npu, name, health = card
            found.append(Chip(npu, int(words[0]), name, None, physical, health, cells[1]))
        elif len(words) > 1 and _is_number(words[0]):
            card = (int(words[0]), " ".join(words[1:]), cells[1])
    return tuple(found)


def parse_processes(text: str) -> tuple[tuple[int, int, int, str], ...]:
    """Processes in the second table of ``npu-smi info``: NPU, chip, pid as the driver counts it, and name."""
    found: list[tuple[int, int, int, str]] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        place = cells[0].split()
        if len(cells) == 4 and len(place) == 2 and all(map(_is_number, (*place, cells[1]))):
            found.append((int(place[0]), int(place[1]), int(cells[1]), cells[2]))
    return tuple(found)


def processes(environ: Mapping[str, str]) -> tuple[tuple[int, int, str], ...]:
    """Ask npu-smi who uses which chip, in one call for all of them (``info -t proc-mem`` would take one for each).

    Returns:
        Physical id, pid and name; nothing where npu-smi is missing, fails or is stuck.
    """
    printed = tool.run("npu-smi", ("info",), environ)
    if printed.failure:
        return ()
    chips = _completed(parse_info(printed.text), ())
    id_of = {(chip.npu, chip.chip): chip.physical_id for chip in chips}
    used = [(id_of.get((npu, chip)), pid, name) for npu, chip, pid, name in parse_processes(printed.text)]
    return tuple((physical, pid, name) for physical, pid, name in used if physical is not None)


def query(environ: Mapping[str, str]) -> tuple[Chip, ...] | str:
    """Ask npu-smi for the chips of this container or host, in the order of its table.

    The physical id is the printed one; where none is printed and every NPU has one chip, it is the NPU id.

    Args:
        environ: environment for npu-smi; its ``PATH`` is searched.

    Returns:
        At least one chip, or the reason why there is none: not found, failed, stuck, or an unknown output.
    """
    printed = tool.run("npu-smi", ("info",), environ)
    if printed.failure:
        return printed.failure
    chips = parse_info(printed.text)
    if not chips:
        return f"npu-smi info lists no NPU: {tool.telling_line(printed.text)}"
    return _completed(chips, parse_mapping(tool.run("npu-smi", ("info", "-m"), environ).text))


def _completed(chips: tuple[Chip, ...], mapping: tuple[Chip, ...]) -> tuple[Chip, ...]:
    by_place = {(chip.npu, chip.chip): chip for chip in mapping}
    single = len({chip.npu for chip in chips}) == len(chips) and all(chip.chip == 0 for chip in chips)
    completed = []
    for chip in chips:
        mapped = by_place.get((chip.npu, chip.chip), chip)
        physical = chip.physical_id if chip.physical_id is not None else mapped.physical_id
        if physical is None and single:
            physical = chip.npu
        completed.append(replace(chip, logic_id=mapped.logic_id, physical_id=physical))
    return tuple(completed)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 9


def _number(text: str) -> int | None:
    return int(text) if _is_number(text) else None
