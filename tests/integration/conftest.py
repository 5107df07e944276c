"""Integration tests run real processes in a temporary directory, under a test process that adopts every orphan."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ma2l.linux import libc
from tests.integration.harness import assert_nothing_left


@pytest.fixture(scope="session", autouse=True)
def _subreaper() -> None:
    libc.become_subreaper()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[str]:
    """An empty working directory for the run."""
    yield str(tmp_path)
    assert_nothing_left()


@pytest.fixture
def script(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Write a worker script; returns its path."""

    def write(text: str, name: str = "worker.sh") -> str:
        path = tmp_path / name
        path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
        os.chmod(path, 0o755)
        return str(path)

    return write
