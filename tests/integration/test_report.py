"""The report as a user reads it, from real runs; and the same again from the files they leave."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.harness import MA2L, Running, assert_nothing_left, run, until

TRAIN = """\
import glob, os, time
rank = os.environ["RANK"]
def step():
    raise ValueError("bad batch")
open(f"ready.{rank}", "w").close()
while len(glob.glob("ready.*")) < 4:
    time.sleep(0.01)
"""
WAIT_FOR_ALL = 'until [ "$(ls ready.* | wc -l)" = 4 ]; do sleep 0.01; done'


def outcome(here: str, node: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(here, f"logs/node{node}.outcome.json").read_text())
    return found


def explained(here: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MA2L, "explain", *words], cwd=here, capture_output=True, text=True, check=False)


def test_a_traceback_comes_first_then_who_and_where(here: str) -> None:
    Path(here, "train.py").write_text(f"{TRAIN}if rank == '2': step()\ntime.sleep(1000)\n")
    finished = run("--mock", "4", "--log-dir", "logs", sys.executable, "train.py", cwd=here)
    assert finished.code == 1
    log = f"{here}/logs/worker_2.log"
    report = finished.err[finished.err.index("Traceback") :].splitlines()
    assert report[0] == "Traceback (most recent call last):"
    assert report[report.index("ValueError: bad batch") + 1] == f"--- from {log}"
    assert re.fullmatch(r"ma2l: ranks 0-1, 3 ended when asked to, the last \d+\.\d s later", report[-3])
    assert report[-2] == f"ma2l: logs and outcome are in {here}/logs"
    verdict = (
        r"rank 2 failed first: exit code 1 after \d+\.\d s \(pid \d+, node 0, device 2\); 3 others stopped; exit code 1"
    )
    assert re.fullmatch(f"ma2l: error: {verdict}", report[-1])
    assert len(report) <= 25
    assert finished.err.count("Traceback") == 1
    data = outcome(here)
    assert (data["first"]["rank"], data["first"]["returncode"], data["report"]["quote"][0]) == (2, 1, report[0])
    assert data["started_at"] <= data["first"]["ended_at"] <= data["ended_at"]
    assert [process["ended_at"] >= data["first"]["ended_at"] for process in data["processes"]] == [True] * 4


def test_explain_says_the_same_again_wherever_the_logs_have_gone(here: str) -> None:
    Path(here, "train.py").write_text(f"{TRAIN}if rank == '2': step()\ntime.sleep(1000)\n")
    run("--mock", "4", "--log-dir", "logs", sys.executable, "train.py", cwd=here)
    os.rename(f"{here}/logs", f"{here}/copy")
    data = json.loads(Path(here, "copy/node0.outcome.json").read_text())["report"]
    done = explained(here, "copy")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1].endswith(data["verdict"])
    assert lines[: len(data["quote"]) - 1] == data["quote"][:-1]
    Path(here, "copy/node0.outcome.json").unlink()
    again = explained(here, "copy")
    assert again.returncode == 0
    assert again.stdout.splitlines()[0] == "Traceback (most recent call last):"
    assert "rank 2 failed first: its log shows an error" in again.stdout


def test_ranks_that_fail_alike_share_a_line(here: str, script: Any) -> None:
    worker = f"""\
trap : TERM
touch "ready.$RANK"
{WAIT_FOR_ALL}
echo "error: no data for rank $RANK"
exit 9"""
    finished = run("--mock", "4", "--log-dir", "logs", script(worker), cwd=here)
    assert finished.code == 9
    first = outcome(here)["first"]["rank"]
    others = {0: "1-3", 1: "0, 2-3", 2: "0-1, 3", 3: "0-2"}[first]
    assert f"ma2l: ranks {others} ended the same way, the last " in finished.err


def test_a_symptom_does_not_hide_the_cause_that_another_log_names(here: str, script: Any) -> None:
    worker = f"""\
if [ "$RANK" = 3 ]; then
    echo "RuntimeError: NPU out of memory. Tried to allocate 5.03 GiB"; touch "ready.$RANK"; exec sleep 1000
fi
touch "ready.$RANK"
{WAIT_FOR_ALL}
[ "$RANK" = 0 ] || exec sleep 1000
echo "EI0006: Getting socket times out."
exit 5"""
    finished = run("--mock", "4", "--log-dir", "logs", script(worker), cwd=here)
    assert finished.code == 5, "the exit code is that of the first failure"
    assert "ma2l: error: HCCL could not connect to a peer in time (EI0006)" in finished.err
    named = f"rank 3's log ({here}/logs/worker_3.log) names the likely cause: RuntimeError: NPU out of memory."
    assert f"ma2l: error: {named}" in finished.err
    assert "ma2l: error: NPU memory was too small for this model and batch" in finished.err
    assert outcome(here)["report"]["likely"] == "rank 3"
    assert named in explained(here, "logs").stdout


@pytest.mark.parametrize("how", ["kill -SEGV $$", "kill -KILL $$", "kill -ABRT $$"])
def test_a_signal_is_named(here: str, script: Any, how: str) -> None:
    name = how.split()[1][1:]
    finished = run("--mock", "2", "--log-dir", "logs", script(f'[ "$RANK" = 1 ] || exec sleep 1000\n{how}'), cwd=here)
    assert f"ma2l: error: rank 1 failed first: SIG{name} (signal {finished.code - 128})" in finished.err


def test_the_first_failure_of_a_job_of_two_nodes(here: str, script: Any) -> None:
    worker = f"""\
touch "ready.$RANK"
{WAIT_FOR_ALL}
[ "$RANK" = 3 ] || exec sleep 1000
echo "OSError: [Errno 28] No space left on device"; exit 11"""
    finished = run("--mock", "2x2", "--log-dir", "logs", script(worker), cwd=here)
    assert finished.code == 11
    done = explained(here, "logs")
    assert done.returncode == 0
    assert "a disk is full; make room" in done.stdout
    assert re.search(r"the first failure of the job: node 1 \(.*\): rank 3 failed first: exit code 11", done.stdout)


def test_a_launcher_that_was_killed_leaves_logs_that_tell(here: str, script: Any) -> None:
    worker = f"""\
[ "$RANK" = 1 ] && echo "EJ0001: Failed to initialize the HCCP process."
touch "ready.$RANK"
{WAIT_FOR_ALL}
exec sleep 1000"""
    with Running("--mock", "4", "--log-dir", "logs", script(worker), cwd=here) as running:
        until(lambda: len(list(Path(here).glob("ready.*"))) == 4)
        os.kill(running.launcher, 9)
        running.finish()
    assert_nothing_left()
    done = explained(here, "logs")
    assert done.returncode == 0
    assert "another process still holds the NPU (EJ0001)" in done.stdout
    assert "rank 1 failed first: its log shows an error" in done.stdout


def test_a_success_says_nothing_and_is_written_down(here: str, script: Any) -> None:
    finished = run("--mock", "2", "--log-dir", "logs", script("echo error: none"), cwd=here)
    assert finished.code == 0
    assert "error" not in finished.err
    data = outcome(here)
    assert (data["cause"], data["first"], data["report"]["verdict"]) == ("success", None, "")
    assert explained(here, "logs").stdout.endswith("all ended well\n")


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        ((), 2, "cannot explain a run: no log directory was named; write ma2l explain LOG_DIR..."),
        (("",), 2, "cannot explain a run: no log directory was named; write ma2l explain LOG_DIR..."),
        (("--soon", "x"), 2, "cannot use the option --soon: ma2l explain has none; see ma2l explain --help"),
        (("gone",), 78, "cannot read the logs in {here}/gone: No such file or directory; name a log directory"),
        (("file",), 78, "cannot read the logs in {here}/file: Not a directory; name a log directory"),
        (("empty",), 78, ("cannot explain empty: there are no logs of ma2l in it; "
            "name the directory with worker_*.log or node*.outcome.json")),
        (("loop",), 78, ("cannot explain loop: there are no logs of ma2l in it; "
            "name the directory with worker_*.log or node*.outcome.json")),
        (("above",), 78, "cannot explain above: there are no logs of ma2l in it; it holds above/run; name one"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_one_line(here: str, words: tuple[str, ...], code: int, line: str) -> None:
    Path(here, "file").touch()
    Path(here, "empty").mkdir()
    Path(here, "above/run").mkdir(parents=True)
    Path(here, "loop").mkdir()
    Path(here, "loop/itself").symlink_to("itself")
    done = explained(here, *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr == f"ma2l: error: {line.format(here=here)}\n"


def test_help_is_printed(here: str) -> None:
    assert explained(here, "--help").stdout.startswith("usage: ma2l explain LOG_DIR...")
