"""What ``ma2l msrun`` runs for a task: a program as it is, a script with ``python``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ma2l.msrun.prepare import command_of


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory of programs, and a working directory with files of every kind."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "package").mkdir()
    files = {
        "bin/tool": (b"#!/bin/sh\n", 0o755),
        "bin/train": (b"#!/bin/sh\n", 0o755),
        "bin/odd.py": (b"#!/bin/sh\n", 0o755),
        "bin/plain": (b"#!/bin/sh\n", 0o644),
        "net.py": (b"#!/usr/bin/env python\n", 0o755),
        "train": (b"print(1)\n", 0o644),
        "script": (b"#!/bin/sh\n", 0o755),
        "binary": (b"\x7fELF\x02\x01", 0o755),
        "everything-executable": (b"print(1)\n", 0o777),
        "empty": (b"", 0o755),
    }
    for name, (content, mode) in files.items():
        (tmp_path / name).write_bytes(content)
        os.chmod(tmp_path / name, mode)


@pytest.mark.parametrize("word", ["python", "python3", "pytest", "tool", "./script", "./binary", "bin/train"])
def test_a_program_is_run_as_it_is(tmp_path: Path, word: str) -> None:
    assert command_of((word, "-x", "--", "y"), f"{tmp_path}/none:{tmp_path}/bin") == (word, "-x", "--", "y")


@pytest.mark.parametrize(
    "word",
    [
        *("net.py", "./net.py", "bin/odd.py", "odd.py"),  # the ending says what it is
        *("train", "script", "binary", "package"),  # here comes before PATH, as with msrun
        *("./train", "./everything-executable", "./empty", "./package"),  # nothing that the kernel would start
        *("plain", "no-such", "./no-such", ""),
    ],
)
def test_anything_else_is_for_python(tmp_path: Path, word: str) -> None:
    assert command_of((word, "-x"), f"{tmp_path}/bin") == ("python", word, "-x")
