"""Container tests build the image of this checkout and run it for real.

``MA2L_ENGINE`` chooses docker or podman; otherwise it is the one that responds. ``tests/container/engine.sh`` installs
podman. The base image stays in the engine's storage for the next run.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container.engine import ENGINES, Engine, Volumes, base_image, responds

ROOT = Path(__file__).resolve().parents[2]
SUBNET = f"10.{200 + uuid.uuid4().int % 50}.{uuid.uuid4().int % 250}"
"""Of this test run, so that two runs on one machine do not meet."""
ADDRESSES = (f"{SUBNET}.10", f"{SUBNET}.11")
FIND_PACKAGES = "import sys, sysconfig; print(sys.version_info[1], sysconfig.get_paths()['purelib'])"


def chosen_engine() -> str:
    """The user's choice, read where it still is: tests/conftest.py has cleared MA2L_* from ``os.environ`` by now."""
    given = dict(item.partition("=")[::2] for item in Path("/proc/self/environ").read_text().split("\0"))
    return given.get("MA2L_ENGINE", "")


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine to test with; the test is skipped where there is none."""
    chosen = chosen_engine()
    names = [chosen] if chosen else ENGINES
    name = next((name for name in names if responds(name)), None)
    if name is None:
        pytest.skip(f"no container engine responds ({', '.join(names)}); tests/container/engine.sh installs podman")
    return Engine(name)


@pytest.fixture(scope="session")
def base(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    return base_image(engine, tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def image(engine: Engine, base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image under test, built from this checkout."""
    return engine.build(ROOT, tmp_path_factory.mktemp("image"), BASE_IMAGE=base)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A directory that any user of any container may write into, as a job's mounts are."""
    tmp_path.chmod(0o755)
    folder = tmp_path / "job"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.fixture
def network(engine: Engine) -> Iterator[str]:
    """A network that gives containers the addresses they ask for."""
    name = f"ma2l-test-{uuid.uuid4().hex[:12]}"
    engine.call("network", "create", "--subnet", f"{SUBNET}.0/24", name)
    yield name
    engine.call("network", "rm", name)


def packages_of(environment: Path, package: str, engine: Engine, image: str) -> Volumes:
    """The volume that adds the packages of a virtual environment to an image's own Python."""
    minor, target = engine.run(image, "-c", FIND_PACKAGES, options=["--entrypoint", "python"]).out.split()
    packages = environment / f"lib/python3.{minor}/site-packages"
    if not (packages / package).exists():
        pytest.skip(f"{environment} needs {package} for Python 3.{minor}, which the image has")
    return {packages: target}
