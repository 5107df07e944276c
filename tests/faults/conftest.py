"""The fault matrix: one real-process test per row, each with the same four assertions.

The exit code is as specified; no process of the run is alive (the harness adopts every orphan and looks); the time is
bounded (the harness gives up after ``PATIENCE``); what workers wrote is whole and complete.
"""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import _subreaper, here  # noqa: F401


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The worker in C; its source says what it can do."""
    program = tmp_path_factory.mktemp("worker") / "worker"
    source = Path(__file__).with_name("worker.c")
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True)
    return str(program)


@pytest.fixture
def chance() -> random.Random:
    """Random delays; a failed test shows the seed, and the variable repeats it."""
    seed = int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randrange(2**32))
    print(f"FAULTS_SEED={seed}")
    return random.Random(seed)
