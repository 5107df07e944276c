"""A container engine, docker or podman, and containers that end with the test that started them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PATIENCE = 180.0
"""Seconds until a container counts as hanging: far above anything expected."""
ENGINES = ("podman", "docker")
BASE = "localhost/ma2l-test-base:bookworm"
PUBLIC_BASE = "python:3.11-slim"
PACKAGES = "python3,python3-venv,python-is-python3,ca-certificates,libgomp1,procps,iproute2"
NETWORK_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
"""What of pip's configuration is of use inside a build."""
Volumes = Mapping["str | Path", str]
"""Host path to container path; read-only unless the container path ends in ``:rw``."""


@dataclass(frozen=True)
class Ended:
    """A container that has ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Engine:
    """docker or podman. What they have in common is called by the same words.

    Args:
        name: the program.
        limits: for every container. podman's defaults are above what a machine without CAP_SYS_RESOURCE may set.
    """

    name: str
    limits: tuple[str, ...] = ("--ulimit", "nofile=20000:20000", "--ulimit", "nproc=4096:4096")

    @property
    def words(self) -> list[str]:
        """The program with its global options. crun, podman's default, does not start on hybrid cgroups."""
        return [self.name, "--runtime", "runc"] if self.name == "podman" and shutil.which("runc") else [self.name]

    def call(self, *words: str, patience: float = PATIENCE) -> str:
        """Run one command of the engine that has to succeed; returns what it printed."""
        done = subprocess.run([*self.words, *words], capture_output=True, text=True, timeout=patience)
        assert done.returncode == 0, f"{self.name} {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def has_image(self, image: str) -> bool:
        """Whether the image is in this engine's storage."""
        done = subprocess.run([*self.words, "image", "inspect", image], capture_output=True)
        return done.returncode == 0

    def try_build(self, context: Path, work: Path, **args: str) -> Ended:
        """Build an image with these build arguments; ``out`` is its id.

        A chroot is enough isolation for a build, and works where namespaces of a container in a container do not.

        Args:
            work: directory for what the build needs and leaves; not in the context, or nothing there is kept.
        """
        words = ["build", "--isolation", "chroot"] if self.name == "podman" else ["build"]
        words += [*self.limits, "--iidfile", str(work / "image-id")]
        for secret, path in build_secrets(work).items():
            words += ["--secret", f"id={secret},src={path}"]
        for name, value in args.items():
            words += ["--build-arg", f"{name}={value}"]
        done = subprocess.run(
            [*self.words, *words, str(context)],
            capture_output=True,
            text=True,
            timeout=600,
            env={**os.environ, "DOCKER_BUILDKIT": "1"},
        )
        image = (work / "image-id").read_text().strip() if done.returncode == 0 else ""
        return Ended(done.returncode, image, done.stdout + done.stderr)

    def build(self, context: Path, work: Path, **args: str) -> str:
        """As ``try_build``, but it has to succeed; returns the id."""
        built = self.try_build(context, work, **args)
        assert built.code == 0, built.err[-4000:]
        return built.out

    def size(self, image: str) -> int:
        """Bytes of all layers of an image."""
        return int(self.call("image", "inspect", "--format", "{{.Size}}", image))

    def config(self, image: str) -> dict[str, object]:
        """What the image says about itself: ``Entrypoint``, ``Cmd``, ``Labels``, ``User``, ``Env``."""
        config = json.loads(self.call("image", "inspect", image))[0]["Config"]
        assert isinstance(config, dict)
        return config

    def run(self, image: str, *words: str, **options: object) -> Ended:
        """Run a container to its end. Options as for ``Container``."""
        with Container(self, image, *words, **options) as container:  # type: ignore[arg-type]
            return container.finish()


class Container:
    """A running container; use as a context manager, which ends and removes it.

    Args:
        words: the command.
        env: variables, whatever their names.
        volumes: what to mount.
        options: further options of ``run``.
    """

    def __init__(
        self,
        engine: Engine,
        image: str,
        *words: str,
        env: Mapping[str, str] | None = None,
        volumes: Volumes | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.engine = engine
        self.name = f"ma2l-test-{uuid.uuid4().hex[:12]}"
        before = ["run", "--rm", "--name", self.name, *engine.limits, *options]
        for name, value in (env or {}).items():
            before += ["--env", f"{name}={value}"]
        for source, target in (volumes or {}).items():
            before += ["--volume", f"{source}:{target.removesuffix(':rw')}:{'rw' if target.endswith(':rw') else 'ro'}"]
        self._process = subprocess.Popen(
            [*engine.words, *before, image, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._news = threading.Condition()
        self._lines: dict[str, list[str]] = {"out": [], "err": []}
        self._open = set(self._lines)
        self._readers = [
            threading.Thread(target=self._read, args=("out", self._process.stdout)),
            threading.Thread(target=self._read, args=("err", self._process.stderr)),
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._remove()
        self._join()

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until the container has printed ``text`` so many times."""
        with self._news:
            self._news.wait_for(lambda: self._shown().count(text) >= times or not self._open, PATIENCE)
        assert self._shown().count(text) >= times, f"ended or hangs without {text!r}:\n{self._shown()}"

    def kill(self, signame: str) -> None:
        """Send a signal to the container, which means to its PID 1."""
        self.engine.call("kill", "--signal", signame, self.name)

    def stop(self, grace: int) -> None:
        """Stop the container as an orchestrator does: SIGTERM, and SIGKILL after the grace (seconds)."""
        self.engine.call("stop", "-t", str(grace), self.name)

    def execute(self, *words: str) -> str:
        """Run a second command in the container."""
        return self.engine.call("exec", self.name, *words)

    def finish(self) -> Ended:
        """Wait for the end."""
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._remove()
            raise AssertionError(f"the container hangs:\n{self._shown()}") from None
        self._join()
        return Ended(self._process.returncode, "".join(self._lines["out"]), "".join(self._lines["err"]))

    def _read(self, stream: str, pipe: IO[str]) -> None:
        with pipe:
            for line in pipe:
                with self._news:
                    self._lines[stream].append(line)
                    self._news.notify_all()
        with self._news:
            self._open.remove(stream)
            self._news.notify_all()

    def _shown(self) -> str:
        return "".join(self._lines["out"] + self._lines["err"])

    def _join(self) -> None:
        self._process.wait(PATIENCE)
        for reader in self._readers:
            reader.join()

    def _remove(self) -> None:
        subprocess.run([*self.engine.words, "rm", "--force", self.name], capture_output=True, timeout=PATIENCE)


def responds(name: str) -> bool:
    """Whether the engine is installed and, where it needs one, its daemon runs."""
    if not shutil.which(name):
        return False
    return subprocess.run([name, "info"], capture_output=True, timeout=PATIENCE).returncode == 0


def base_image(engine: Engine, work: Path) -> str:
    """An image like the default BASE_IMAGE: made of Debian packages where that is possible, else the public one."""
    if engine.has_image(BASE):
        return BASE
    if os.geteuid() != 0 or not shutil.which("mmdebstrap"):
        return PUBLIC_BASE
    archive = work / "base.tar"
    make = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(archive)]
    subprocess.run(make, check=True, timeout=600)
    engine.call("import", str(archive), BASE, patience=600)
    archive.unlink()
    return BASE


def build_secrets(work: Path) -> dict[str, Path]:
    """What pip needs in a build on this machine: its configuration and its CA certificates, as files."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    settings = dict(line.partition("=")[::2] for line in listed.stdout.splitlines())
    values = {name.split(".")[-1]: value.strip("'\"") for name, value in settings.items()}
    config = work / "pip.conf"
    network = {name: value for name, value in values.items() if name in NETWORK_SETTINGS}  # others may name files here
    config.write_text("\n".join(["[global]", *(f"{name} = {value}" for name, value in network.items()), ""]))
    ca = Path(values.get("cert", "/etc/ssl/certs/ca-certificates.crt"))
    return {"pip.conf": config, **({"ca.pem": ca} if ca.exists() else {})}
