"""What ``npu-smi`` and ``hccn_tool`` print on the servers of a mock job, and the scripts that print it.

The formats are the real ones (samples with origin in ``tests/data/ascend``); only the version says ``mock``. Names in
``info`` are those of real chips, because tools parse them. No process is ever listed.
"""

from __future__ import annotations

from collections.abc import Sequence

from ma2l.mock.server import bus_id, device_ip

_VERSION = "mock-25.2.0"
_SOLID = "+" + "-" * 96 + "+"
_CELLS = "+" + "-" * 27 + "+" + "-" * 15 + "+" + "-" * 52 + "+"
_DOUBLE = _CELLS.replace("-", "=")
# per SoC: name in the table, name in the map, memory of the host side, HBM of the chip, power in watts
_CHIPS = {
    "910": ("910A", "Ascend 910A", "2280 / 15039", "0    / 32768", "68.2"),
    "910b": ("910B2", "Ascend 910B2", "0    / 0", "3445 / 65536", "96.4"),
    "a3": ("Ascend910", "Ascend910", "0    / 0", "3143 / 65536", "165.3"),
}

_LEGEND = """
Legend:

  X    = Self
  SYS  = Path traversing PCIe and NUMA nodes. Nodes are connected through SMP, such as QPI, UPI.
  PHB  = Path traversing PCIe and the PCIe host bridge of a CPU.
  PIX  = Path traversing a single PCIe switch
"""
_HCCS_ONLY = """\
  PXB  = Path traversing multiple PCIe switches
  HCCS = Connection traversing HCCS.
"""
_HCCS_AND_SIO = """\
  PXB  = Path traversing multipul PCIe switches
  HCCS = Connection traversing HCCS.
  SIO  = Path traversing the SIO bus
  HCCS_SW = Connection traversing HCCS through a switch
"""
_UNKNOWN = "  NA   = Unknown relationship.\n"

NPU_SMI = """\
#!/bin/sh
# npu-smi of a mock-Ascend node. There is no NPU here: it prints the files that ma2l --mock wrote.
data=${0%/*}/../npu
case "$*" in
    info) exec cat "$data/info" ;;
    'info -m') exec cat "$data/map" ;;
    'info -l') exec cat "$data/list" ;;
    'info -t topo') exec cat "$data/topo" ;;
    'info -t board -i '*[!0-9]* | 'info -t board -i ') ;;
    'info -t board -i '*)
        board=$(sed -n "/NPU ID  *: $5\\$/,/^\\$/p" "$data/board")
        if [ -n "$board" ]; then
            printf '%s\\n' "$board"
            exit 0
        fi
        ;;
esac
printf 'npu-smi (mock): cannot print this: %s\\n' "$*" >&2
exit 1
"""

HCCN_TOOL = """\
#!/bin/sh
# hccn_tool of a mock-Ascend node. There is no NPU here: it prints addresses that ma2l --mock wrote.
if [ "$#" -eq 4 ] && [ "$1 $3 $4" = '-i -ip -g' ]; then
    while IFS='=' read -r key value; do
        if [ "$key" = "address_$2" ]; then
            printf 'ipaddr:%s\\nnetmask:255.255.0.0\\n' "$value"
            exit 0
        fi
    done <"${0%/*}/../npu/hccn.conf"
fi
printf 'hccn_tool (mock): cannot print this: %s\\n' "$*" >&2
exit 1
"""


def npu_and_chip(device_id: int, soc: str) -> tuple[int, int]:
    """NPU (card) and chip of a physical id: on A3 an NPU has two chips, elsewhere one."""
    return divmod(device_id, 2) if soc == "a3" else (device_id, 0)


def info(ids: Sequence[int], soc: str) -> str:
    """``npu-smi info``: the table of NPUs with the given physical ids, ascending, and an empty process table."""
    chip_title = "Chip  Phy-ID" if soc == "a3" else "Chip"
    lines = [
        _SOLID,
        f"| npu-smi {_VERSION:<24} Version: {_VERSION:<53}|",
        _CELLS,
        _row("NPU   Name", "Health", "Power(W)    Temp(C)           Hugepages-Usage(page)"),
        _row(chip_title, "Bus-Id", "AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)"),
        _DOUBLE,
    ]
    for position, device_id in enumerate(ids):
        npu, chip = npu_and_chip(device_id, soc)
        if position and npu_and_chip(ids[position - 1], soc)[0] == npu:
            lines[-1] = _SOLID  # two chips of one NPU are parted by a thin line
        lines += _chip_rows(npu, chip, device_id, soc) + [_DOUBLE]
    lines += [
        _CELLS,
        "| NPU     Chip              | Process id    | Process name             | Process memory(MB)      |",
    ]
    lines.append(_DOUBLE)
    for npu in _by_npu(ids, soc):
        lines += [f"| {f'No running processes found in NPU {npu}':<95}|", _DOUBLE]
    return "\n".join(lines) + "\n"


def mapping(ids: Sequence[int], soc: str) -> str:
    """``npu-smi info -m``: NPU, chip and logical id (index among the visible); A3 adds the physical id."""
    physical = soc == "a3"
    titles = ["NPU ID", "Chip ID", "Chip Logic ID"] + ["Chip Phy-ID"] * physical
    lines = ["\t" + "".join(f"{title:<31}" for title in titles) + f"{'Chip Name':<30}"]
    logic_ids = {device_id: index for index, device_id in enumerate(ids)}
    for npu, chips in _by_npu(ids, soc).items():
        for device_id in chips:
            numbers = [npu, npu_and_chip(device_id, soc)[1], logic_ids[device_id]] + [device_id] * physical
            lines.append("\t" + "".join(f"{number:<31}" for number in numbers) + _CHIPS[soc][1])
        mcu = 2 if physical else 1  # the management unit has the chip id after the last possible chip
        lines.append(f"\t{npu:<31}{mcu:<31}" + f"{'-':<31}" * (len(titles) - 2) + f"{'Mcu':<30}")
    return "\n".join(lines) + "\n"


def listing(ids: Sequence[int], soc: str) -> str:
    """``npu-smi info -l``: how many NPUs, and how many chips each has."""
    npus = _by_npu(ids, soc)
    blocks = [f"\t{'NPU ID':<31}: {npu}\n\t{'Chip Count':<31}: {len(chips)}\n" for npu, chips in npus.items()]
    return "\n".join([f"\t{'Total Count':<31}: {len(npus)}\n", *blocks])


def boards(ids: Sequence[int], soc: str) -> str:
    """``npu-smi info -t board -i N`` for every NPU, one after the other, each followed by an empty line."""
    text = ""
    for npu, chips in _by_npu(ids, soc).items():
        fields = {
            "NPU ID": npu,
            "Product Name": "mock",
            "Model": "NA",
            "Manufacturer": "mock",
            "Serial Number": f"mock{npu:08d}",
            "Software Version": _VERSION,
            "Firmware Version": "mock-7.8.0",
            "Compatibility": "OK",
            "Board ID": "0x60",
            "PCB ID": "A",
            "BOM ID": "1",
            "PCIe Bus Info": bus_id(chips[0], soc),
            "Slot ID": npu,
            "Class ID": "NA",
            "PCI Vendor ID": "0x19E5",
            "PCI Device ID": "0xD802",
            "Subsystem Vendor ID": "0x19E5",
            "Subsystem Device ID": "0x3003",
            "Chip Count": len(chips),
        }
        text += "".join(f"\t{name:<31}: {value}\n" for name, value in fields.items()) + "\n"
    return text


def topo(ids: Sequence[int], soc: str) -> str:
    """``npu-smi info -t topo``: how NPUs are linked and, except on A3, the CPUs beside each.

    The server has 192 CPUs in 8 NUMA nodes, two NPUs on every other node, as seen on a real one; its CPU ids may exceed
    those of the machine that the mock runs on.
    """
    name = "Phy-ID" if soc == "a3" else "NPU"
    titles = [f"{name}{device_id}" for device_id in ids]
    if soc == "a3":
        lines = [f"{'':<11}" + "".join(f"{title:<11}" for title in titles).rstrip()]
    else:
        lines = ["\t   " + "".join(f"{title:<11}" for title in titles) + "CPU Affinity"]
    for device_id, title in zip(ids, titles):
        links = "".join(f"{_link(device_id, other, soc):<11}" for other in ids)
        lines.append((f"{title:<11}{links}" + ("" if soc == "a3" else cpus_beside(device_id))).rstrip())
    return "\n".join(lines) + "\n" + _LEGEND + (_HCCS_AND_SIO if soc == "a3" else _HCCS_ONLY) + _UNKNOWN


def cpus_beside(device_id: int) -> str:
    """The CPUs of the NUMA node beside an NPU of the imagined server."""
    first = (144, 96, 0, 48)[device_id // 2 % 4]
    return f"{first}-{first + 23}"


def hccn_conf(node: int, ids: Sequence[int]) -> str:
    """``/etc/hccn.conf`` of a server: address and mask of each NPU's own port."""
    return "".join(f"address_{i}={device_ip(node, i)}\nnetmask_{i}=255.255.0.0\n" for i in ids)


def _by_npu(ids: Sequence[int], soc: str) -> dict[int, list[int]]:
    npus: dict[int, list[int]] = {}
    for device_id in ids:
        npus.setdefault(npu_and_chip(device_id, soc)[0], []).append(device_id)
    return npus


def _link(device_id: int, other: int, soc: str) -> str:
    if device_id == other:
        return "X"
    if soc == "a3":
        return "SIO" if device_id // 2 == other // 2 else "HCCS_SW"
    return "SYS" if soc == "910" and device_id // 4 != other // 4 else "HCCS"  # two rings of four on 910


def _row(first: str, second: str, third: str) -> str:
    return f"| {first:<26}| {second:<14}| {third:<51}|"


def _chip_rows(npu: int, chip: int, device_id: int, soc: str) -> list[str]:
    name, _, memory, hbm, power = _CHIPS[soc]
    shown_power = power if chip == 0 else "-"  # power is measured per NPU
    second = f"{chip:<6}{device_id}" if soc == "a3" else str(chip)
    return [
        _row(f"{npu:<6}{name}", "OK", f"{shown_power:<12}{'38':<18}0    / 0"),
        _row(second, bus_id(device_id, soc), f"{'0':<12}{memory:<18}{hbm}"),
    ]
