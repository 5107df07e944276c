"""Every test of the entrypoint gets an image of its own; most run under each shell that may be ``/bin/sh``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.entrypoint.harness import SHELLS, Image


@pytest.fixture(params=sorted(SHELLS))
def shell(request: pytest.FixtureRequest) -> str:
    """Name of a shell."""
    return str(request.param)


@pytest.fixture
def image(tmp_path: Path, shell: str) -> Image:
    """An image whose ``/bin/sh`` is that shell."""
    return Image(tmp_path, shell)


@pytest.fixture
def dash_image(tmp_path: Path) -> Image:
    """An image for what does not depend on the shell."""
    return Image(tmp_path)
