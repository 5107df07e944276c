"""The program named msrun that ``--shim-msrun`` puts in front of PATH."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ma2l.plan import shim
from ma2l.site import write_file
from tests.unit.scenario import mock_nodes, plan

SHOW = "import os; from ma2l.plan import shim; os.write(1, shim.program('/run').content)"


def test_it_is_a_script_in_a_directory_of_its_own() -> None:
    file = shim.program("/run")
    assert (file.path, file.kind) == ("/run/shim/msrun", "program")
    assert file.content.startswith(b"#!/bin/sh\n")
    assert file.content.endswith(b' msrun "$@"\n')


@pytest.mark.parametrize("flags", [["-I"], []])
def test_it_is_as_isolated_as_the_launcher(flags: list[str]) -> None:
    text = subprocess.run([sys.executable, *flags, "-c", SHOW], check=True, capture_output=True).stdout
    assert (b" -I -c " in text) == bool(flags)


def test_names_of_any_bytes_survive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/a 'b' $c/\udcff/python")
    words = shim.program("/run").content.splitlines()[-1]
    first = subprocess.run(["sh", "-c", words.replace(b"exec ", b"printf %s ", 1)], check=True, capture_output=True)
    assert first.stdout.startswith(b"/a 'b' $c/\xff/python-")


def test_what_is_preloaded_is_for_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\nenv\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    file = shim.program(str(tmp_path))
    write_file(file.content, file.path, 0o700)
    done = subprocess.run([file.path], env={"LD_PRELOAD": "/no/lib.so"}, check=True, capture_output=True, text=True)
    assert "MA2L_WORKER_LD_PRELOAD=/no/lib.so" in done.stdout.splitlines()
    assert "\nLD_PRELOAD" not in f"\n{done.stdout}"


def test_the_script_finds_it_first_and_gets_what_concerns_it(tmp_path: Path) -> None:
    environ = {**mock_nodes("volcano", "1x2", str(tmp_path))[0], "PATH": "/mine"}
    made = plan(environ, ("bash", "run.sh"), shim_msrun=True, stop_grace=90.0, failure_grace=0.0, profile="/team.yaml")
    (spec,) = made.processes
    expected = {
        "MA2L_PROFILE": "/team.yaml",
        "MA2L_STOP_GRACE": "90",
        "MA2L_FAILURE_GRACE": "0",
        "MA2L_SHIM_MSRUN": None,
    }
    assert {name: spec.env[name] for name in expected} == expected
    assert spec.env["PATH"] == "/tmp/ma2l-RUN/shim:/mine"
    assert [file.path for file in made.files] == ["/tmp/ma2l-RUN/shim/msrun"]
    assert (spec.role, made.mode) == ("once", "torch")


def test_without_the_option_nothing_is_put_anywhere(tmp_path: Path) -> None:
    made = plan(mock_nodes("bare", "1x2", str(tmp_path))[0], ("bash", "run.sh"), per_node=True)
    assert made.files == ()
    assert made.processes[0].env.keys() & {"PATH", "MA2L_STOP_GRACE"} == set()
