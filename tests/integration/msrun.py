"""Runs the real msrun and ``ma2l msrun`` on the same work, each in a directory of its own, and reads what came of it.

The work is a script that notes who it is and leaves; MindSpore itself is imported by the real msrun alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from ma2l.linux import processes
from tests.integration.harness import PATIENCE, Running, until

FRAMEWORKS = Path(__file__).resolve().parents[2] / ".venv-frameworks/bin"
NET = "net.py"
NOTES = "notes"
NOTING = f"""\
import json, os, sys

def test_net():
    # what the kernel was given, before this interpreter or its libraries could add to it
    with open("/proc/self/environ", "rb") as file:
        words = (word.decode("utf-8", "surrogateescape").partition("=") for word in file.read().split(b"\\0") if word)
        environ = {{name: value for name, _, value in words}}
    with open("/proc/self/cmdline", "rb") as file:
        argv = file.read().decode().split("\\0")[:-1]
    who = environ.get("DEVICE_ID", "scheduler")
    print("worker", who, "says näh", flush=True)
    print("worker", who, "complains", file=sys.stderr, flush=True)
    with open(f"{NOTES}/{{os.getpid()}}", "w") as file:
        json.dump([environ, argv, os.getcwd(), sorted(os.sched_getaffinity(0))], file)

if __name__ == "__main__":
    test_net()
"""


@dataclass(frozen=True)
class Process:
    """What a process found when it started."""

    environ: dict[str, str]
    argv: list[str]
    cwd: str
    """Relative to where the launcher was started."""
    cpus: list[int]
    """The CPUs it may run on."""


@dataclass(frozen=True)
class Record:
    """What a run left."""

    code: int
    processes: dict[str, Process]
    """By ``scheduler`` or the worker's ``DEVICE_ID``."""
    logs: dict[str, str]
    """Contents of the ``.log`` files by path, without those that only ma2l has."""
    console: str
    """Both streams, to show when a test fails."""


def real_msrun() -> str:
    """Path of the real one."""
    path = FRAMEWORKS / "msrun"
    if not path.exists():
        pytest.skip("run `make frameworks`")
    return str(path)


def record_real(
    directory: Path, words: Sequence[str], env: Mapping[str, str | None], enter: Sequence[str] = ()
) -> Record:
    """Run the real msrun; ``env`` changes this process's environment."""
    _prepare(directory)
    full = {**os.environ, **env}
    finished = subprocess.run(
        [*enter, real_msrun(), *words],
        cwd=directory,
        env={name: value for name, value in full.items() if value is not None},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=PATIENCE,
    )
    return _record(directory, finished.returncode, finished.stdout)


def record_ours(
    directory: Path, words: Sequence[str], env: Mapping[str, str | None], enter: Sequence[str] = ()
) -> Record:
    """Run ``ma2l msrun``."""
    _prepare(directory)
    with Running("msrun", *words, cwd=str(directory), env=env, before=enter) as running:
        out, err = running.process.communicate(timeout=PATIENCE)
    return _record(directory, processes.exit_code(running.process.returncode), out + err)


def programs(directory: Path) -> str:
    """A directory with the programs that tasks may name; nothing else, so no ``ip`` either."""
    directory.mkdir()
    for name, target in (
        ("python", FRAMEWORKS / "python"),
        ("python3", FRAMEWORKS / "python3"),
        ("pytest", Path(sys.executable).parent / "pytest"),
    ):
        (directory / name).symlink_to(target)
    return str(directory)


def _prepare(directory: Path) -> None:
    (directory / NOTES).mkdir(parents=True)
    (directory / NET).write_text(NOTING, encoding="utf-8")


def _record(directory: Path, code: int, console: str) -> Record:
    until(_all_have_left)  # with --join=False the launcher is the first to go
    found: dict[str, Process] = {}
    for path in (directory / NOTES).iterdir():
        environ, argv, cwd, cpus = json.loads(path.read_text())
        name = environ.get("DEVICE_ID", "scheduler")
        assert name not in found, f"{name} was started twice"
        found[name] = Process(environ, argv, os.path.relpath(cwd, directory), cpus)
    logs = {
        str(path.relative_to(directory)): path.read_text(encoding="utf-8")
        for path in directory.rglob("*.log")
        if not path.name.endswith(".launcher.log")
    }
    return Record(code, found, logs, console)


def _all_have_left() -> bool:
    return all((processes.state(pid) or "Z")[0] in "ZX" for pid in processes.descendants(os.getpid()))
