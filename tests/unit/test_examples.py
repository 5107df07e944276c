"""The examples that need no framework, as a newcomer runs them."""

from __future__ import annotations

import os
import pty
import struct
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MAKE_MNIST = str(EXAMPLES / "make_mnist.py")
# Root writes everywhere, unless it gives up the right to.
BOUND_BY_MODES = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.getuid() == 0 else ()


def make_mnist(*words: str) -> subprocess.CompletedProcess[str]:
    command = [*BOUND_BY_MODES, sys.executable, MAKE_MNIST, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_data_set_has_the_format_and_is_the_same_everywhere(tmp_path: Path) -> None:
    for name in ("one", "other"):
        assert make_mnist(str(tmp_path / name), "--train", "7", "--test", "3").returncode == 0
    for file in ("train/train-images-idx3-ubyte", "train/train-labels-idx1-ubyte", "test/t10k-images-idx3-ubyte"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()
    images = (tmp_path / "one/train/train-images-idx3-ubyte").read_bytes()
    assert struct.unpack(">4I", images[:16]) == (0x803, 7, 28, 28)
    assert len(images) == 16 + 7 * 28 * 28


@pytest.mark.parametrize("place", ["no permission", "a file"])
def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, place: str) -> None:
    closed = tmp_path / "closed"
    if place == "a file":
        closed.touch()
    else:
        closed.mkdir(mode=0o555)
    done = make_mnist(str(closed), "--train", "1", "--test", "1")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"cannot write the data set to {closed}: ")


def demo(tmp_path: Path, stdout: int) -> int:
    """Run the demo with a ma2l that prints nothing and fails where the demo shows a failure."""
    fake = tmp_path / "ma2l"
    fake.write_text('#!/bin/sh\n[ "$3" != --console-ranks ] || [ "$4" != none ] || exit 7\n')
    fake.chmod(0o755)
    return subprocess.run(["sh", EXAMPLES / "demo.sh", fake, "python"], stdout=stdout, check=False).returncode


def test_the_demo_is_bold_on_a_terminal_only(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as screen, open(theirs, "wb", buffering=0):
        assert demo(tmp_path, theirs) == 0
        assert b"\x1b[1m1. The same command" in screen.read(65536)
    output = tmp_path / "output"
    with output.open("wb") as file:
        assert demo(tmp_path, file.fileno()) == 0
    assert b"\x1b" not in output.read_bytes()
    assert b"1. The same command" in output.read_bytes()
