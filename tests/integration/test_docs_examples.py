"""Shell blocks of the documentation that are marked runnable do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.harness import assert_nothing_left

ROOT = Path(__file__).resolve().parents[2]
MARKED = re.compile(r"<!-- runnable(?:: exit (\d+))? -->\n```shell\n(.*?)^```", re.M | re.S)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [
    pytest.param(found.group(2), int(found.group(1) or 0), id=f"{page.stem}-{number}")
    for page in PAGES
    if "zh" not in page.parts
    for number, found in enumerate(MARKED.finditer(page.read_text()))
]


def test_there_are_some() -> None:
    assert len(BLOCKS) >= 8


@pytest.mark.parametrize(("block", "code"), BLOCKS)
def test_a_runnable_block_runs(here: str, block: str, code: int) -> None:
    program = Path(here, "bin/ma2l")
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ma2l "$@"\n')
    program.chmod(0o755)
    env = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    work = Path(here, "work")
    work.mkdir()
    done = subprocess.run(["bash", "-ec", block], cwd=work, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert_nothing_left()
