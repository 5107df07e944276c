"""Row about the image: from ``podman run`` to the first worker, with and without a hook, and what it adds to its base.

The inits are mounted into the base image and start the worker itself: what they cost beside ma2l, not what they do.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import ROOT
from benchmarks.readings import Reading
from tests.container.engine import ENGINES, Engine, base_image, responds

INITS = {"tini": "tini-static", "dumb-init": "dumb-init", "catatonit": "catatonit"}
HOOK = "#!/bin/sh\nexport ASCEND_GLOBAL_LOG_LEVEL=3\n"


@dataclass(frozen=True)
class Images:
    """What is compared, in the storage of an engine."""

    engine: Engine
    base: str
    own: str


def images(work: Path) -> Images | None:
    """Build the image of this checkout; ``None`` where no engine runs."""
    name = next(filter(responds, ENGINES), None)
    if name is None:
        return None
    engine = Engine(name)
    base = base_image(engine, work)
    return Images(engine, base, engine.build(Path(ROOT), work, BASE_IMAGE=base))


def sizes(found: Images) -> Iterator[Reading]:
    """MB that the image adds."""
    added = found.engine.size(found.own) - found.engine.size(found.base)
    yield Reading("container", "size", "ma2l", "added to its base (MB)", added / 1e6)


def boots(found: Images, work: Path, worker: str) -> Iterator[Reading]:
    """Each once: the worker alone, below an init, below ma2l."""
    hooks, shared = work / "hooks", work / "shared"
    hooks.mkdir(exist_ok=True)
    (hooks / "10-level.sh").write_text(HOOK)
    shared.mkdir(exist_ok=True)
    mounts = {worker: "/bench/worker", str(shared): "/bench/shared:rw"}
    yield _boot(found.engine, found.base, "the worker alone", [], mounts, shared)
    for name, program in INITS.items():
        path = shutil.which(program)
        if path is None:
            yield Reading("container", "boot", name, "why not", f"{program} is not installed")
        else:
            yield _boot(found.engine, found.base, name, ["/bench/init", "--"], {**mounts, path: "/bench/init"}, shared)
    yield _boot(found.engine, found.own, "ma2l, 8 workers", [], mounts, shared)
    hooked = {**mounts, str(hooks): "/opt/ma2l/pre-start.d"}
    yield _boot(found.engine, found.own, "ma2l, 8 workers, a hook", [], hooked, shared)


def _boot(engine: Engine, image: str, name: str, before: list[str], mounts: dict[str, str], shared: Path) -> Reading:
    stamps = shared / "stamps"
    stamps.unlink(missing_ok=True)
    begun = time.monotonic()
    ended = engine.run(image, *before, "/bench/worker", "/bench/shared/stamps", "1", volumes=mounts)
    if ended.code or not stamps.exists():
        return Reading("container", "boot", name, "why not", f"exit code {ended.code}: {ended.err.strip()[-200:]}")
    first = min(float(line.split()[1]) for line in stamps.read_text().splitlines())
    return Reading("container", "boot", name, "first up (ms)", (first - begun) * 1e3)


def writable(directory: str) -> Path:
    """A directory for all that, which the user of a container may enter."""
    work = Path(directory) / "container"
    work.mkdir()
    for path in (work, work.parent):
        os.chmod(path, stat.S_IMODE(path.stat().st_mode) | 0o055)
    return work
