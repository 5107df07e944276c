"""NPUs that somebody uses are waited for before a start, and before every further one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.harness import PATIENCE, Finished, until
from tests.integration.test_rank_table import one_server

Script = Callable[..., str]
WAIT = "while :; do sleep 1000 & wait; done"
WITH_NPUS = """\
import os, sys
from ma2l.ascend import devices, holders
devices.device_files.__defaults__ = (sys.argv[1],)
holders.wait_until_free.__kwdefaults__["dev"] = sys.argv[1]
from ma2l import cli
os._exit(cli.main(sys.argv[2:]))
"""
"""ma2l on a host whose device files are in another directory than ``/dev``."""


@pytest.fixture
def holder(here: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that uses NPU 1 of a host with two."""
    os.mkdir(f"{here}/dev")
    for name in ("davinci0", "davinci1"):
        Path(here, "dev", name).touch()
    with open(f"{here}/dev/davinci1") as file:
        process = subprocess.Popen(["sleep", "1000"], stdin=file)
    yield process
    process.kill()
    process.wait()


def on_npus(here: str, *words: str) -> Finished:
    command = (sys.executable, "-c", WITH_NPUS, f"{here}/dev", *words)
    with started(here, *command) as process:
        out, err = process.communicate(timeout=PATIENCE)
    return Finished(process.returncode, out, err)


def started(here: str, *command: str) -> subprocess.Popen[str]:
    env = {**os.environ, "RANK_TABLE_FILE": f"{here}/table.json", "PATH": "/usr/bin:/bin"}
    env["MA_TERMINATION_MESSAGE_PATH"] = f"{here}/message"
    Path(here, "table.json").write_text(one_server(0, 1))
    return subprocess.Popen(command, cwd=here, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_npus_in_use_are_waited_for_and_their_user_is_named(here: str, holder: subprocess.Popen[bytes]) -> None:
    command = (sys.executable, "-c", WITH_NPUS, f"{here}/dev", "--wait-npu", "3600", "touch", "started")
    with started(here, *command) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line == f"ma2l: waiting up to 3600 s for NPU 0-1, in use by pid {holder.pid} (sleep 1000, NPU 1)\n"
        assert not Path(here, "started").exists()
        holder.kill()
        holder.wait()
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert Path(here, "started").exists()


def test_npus_that_stay_in_use_are_no_place_to_start(here: str, holder: subprocess.Popen[bytes]) -> None:
    finished = on_npus(here, "--wait-npu", "0.1", "touch", "started")
    assert finished.code == 197
    assert f"still in use by pid {holder.pid} (sleep 1000, NPU 1)" in finished.err
    assert not Path(here, "started").exists()


@pytest.mark.parametrize(
    ("patience", "why"),
    [("0.1", "cannot use NPU 0-1: after 0.1 s still in use by pid "), ("3600", "this run was asked to stop")],
    ids=["in use", "stopped"],
)
def test_a_restart_that_cannot_be_ends_the_run_with_the_failure_before_it(
    here: str, script: Script, patience: str, why: str
) -> None:
    """Somebody else takes an NPU while an attempt runs."""
    os.mkdir(f"{here}/dev")
    for name in ("dev/davinci0", "dev/davinci1", "message"):
        Path(here, name).touch()
    worker = script(f'touch "ready.$RANK"; [ "$RANK" = 0 ] || {WAIT}\nwhile [ ! -e go ]; do sleep 0.01; done; exit 9')
    words = ("--max-restarts", "1", "--restart-on", "9", "--wait-npu", patience, worker)
    with started(here, sys.executable, "-c", WITH_NPUS, f"{here}/dev", *words) as process:
        until(lambda: len(list(Path(here).glob("ready.*"))) == 2)
        with open(f"{here}/dev/davinci1"):
            Path(here, "go").touch()
            assert process.stderr is not None
            lines: list[str] = []
            while not any("waiting up to" in line for line in lines):
                lines.append(process.stderr.readline())
                assert lines[-1], lines
            if patience == "3600":
                process.send_signal(signal.SIGTERM)
            lines += process.communicate(timeout=PATIENCE)[1].splitlines()
    assert process.returncode == 9
    assert any(f"ma2l: warning: not started again: {why}" in line for line in lines), lines
    assert Path(here, "message").read_text().startswith("rank 0 failed first: exit code 9")


@pytest.mark.parametrize("words", [("--wait-npu", "0"), ("--mock", "2")])
def test_nobody_is_looked_for_where_that_is_not_wanted_or_npus_are_pretended(
    here: str, holder: subprocess.Popen[bytes], words: tuple[str, ...]
) -> None:
    finished = on_npus(here, *words, "touch", "started")
    assert finished.code == 0
    assert holder.poll() is None
