"""The command, and how this process was started."""

from __future__ import annotations

import os
import re
import shlex

from ma2l.doctor.finding import Finding, fail, ok, unknown, warn
from ma2l.doctor.scene import Scene
from ma2l.errors import Ma2lError
from ma2l.plan.launchers import foreign_launcher
from ma2l.plan.make import choose_per_node
from ma2l.supervise.system import find_program

_SHELLS = ("sh", "bash", "dash", "ash", "zsh", "ksh", "busybox")
_LARGEST = 2**20
_LAUNCHER = re.compile(
    r"^\s*(?:exec\s+|nohup\s+|[A-Z_]+=\S+\s+)*(torchrun|msrun|deepspeed|accelerate\s+launch|mpirun|mpiexec)\b", re.M
)


def program(scene: Scene) -> Finding:
    """The command's first word can be executed."""
    if not scene.command:
        return unknown("no command was given")
    try:
        found = find_program(scene.command[0], scene.environ.get("PATH", os.defpath))
    except Ma2lError as error:
        return fail(str(error), "correct the command")
    return ok(found)


def launcher_inside(scene: Scene) -> Finding:
    """A run script that starts the ranks itself must not run once per rank."""
    if not scene.command:
        return unknown("no command was given")
    once = choose_per_node(scene.settings, scene.command)
    script = _script(scene)
    found = _LAUNCHER.search(script) if script else None
    launcher = found[1].split()[0] if found else foreign_launcher(scene.command)
    if once:
        return ok(f"it runs once per node: {once.why}")
    if found:
        fix = "add --per-node, or --shim-msrun" if launcher == "msrun" else "add --per-node"
        return fail(
            f"{scene.command[-1]} calls {launcher}, which starts the ranks itself: there would be N x N of them", fix
        )
    return ok("it runs once per NPU")


def _script(scene: Scene) -> str:
    """The text of the shell script that the command runs; empty where it runs none."""
    words = list(scene.command)
    if os.path.basename(words[0]) in _SHELLS:
        words = [word for word in words[1:] if not word.startswith("-")]
        if "-c" in scene.command:
            return words[0] if words else ""
    path = words[0] if words else ""
    if not path.endswith((".sh", ".bash")) and not _is_shell_script(path):
        return ""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_LARGEST)
    except OSError:
        return ""


def _is_shell_script(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            first = file.readline(256)
    except OSError:
        return False
    words = first[2:].decode(errors="replace").split() if first.startswith(b"#!") else []
    return any(os.path.basename(word) in _SHELLS for word in words)


def accelerator(scene: Scene) -> Finding:
    """This is no box of GPUs."""
    graphics = sorted(
        name for name in _names(f"{scene.root}/dev") if name.startswith("nvidia") and name[6:].isdecimal()
    )
    if graphics and not scene.npus:
        return fail(
            f"there are GPUs here ({', '.join(graphics[:4])}) and no NPU", "ma2l is for Ascend; use torchrun here", True
        )
    if graphics:
        return warn(f"there are GPUs here too ({', '.join(graphics[:4])})", "see that the training means the NPUs")
    return ok("no other accelerator is here")


def process_1(scene: Scene) -> Finding:
    """A shell as PID 1 swallows the platform's SIGTERM."""
    words = scene.read("/proc/1/cmdline").rstrip("\0").split("\0")
    if os.getpid() == 1 or not words[0]:
        return ok("this process is PID 1") if os.getpid() == 1 else unknown("PID 1 cannot be looked at")
    name = os.path.basename(words[0]).lstrip("-")
    shell = name in _SHELLS and "-c" in words
    ours = shell and "ma2l" in words[words.index("-c") + 1 if words.index("-c") + 1 < len(words) else 0]
    if ours and not re.search(r"\bexec\s[^;&|]*ma2l", words[words.index("-c") + 1]):
        shown = shlex.join(words)[:80]
        return warn(
            f"PID 1 is {shown}: it does not pass SIGTERM on, and nobody saves a checkpoint",
            "write exec in front of ma2l",
        )
    return ok(f"PID 1 is {name}")


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
