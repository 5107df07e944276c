"""The command line, as a program: exit codes and messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ma2l import __version__
from ma2l.cli import RESERVED, VERBS
from ma2l.settings import FIELDS


def ma2l(directory: Path, *words: str | bytes, **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Run ``python -m ma2l`` in a directory, with only these variables."""
    keep = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "ma2l", *words],
        cwd=directory,
        env={**keep, "TMPDIR": str(directory), **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )


def test_version_and_help(tmp_path: Path) -> None:
    for word in ("version", "--version"):
        done = ma2l(tmp_path, word)
        assert (done.returncode, done.stdout.split()[:2]) == (0, [b"ma2l", __version__.encode()])
    done = ma2l(tmp_path, "--help")
    assert done.returncode == 0
    for name in FIELDS:
        assert f"--{name.replace('_', '-')} ".encode() in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        ([], 2, "ma2l: error: cannot start: no command was given; see ma2l help"),
        (["--mode", "torch"], 2, "ma2l: error: cannot start: no command was given; see ma2l help"),
        (["--mod", "x"], 2, ("ma2l: error: cannot use the option --mod: ma2l has none of that name; "
            "did you mean --mode? see ma2l --help")),
        (["--mode", "torhc", "x"], 2, ("ma2l: error: cannot use --mode = 'torhc': no such value; did you mean torch? "
            "choose one of auto, ranktable, torch, dynamic-cluster, mpirun")),
        (["--mock", "0x8", "true"], 2, ("ma2l: error: cannot use the mock shape '0x8': '0' is not a number of nodes "
            "between 1 and 127; write [NODESx]DEVICES, such as 8 or 2x4")),
        (["--mock", "2x1", "--mode", "mpirun", "true"], 2, ("ma2l: error: cannot mock several nodes in the mode "
            "mpirun: mpirun would look for them by ssh; write --mock DEVICES")),
        (["--mock", "2x1", "--node-rank", "1", "true"], 2, ("ma2l: error: cannot be node 1 of a mock job: "
            "all of its nodes are started here; drop --node-rank")),
        (["status"], 2, ("ma2l: error: cannot run the verb status: this version does not have it yet; "
            "`ma2l -- status` runs a program")),
        (["stop", "--soon"], 2, ("ma2l: error: cannot use the option --soon: ma2l stop has only --now; "
            "see ma2l stop --help")),
        (["stacks", "--all"], 2, ("ma2l: error: cannot use the option --all: ma2l stacks has none; "
            "see ma2l stacks --help")),
        (["stacks", "a", "b"], 2, ("ma2l: error: cannot show the stacks of several runs at once: 2 were named; "
            "name one")),
        (["--hang-action", "kill", "x"], 2, ("ma2l: error: cannot use --hang-action = 'kill': no such value; "
            "choose one of dump, stop")),
        (["plan"], 2, "ma2l: error: cannot make a plan: no command was given; write ma2l plan [OPTION...] CMD..."),
        (["plan", "--format", "xml", "x"], 2, ("ma2l: error: cannot use --format xml: no such format; "
            "choose one of table, json, yaml, sh")),
        (["--config", "no.yaml", "x"], 78, ("ma2l: error: cannot read the configuration no.yaml: "
            "No such file or directory; check the path and its permissions")),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_one_line(tmp_path: Path, words: list[str], code: int, line: str) -> None:
    done = ma2l(tmp_path, *words)
    assert done.returncode == code
    assert done.stderr.decode().splitlines()[-1] == line
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""


def test_every_verb_that_is_to_come_is_reserved(tmp_path: Path) -> None:
    promised = (
        "plan doctor ranktable msrun stop status logs stacks explain results record upload collect config report job "
        "manifest help version"
    )
    assert set(promised.split()) == {*VERBS, *RESERVED, "help", "version"}


def test_a_table_that_does_not_hold_this_host_is_one_line(tmp_path: Path) -> None:
    devices = [{"device_id": "0", "device_ip": "192.1.0.{}", "rank_id": "{}"}]
    servers = [
        {"server_id": f"s{n}", "device": [{**devices[0], "device_ip": f"192.1.0.{n}", "rank_id": str(n)}]}
        for n in range(2)
    ]
    table = {"status": "completed", "version": "1.0", "server_count": "2", "server_list": servers}
    (tmp_path / "t.json").write_text(json.dumps(table))
    done = ma2l(tmp_path, "true", RANK_TABLE_FILE="t.json", POD_IP="10.0.0.1")
    assert done.returncode == 78
    assert done.stderr.decode() == (
        "ma2l: error: cannot find this node in the rank table t.json: address 10.0.0.1 fits none; "
        "its nodes are s0, s1; set MA_CURRENT_INSTANCE_NAME, POD_IP or --node-rank\n"
    )


def test_a_plan_runs_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    done = ma2l(tmp_path, "plan", "--mock=2", "--mock-platform", "bare", "touch", "ran")
    assert done.returncode == 0
    assert done.stdout.startswith(b"topology   this host's NPUs\n")
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_are_not_utf8_reach_the_plan(tmp_path: Path) -> None:
    done = ma2l(tmp_path, "plan", "--mock", "1", "--format=json", "--", "true", b"caf\xe9", "na\u00efve")
    assert done.returncode == 0
    argv = json.loads(done.stdout)["processes"][0]["argv"]
    assert [os.fsencode(word) for word in argv] == [b"true", b"caf\xe9", "na\u00efve".encode()]
    done = ma2l(tmp_path, "plan", "--mock", "1", "true", b"caf\xe9")
    assert (done.returncode, b"caf\\udce9" in done.stdout) == (0, True)


def test_two_dashes_run_a_program_that_is_called_like_a_verb(tmp_path: Path) -> None:
    program = tmp_path / "stop"
    program.write_text("#!/bin/sh\necho it ran\n")
    program.chmod(0o755)
    done = ma2l(tmp_path, "plan", "--mock", "1", "--", "stop", PATH=f"{tmp_path}:/usr/bin:/bin")
    assert b"command    stop\n" in done.stdout


def test_a_reader_that_has_seen_enough_is_no_error_of_ours(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "ma2l", "plan", "--mock", "512", "true"],
        cwd=tmp_path, env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}, stdout=writer,
        stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(writer)
    assert b"Traceback" not in done.stderr
    assert done.returncode == 141


def test_an_uncertain_configuration_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "ma2l.yaml").write_text("mock: 0x8\n")
    done = ma2l(tmp_path, "true")
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[0] == "ma2l: options from ma2l.yaml"
    assert b"cannot use the mock shape '0x8'" in done.stderr


def test_what_few_runs_need_is_not_on_the_start_path() -> None:
    code = "import sys, ma2l.run; print([name for name in sys.modules if 'hang' in name or 'sentry' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"[]\n"
