"""What the values of msrun's ``--bind_core`` and ``--bind_numa`` ask for.

Source: ``run.py`` and ``process_entity/_bind.py`` of ``mindspore/parallel/cluster`` in MindSpore 2.10. A value is
``True``, ``False``, a map such as ``{"device0": ["0-3", "8"], "scheduler": ["4"]}``, or for ``--bind_numa`` the path
of a JSON file whose ``bind_config`` has ``bind_cpu_mode`` (``cpu``, ``numa``, ``none``) and ``bind_memory_mode``
(``numa``, ``none``); its ``bind_cpu`` and ``bind_memory`` then hold CPUs (under ``main``) or NUMA nodes by device.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ma2l.errors import ConfigError, Ma2lError, UsageError
from ma2l.linux import cpulist
from ma2l.records import dataclass, field

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import Any

SCHEDULER = "scheduler"
Places = Mapping[str, "tuple[int, ...]"]
"""CPUs or NUMA nodes by device id in decimal, or ``scheduler``."""


@dataclass(frozen=True)
class Wish:
    """What one of the two options asks for; by default nothing."""

    automatic: bool = False
    cpus: Places = field(default_factory=dict)
    nodes: Places = field(default_factory=dict)
    """NUMA nodes whose CPUs are meant."""
    memory: Places = field(default_factory=dict)
    """NUMA nodes that memory must come from."""
    alone: bool = False
    """Whether it has ``bind_config``, which leaves the other option without effect."""
    env: Mapping[str, str] = field(default_factory=dict)
    """By these ``mindspore.runtime.set_cpu_affinity`` knows the file, and that it has not changed."""

    def __bool__(self) -> bool:
        return bool(self.automatic or self.cpus or self.nodes or self.memory or self.alone)


def parse_core(text: str) -> Wish:
    """The value of ``--bind_core``.

    Raises:
        UsageError: it is nothing of that kind.
    """
    if text.lower() in ("true", "false"):
        return Wish(automatic=text.lower() == "true")
    attempt = f"use --bind_core={text}"
    content = _json(text, attempt, "write True, False or a JSON map of devices to CPUs")
    if "bind_config" in content:
        raise UsageError(attempt, "bind_config belongs to the other option", "pass it as --bind_numa")
    return Wish(cpus=_places(content, attempt, UsageError))


def parse_numa(text: str) -> Wish:
    """The value of ``--bind_numa``; a file is read.

    Raises:
        UsageError: it is nothing of that kind, or there is no such file.
        ConfigError: the file is wrong.
    """
    if text.lower() in ("true", "false"):
        return Wish(automatic=text.lower() == "true")
    if not text.lstrip().startswith("{"):
        return _file(text)
    attempt = f"use --bind_numa={text}"
    content = _json(text, attempt, "write True, False, a JSON map of devices to nodes, or a file")
    return _wish(content, attempt, UsageError)


def _file(path: str) -> Wish:
    import hashlib

    from ma2l.records import replace

    attempt = f"use --bind_numa={path}"
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        why = f"it is neither True, False nor JSON, and as a file: {error.strerror}"
        raise UsageError(attempt, why, "check the value") from None
    except UnicodeDecodeError:
        raise ConfigError(attempt, "the file is not UTF-8", "write JSON") from None
    attempt = f"read the binding file {path}"
    wish = _wish(_json(text, attempt, "correct the file", ConfigError), attempt, ConfigError)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return replace(wish, env={"MSRUN_BIND_FILE": os.path.abspath(path), "MSRUN_BIND_FILE_HASH": sha256})


def _json(text: str, attempt: str, do: str, mistake: type[Ma2lError] = UsageError) -> dict[str, Any]:
    import json

    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise mistake(attempt, "it is no JSON", do) from None
    if not isinstance(content, dict):
        raise mistake(attempt, "it is no JSON object", do)
    return content


def _wish(content: Mapping[str, Any], attempt: str, mistake: type[Ma2lError]) -> Wish:
    if "bind_config" not in content:
        nodes = _places(content, attempt, mistake)
        return Wish(nodes=nodes, memory=nodes)
    for part in ("bind_config", "bind_cpu", "bind_memory"):
        if not isinstance(content.get(part, {}), dict):
            raise mistake(attempt, f"{part} is no JSON object", "write {...}")
    cpu_mode = _mode(content, "bind_cpu_mode", ("cpu", "numa", "none"), attempt, mistake)
    memory_mode = _mode(content, "bind_memory_mode", ("numa", "none"), attempt, mistake)
    cpus, memory = content.get("bind_cpu", {}), content.get("bind_memory", {})
    return Wish(
        cpus=_places(_main(cpus, attempt, mistake), attempt, mistake) if cpu_mode == "cpu" else {},
        nodes=_places(cpus, attempt, mistake) if cpu_mode == "numa" else {},
        memory=_places(memory, attempt, mistake) if memory_mode == "numa" else {},
        alone=True,
    )


def _mode(content: Mapping[str, Any], name: str, known: tuple[str, ...], attempt: str, mistake: type[Ma2lError]) -> str:
    mode = str(content["bind_config"].get(name, "none")).lower()
    if mode not in known:
        raise mistake(attempt, f"{name} is {mode!r}", f"write one of {', '.join(known)}")
    return mode


def _main(cpus: Mapping[str, Any], attempt: str, mistake: type[Ma2lError]) -> dict[str, Any]:
    """The CPUs of the process; those of single threads beside them are for ``set_cpu_affinity``."""
    mains = {}
    for name, threads in cpus.items():
        if threads is not None and not isinstance(threads, dict):
            raise mistake(attempt, f"{name} in bind_cpu is no JSON object", 'write {"main": "0-3"}')
        mains[name] = (threads or {}).get("main")
    return mains


def _places(content: Mapping[str, Any], attempt: str, mistake: type[Ma2lError]) -> dict[str, tuple[int, ...]]:
    """Ids by device; what names none is left out."""
    places = {}
    for key, value in content.items():
        match = re.fullmatch(r"device_?([0-9]{1,6})", key)
        if not match and key != SCHEDULER:
            raise mistake(attempt, f"{key!r} is neither deviceN nor scheduler", "name devices as device0, device1")
        items = value if isinstance(value, list) else [value]
        try:
            ids = cpulist.parse(",".join(_item(item) for item in items if item not in (None, "")))
        except ValueError:
            raise mistake(attempt, f"{key} has {value!r}", 'write ids and ranges such as ["0-3", "8"]') from None
        if ids:
            places[str(int(match[1])) if match else SCHEDULER] = ids
    return places


def _item(item: object) -> str:
    if isinstance(item, bool) or not isinstance(item, (int, str)):
        raise ValueError(item)
    return str(item)
