"""Every guarantee names tests that exist, and every test of the fault matrix guards one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
DOCUMENT = (TESTS.parent / "docs" / "reference" / "guarantees.md").read_text()
ROWS = [line for line in DOCUMENT.splitlines() if line.startswith("| ") and not line.startswith("| what happens")]
NAMED = re.findall(r"`([a-z_/0-9]+\.py)::(test_\w+)`", DOCUMENT)


def functions_of(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_named_test_exists(file: str, name: str) -> None:
    assert name in functions_of(TESTS / file)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_names_a_test(row: str) -> None:
    assert "::test_" in row.split("|")[-2]


@pytest.mark.parametrize("path", sorted((TESTS / "faults").glob("test_*.py")), ids=lambda path: path.name)
def test_every_test_of_the_matrix_is_in_a_row(path: Path) -> None:
    named = {name for file, name in NAMED if file == f"faults/{path.name}"}
    assert {name for name in functions_of(path) if name.startswith("test_")} == named
