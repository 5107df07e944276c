"""Which NPUs this container was given: device files and the variables about visible devices.

Two kinds of ids meet here. *Physical* ids name a chip of the server (``/dev/davinci<id>``); *logical* ids count the
chips that the driver shows to this container, from 0, in the order of their physical ids.

Sources: "Using Ascend Docker Runtime" of MindCluster for ``ASCEND_VISIBLE_DEVICES``; the CANN reference of environment
variables for ``ASCEND_RT_VISIBLE_DEVICES``; the environment of a real ModelArts job (FaceBoxes_ID1074 in
Ascend/ModelZoo-TensorFlow) for ``NPU-VISIBLE-DEVICES``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from ma2l.errors import ConfigError

_GRANTS = ("ASCEND_VISIBLE_DEVICES", "NPU_VISIBLE_DEVICES", "NPU-VISIBLE-DEVICES")
_NO_STATEMENT = ("", "void", "all")
_MAX_ID = 1023  # far above any server; keeps 0-999999999 from filling the memory


def device_files(dev: str = "/dev") -> tuple[int, ...]:
    """Physical ids of the NPU device files ``davinci<id>``, ascending; empty where there are none or no ``dev``."""
    try:
        names = os.listdir(dev)
    except OSError:
        return ()
    numbers = (name[len("davinci") :] for name in names if name.startswith("davinci"))
    return tuple(sorted(int(number) for number in numbers if _is_id(number)))


def present(ids: Iterable[int]) -> tuple[int, ...]:
    """Those of these physical ids whose device file is here."""
    shown = device_files()
    return tuple(i for i in ids if i in shown)


def visible_devices(environ: Mapping[str, str]) -> tuple[int, ...] | None:
    """Physical ids that the container runtime or the platform granted, ascending, each once.

    The first of ``ASCEND_VISIBLE_DEVICES``, ``NPU_VISIBLE_DEVICES`` and ``NPU-VISIBLE-DEVICES`` that says something
    counts. Items are ids, ranges such as ``4-6``, or names such as ``Ascend910-4`` and ``npu-4``, in any order. An
    empty value and ``void`` mean that the runtime mounted nothing, not that nothing is there (devices may have been
    passed in another way), so they say nothing, like ``all``.

    Returns:
        The ids, or ``None`` where no variable says anything.

    Raises:
        ConfigError: an item has another form.
    """
    for name in _GRANTS:
        value = environ.get(name, "").strip()
        if value.lower() in _NO_STATEMENT:
            continue
        found: set[int] = set()
        for item in value.split(","):
            found.update(_granted(name, value, item))
        return tuple(sorted(found))
    return None


def rt_visible_devices(environ: Mapping[str, str]) -> tuple[int, ...] | None:
    """Logical ids in ``ASCEND_RT_VISIBLE_DEVICES``, or ``None`` where it is unset.

    CANN wants ascending ids with commas and nothing else, and silently stops at the first item it does not like
    (``1, 2,3`` leaves only device 1). Here such an item is an error. Ranges (``0-3``) are understood as well; CANN
    does not know them, so a worker must get the list written out. The caller checks the ids against the number of
    devices. An empty value is an error too: it names no device, and CANN does not define what it means.

    Raises:
        ConfigError: an item is no id or range, repeats, or is out of order; or the value is empty.
    """
    name = "ASCEND_RT_VISIBLE_DEVICES"
    value = environ.get(name)
    if value is None:
        return None
    ids: list[int] = []
    for item in value.split(","):
        more = _range(item)
        if not more:
            why = f"{item!r} is no device id or range" if value else "it is empty and names no device"
            raise _bad(name, value, why, "write ascending logical ids such as 0,1,4-6 without blanks, or unset it")
        if ids and more[0] <= ids[-1]:
            raise _bad(name, value, f"{item!r} is not above {ids[-1]}", "write the ids in ascending order, each once")
        ids += more
    return tuple(ids)


def _granted(name: str, value: str, item: str) -> range:
    text = item.strip()
    kind, dash, number = text.partition("-")
    if dash and not kind[:1].isdecimal() and kind.strip():  # Ascend910-4, npu-4
        text = number
    # Docker Runtime trims the ends of a range, too.
    ids = _range("-".join(part.strip() for part in text.split("-")))
    if not ids:
        raise _bad(name, value, f"{item!r} is no device id or range", "write physical ids such as 0,2,4-6")
    return ids


def _range(text: str) -> range:
    """``4`` or ``4-6`` as a range of ids; an empty range for anything else."""
    first, dash, last = text.partition("-")
    if not dash:
        last = first
    if not (_is_id(first) and _is_id(last)):
        return range(0)
    return range(int(first), int(last) + 1)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 6 and int(text) <= _MAX_ID


def _bad(name: str, value: str, why: str, do: str) -> ConfigError:
    return ConfigError(f"use {name}={value!r}", why, do)
