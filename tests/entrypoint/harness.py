"""Runs the entrypoint under real shells, with a hook and without, and shows what the command then saw."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
"""Seconds until a run counts as hung; far above anything expected."""
SHELLS = {"dash": ("dash",), "bash": ("bash",), "busybox": ("busybox", "sh")}
_DUMP = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(b'%s=%s' % item for item in os.environb.items()))"


@dataclass(frozen=True)
class Result:
    """A run of the entrypoint that has ended."""

    code: int
    out: bytes
    err: str

    @property
    def env(self) -> dict[str, str]:
        """The environment that the command saw, of a run of ``DUMP``."""
        assert self.code == 0, self.err
        pairs = (entry.partition(b"=") for entry in self.out.split(b"\0"))
        return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}

    @property
    def messages(self) -> list[str]:
        """What the entrypoint itself said."""
        return [line for line in self.err.splitlines() if line.startswith("ma2l: ")]


DUMP = (sys.executable, "-I", "-S", "-c", _DUMP)
"""A command that prints its environment. Run ``once``: by its name it would be launched per NPU."""


class Image:
    """An image as the Dockerfile lays it out, in a directory: ``entrypoint/``, ``pre-start.d/`` and a job's code."""

    def __init__(self, root: Path, shell: str = "dash") -> None:
        self.root = root
        self.code = root / "job dir" / "code"
        self.logs = root / "logs"
        self.tmp = root / "tmp"
        for directory in (self.code, self.tmp, root / "home"):
            directory.mkdir(parents=True)
        shutil.copytree(ROOT / "entrypoint", root / "opt" / "entrypoint")
        self.shell = SHELLS[shell]

    @property
    def entrypoint(self) -> Path:
        """The script itself."""
        return self.root / "opt" / "entrypoint" / "ma2l-entrypoint"

    def hook(self, text: str | bytes, name: str = "ma-pre-start.sh", mode: int = 0o644) -> Path:
        """Put a hook beside the boot file."""
        return self.file(self.code / name, text, mode)

    def file(self, path: Path, text: str | bytes = "", mode: int = 0o644) -> Path:
        """Write a file and the directories above it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return path

    def environ(self, extra: Mapping[str, str | None]) -> dict[str, str]:
        """A clean environment with what a container has, and the job's variables."""
        clean = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.tmp),
            "MA2L_PYTHON": sys.executable,
            "MA_JOB_DIR": str(self.code.parent),
            "MA_LOG_DIR": str(self.logs),
        }
        clean.update({name: value for name, value in extra.items() if value is not None})
        return {name: value for name, value in clean.items() if extra.get(name, "") is not None}

    @contextmanager
    def start(
        self, *command: str, env: Mapping[str, str | None] | None = None, cwd: Path | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Start the entrypoint with a command; what is left of it at the end of the block is killed."""
        with subprocess.Popen(
            [*self.shell, str(self.entrypoint), *command],
            env=self.environ(env or {}),
            cwd=cwd or self.code,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def run(self, *command: str, env: Mapping[str, str | None] | None = None, cwd: Path | None = None) -> Result:
        """Run the entrypoint to its end."""
        with self.start(*command, env=env, cwd=cwd) as process:
            out, err = process.communicate(timeout=PATIENCE)
        return Result(process.returncode, out, err.decode(errors="replace"))

    def dump(self, env: Mapping[str, str | None] | None = None, cwd: Path | None = None) -> dict[str, str]:
        """Run to the command's environment."""
        return self.result(env, cwd).env

    def result(self, env: Mapping[str, str | None] | None = None, cwd: Path | None = None) -> Result:
        """The same with everything that was said."""
        return self.run(*DUMP, env={"MA2L_ENTRYPOINT": "once", **(env or {})}, cwd=cwd)

    def left_over(self) -> list[str]:
        """Hand-over directories that nobody removed."""
        return [path.name for path in self.tmp.iterdir() if path.name.startswith("ma2l-entry")]


def function(
    shell: str, text: str, *arguments: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Source the entrypoint and run a piece of shell with its functions."""
    source = f'ma2l_home={ROOT}/entrypoint; . "$ma2l_home/ma2l-entrypoint"; {text}'
    return subprocess.run(
        [*SHELLS[shell], "-c", source, "test", *arguments],
        capture_output=True, text=True, timeout=PATIENCE, check=False, cwd="/tmp",
        env={"PATH": os.environ["PATH"], **(env or {})},
    )  # fmt: skip


def only(programs: Sequence[str], directory: Path) -> str:
    """A PATH with nothing but the given programs, busybox standing in for the tools of a small image."""
    directory.mkdir()
    for name in programs:
        found = shutil.which(name)
        assert found, name
        (directory / name).symlink_to(found)
    return str(directory)
