"""ma2l as another user than root, for whom permissions and limits bind."""

from __future__ import annotations

import os
import pwd
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import loguru
import pytest
import yaml

import ma2l
from tests.integration.harness import Finished, assert_nothing_left, complaints


@pytest.fixture
def public(here: str) -> Iterator[str]:
    """A working directory that any user may enter and write."""
    path = Path(f"/tmp/ma2l-test-{os.getpid()}")
    path.mkdir()
    path.chmod(0o777)
    yield str(path)
    shutil.rmtree(path)


NOBODY, UNKNOWN = 65534, 54321


def as_user(uid: int) -> tuple[str, ...]:
    """For root neither permission bits nor process limits bind."""
    return () if os.getuid() else ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")


def everybodys_python() -> str:
    """A Python that ``nobody`` may run; the one of the tests may lie in root's home."""
    for python in (sys.executable, "/usr/local/bin/python3", "/usr/bin/python3"):
        if subprocess.run([*as_user(NOBODY), python, "-c", ""], capture_output=True, timeout=60).returncode == 0:
            return python
    raise AssertionError("no Python here may be run by nobody")


def run_as_nobody(
    *words: str, cwd: str, env: dict[str, str] | None = None, uid: int = NOBODY, **popen: object
) -> Finished:
    """Run ma2l as another user than root, from copies that this user may read."""
    with tempfile.TemporaryDirectory() as library:
        for package in (ma2l, loguru, yaml):
            shutil.copytree(os.path.dirname(package.__file__ or ""), f"{library}/{package.__name__}")
        os.chmod(library, 0o755)
        done = subprocess.run(  # type: ignore[call-overload]
            [*as_user(uid), everybodys_python(), "-m", "ma2l", *words],
            **{"cwd": cwd, "capture_output": True, "text": True, "timeout": 60, **popen},
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": library, **(env or {})},
        )
    assert_nothing_left()
    assert "Traceback" not in done.stderr, done.stderr
    return Finished(done.returncode, done.stdout, done.stderr)


def test_what_another_user_closed_is_named(public: str) -> None:
    closed = f"{public}/closed"
    os.mkdir(closed, 0o700)
    finished = run_as_nobody("--mock", "1", f"{closed}/x", cwd=public)
    assert finished.code == 126, finished.err
    assert f"cannot run {closed}/x: its directory may not be entered" in finished.err
    finished = run_as_nobody("--mock", "1", "--chdir", closed, "pwd", cwd=public)
    assert finished.code == 78, finished.err
    assert f"this user may not enter the directory {closed}; correct --chdir" in finished.err


def test_a_directory_of_figures_that_cannot_be_listed_ends_nothing(public: str) -> None:
    closed = Path(public, "figures")
    closed.mkdir()
    closed.chmod(0o333)
    finished = run_as_nobody("--mock", "1", "--results-dir", str(closed), "true", cwd=public)
    closed.chmod(0o777)
    assert finished.code == 0, finished.err
    assert f"the directory for figures {closed} cannot be read: Permission denied" in finished.err


def test_an_unreadable_table_is_a_configuration_error(public: str) -> None:
    path = Path(public, "table.json")
    path.write_text("{}")
    path.chmod(0)
    finished = run_as_nobody("true", cwd=public, env={"RANK_TABLE_FILE": str(path)})
    assert finished.code == 78, finished.err
    assert "ermission" in complaints(finished)[0]


def test_a_user_that_no_file_knows_is_no_obstacle(public: str) -> None:
    """As some clusters start containers: a uid without a name, without a home."""
    assert UNKNOWN not in {entry.pw_uid for entry in pwd.getpwall()}
    finished = run_as_nobody("--mock", "2", "id", "-u", cwd=public, env={"HOME": "/"}, uid=UNKNOWN)
    assert finished.code == 0, finished.err
    assert "[1] " + (str(UNKNOWN) if not os.getuid() else str(os.getuid())) in finished.out


def test_a_process_limit_that_is_reached_is_worth_a_retry(public: str) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))

    finished = run_as_nobody("--mock", "2", "true", cwd=public, preexec_fn=limit)
    assert finished.code == 199, finished.err
    assert len(complaints(finished)) == 1


def test_a_process_limit_reached_part_way_stops_what_was_started(public: str) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NPROC, (5, 5))  # guard, launcher and three workers

    finished = run_as_nobody("--mock", "8", "--log-dir", "logs", "sleep", "1000", cwd=public, preexec_fn=limit)
    assert finished.code == 199, finished.err
    assert "start rank 3" in complaints(finished)[0]


def test_a_working_directory_that_cannot_be_written_is_no_obstacle(public: str) -> None:
    Path(public).chmod(0o755)
    finished = run_as_nobody("--mock", "2", "echo", "fine", cwd=public)
    assert finished.code == 0, finished.err
    assert "[0] fine" in finished.out
