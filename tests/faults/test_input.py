"""Row 7 of the fault matrix: hostile input. Generated settings and reports are in ``tests/unit``."""

from __future__ import annotations

import base64
import json
import os
import random
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from ma2l.ranktable import TEXT_LIMIT
from tests.integration.harness import run

INPUTS = 100_000
MEMORY = 2**30
"""Bytes of address space that reading a hostile table may take, interpreter and all."""
BOMB = 2**30
TOO_LARGE = f"it holds more than {TEXT_LIMIT // 2**20} MiB of text"
ROOT = Path(__file__).parents[2]


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def test_100_000_hostile_tables(chance: random.Random) -> None:
    """Each is a table that is right, one that is not complete, or one line; and the reader needs no more memory."""
    words = [sys.executable, "-m", "tests.faults.hostile_tables", str(INPUTS), str(chance.randrange(2**32))]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, preexec_fn=limit_memory, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    outcomes = json.loads(done.stdout)
    assert sum(outcomes.values()) == INPUTS
    assert min(outcomes[kind] for kind in ("table", "incomplete", "refused")) > INPUTS / 100, outcomes


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """One GiB of spaces, packed into one MiB."""
    packer = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
    return b"".join([*(packer.compress(b" " * 2**20) for _ in range(BOMB // 2**20)), packer.flush()])


@pytest.mark.parametrize("packed", [bytes, base64.b64encode], ids=["gzip", "base64"])
def test_a_bomb_of_one_gib_is_refused(here: str, bomb: bytes, packed: Callable[[bytes], bytes]) -> None:
    Path(here, "table.json").write_bytes(packed(bomb))
    finished = run("--rank-table-file", "table.json", "true", cwd=here, preexec_fn=limit_memory)
    assert finished.code == 78, finished.err
    assert TOO_LARGE in finished.err


def test_a_table_without_an_end_is_refused(here: str) -> None:
    with Path(here, "table.json").open("wb") as file:
        file.truncate(64 * BOMB)
    finished = run("--rank-table-file", "table.json", "true", cwd=here, preexec_fn=limit_memory)
    assert finished.code == 78, finished.err
    assert TOO_LARGE in finished.err


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_table_that_is_no_file_is_refused_and_never_waited_in(here: str, kind: str) -> None:
    """A pipe that nobody writes to would block the opening of it, where no signal is heard."""
    if kind == "pipe":
        os.mkfifo(Path(here, "table.json"))
    path = "table.json" if kind == "pipe" else "/dev/zero"
    finished = run("--rank-table-file", path, "true", cwd=here, preexec_fn=limit_memory)
    assert finished.code == 78, finished.err
    assert f"cannot read the rank table {path}: it is no regular file" in finished.err
