"""How large the mock job is: ``[NODESx]DEVICES``, and the default for this machine."""

from __future__ import annotations

from ma2l.errors import UsageError
from ma2l.records import dataclass

MAX_NODES = 127  # node i is 127.0.0.<i+1>, and a mock job larger than this fits on no laptop anyway
MAX_DEVICES = 512  # more than any server has; enough for load tests with hundreds of workers on one node
DEFAULT_DEVICES = 8  # one Atlas 800 server
KIB_PER_RANK = 1024 * 1024  # a training process with its framework loaded wants about 1 GiB


@dataclass(frozen=True)
class Shape:
    """Nodes (one launcher each) and NPUs per node of a mock job."""

    nodes: int
    devices: int


def parse_shape(text: str) -> Shape:
    """Read ``8`` (one node), ``2x4`` or ``2X4`` (two nodes of four NPUs).

    Raises:
        UsageError: the text has another form, or a number is outside 1..127 nodes or 1..512 devices.
    """
    nodes_text, cross, devices_text = text.lower().rpartition("x")
    if cross and not (nodes_text and devices_text):
        nodes_text = devices_text = text
    nodes = _number(text, nodes_text, "nodes", MAX_NODES) if cross else 1
    return Shape(nodes, _number(text, devices_text, "devices", MAX_DEVICES))


def _number(shape: str, text: str, what: str, most: int) -> int:
    # At most six digits: int() itself refuses thousands of them with an error of its own.
    value = int(text) if text.isascii() and text.isdecimal() and len(text) <= 6 else -1
    if 1 <= value <= most:
        return value
    why = f"{text!r} is not a number of {what} between 1 and {most}"
    raise UsageError(f"use the mock shape {shape!r}", why, "write [NODESx]DEVICES, such as 8 or 2x4")


def default_devices(meminfo: str) -> int:
    """Devices for a mock nobody sized: 8, fewer where memory is small (1 GiB of available memory each), at least 1.

    Args:
        meminfo: the text of ``/proc/meminfo`` (proc(5)); without a ``MemAvailable`` line in kB the answer is 8.
    """
    for line in meminfo.splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "MemAvailable:" and words[1].isdecimal() and words[2] == "kB":
            return max(1, min(DEFAULT_DEVICES, int(words[1]) // KIB_PER_RANK))
    return DEFAULT_DEVICES
