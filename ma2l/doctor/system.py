"""Room and limits of this host or container."""

from __future__ import annotations

import os
import resource

from ma2l import site
from ma2l.doctor.finding import Finding, ok, unknown, warn
from ma2l.doctor.scene import Scene
from ma2l.platforms import modelarts
from ma2l.platforms.topology import current_platform

GIB = 2**30
_ROOM = (("/dev/shm", 1 * GIB), ("/cache", 32 * GIB), ("/", 5 * GIB))
"""Bytes that should be free: the first two as ModelArts' own check before a training wants it, and for its `/` what a
CANN upgrade takes."""
_FILES = 65536
"""Open files: 8 ranks with data loaders reach the usual 1,024 in the first epoch."""


def room(scene: Scene) -> Finding:
    """Free space where trainings write."""
    short, seen = [], []
    for path, wanted in _ROOM:
        try:
            status = os.statvfs(scene.root + path)
        except OSError:
            continue
        free = status.f_bavail * status.f_frsize
        seen.append(f"{path} {free / GIB:.1f} GiB")
        if free < wanted:
            short.append(f"{path} has {free / GIB:.1f} GiB free, {wanted / GIB:.0f} are wanted")
    if short:
        return warn("; ".join(short), "make room; for /dev/shm start the container with --shm-size")
    return ok(f"free: {', '.join(seen)}")


def limits(scene: Scene) -> Finding:
    """Limits of this process, which workers inherit."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    processes, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    few = []
    if 0 <= files < _FILES:
        few.append(f"{files} open files")
    if 0 <= processes < 4096:
        few.append(f"{processes} processes")
    if few:
        return warn(f"at most {' and '.join(few)}", f"ulimit -n {_FILES} -u unlimited, or --ulimit for the container")
    shown = ["unlimited" if value < 0 else str(value) for value in (files, processes)]
    return ok(f"{shown[0]} open files, {shown[1]} processes")


def core_files(scene: Scene) -> Finding:
    """Core files of eight ranks fill a disk."""
    if modelarts.keeps_core_files(scene.environ):
        return warn(
            "MA_COLLECT_CORE_FILE=1: each crashed rank leaves a core file", "unset it unless somebody reads them"
        )
    return ok("ma2l sets their size to 0 for workers")


def log_directory(scene: Scene) -> Finding:
    """Logs can be written where they go."""
    platform = current_platform(scene.environ)
    wanted = os.path.abspath(scene.settings.log_dir or platform.log_dir(scene.environ) or site.default_log_dir("RUN"))
    existing = wanted
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    if not (os.path.isdir(existing) and os.access(existing, os.W_OK | os.X_OK)):
        return warn(f"{wanted} cannot be written; logs would go to the temporary directory", "pass --log-dir")
    return ok(f"{wanted} can be written")


def memory(scene: Scene) -> Finding:
    """The limit of this control group, beyond which the kernel kills."""
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        text = scene.read(limit).strip()
        if text == "max" or (text.isdecimal() and int(text) > 2**60):
            return ok("this container has no limit of memory")
        if text.isdecimal():
            most, now = int(text), int(scene.read(used).strip() or 0)
            said = f"{now / GIB:.1f} of {most / GIB:.1f} GiB in use"
            if now > 0.9 * most:
                return warn(said, "raise the container's memory, or end what uses it")
            return ok(said)
    return unknown("no control group tells a limit")
