"""The kernel's notation for sets of CPUs and NUMA nodes: ``0-3,8``.

Source: "List format" in cpuset(7); sysfs, ``/proc/self/status`` and ``npu-smi info -t topo`` print it.
"""

from __future__ import annotations

from collections.abc import Iterable

_MAX_ID = 65535  # far above any kernel's limit (8192); keeps 0-999999999 from filling the memory


def parse(text: str) -> tuple[int, ...]:
    """The ids in ``0-3,8``, ascending, each once; none in an empty text (a NUMA node may have no CPU).

    Raises:
        ValueError: it is no such list.
    """
    ids: set[int] = set()
    for item in text.strip().split(",") if text.strip() else ():
        first, dash, last = (part.strip() for part in item.partition("-"))
        low, high = _id(first), _id(last if dash else first)
        if low > high:
            raise ValueError(f"{item.strip()} counts down")
        ids.update(range(low, high + 1))
    return tuple(sorted(ids))


def text(ids: Iterable[int]) -> str:
    """The shortest list: ``0-3,8``."""
    runs: list[tuple[int, int]] = []
    for number in sorted(set(ids)):
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _id(part: str) -> int:
    if not (part.isascii() and part.isdecimal() and len(part) <= 6 and int(part) <= _MAX_ID):
        raise ValueError(f"{part!r} is no id")
    return int(part)
