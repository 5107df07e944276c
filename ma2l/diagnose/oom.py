"""How often the kernel has killed a process of our control group for want of memory.

Source: ``oom_kill`` in ``memory.events`` (cgroup v2, Linux 4.13) and in ``memory.oom_control`` (v1), which count the
processes of the group and of those below it that were killed by any kind of OOM killer.
"""

from __future__ import annotations

import re

_COUNT = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def kills(proc: str = "/proc/self/cgroup", mount: str = "/sys/fs/cgroup") -> int | None:
    """The counter as it stands, ``None`` where there is none to be read."""
    for path in _candidates(_read(proc), mount):
        found = _COUNT.search(_read(path))
        if found:
            return int(found[1])
    return None


def risen(before: int | None, after: int | None) -> int | None:
    """By how much it has risen, ``None`` when that is not known."""
    return None if before is None or after is None else max(0, after - before)


def _candidates(groups: str, mount: str) -> list[str]:
    """Where the counter may be. A container sees its own group as the root of the mount, under whatever name the host
    has for it, so the path that ``/proc`` tells may not exist."""
    paths = []
    for line in groups.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            paths += [f"{mount}{path}/memory.events", f"{mount}/memory.events"]
        elif "memory" in controllers.split(","):
            paths += [f"{mount}/memory{path}/memory.oom_control", f"{mount}/memory/memory.oom_control"]
    return paths


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:  # no such controller here
        return ""
