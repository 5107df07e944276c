"""Stop signals and the time limit while a hook runs; what is left behind afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from ma2l.linux.libc import become_subreaper
from ma2l.linux.processes import children
from tests.entrypoint.harness import PATIENCE, Image

LONG = "300"
"""Seconds a hook would take; no test waits for it."""


def _started(image: Image, process: subprocess.Popen[bytes]) -> int:
    """Wait until the hook has written its pid, and return it."""
    path = image.root / "home" / "pid"
    deadline = time.monotonic() + PATIENCE
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        os.sched_yield()
    return int(path.read_text())


def _gone(pid: int) -> bool:
    """Whether the process has ended, or is a zombie of whoever adopted it."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _assert_ends(pid: int) -> None:
    """The process has been killed; the kernel may take its time to carry that out."""
    deadline = time.monotonic() + PATIENCE
    while not _gone(pid):
        assert time.monotonic() < deadline, f"{pid} is still alive"
        os.sched_yield()


HOOKS = {
    "foreground child": f'echo $$ >"$HOME/pid"\nsleep {LONG}\n',
    "deaf": f"trap '' TERM INT HUP QUIT\necho $$ >\"$HOME/pid\"\nsleep {LONG}\n",
    "deaf children": f"(trap '' TERM; exec sleep {LONG}) &\necho $! >\"$HOME/pid\"\nwait\n",
}


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
@pytest.mark.parametrize("text", HOOKS.values(), ids=HOOKS.keys())
def test_a_stop_signal_during_the_hook_ends_it_and_the_boot(image: Image, text: str, signum: signal.Signals) -> None:
    image.hook(text)
    with image.start("echo", "started") as process:
        pid = _started(image, process)
        process.send_signal(signum)
        out, err = process.communicate(timeout=10)  # the hook sleeps for minutes
    assert process.returncode == 128 + signum
    assert out == b""
    assert b"stopped by signal" in err
    _assert_ends(pid)
    assert image.left_over() == []


def test_a_hook_that_takes_too_long_is_ended_and_the_boot_goes_on(image: Image) -> None:
    image.hook(f'export A=1\necho $$ >"$HOME/pid"\nsleep {LONG}\n')
    result = image.result({"MA2L_PRE_START_TIMEOUT": "1"})
    assert "A" not in result.env
    assert any("longer than MA2L_PRE_START_TIMEOUT=1 s" in line for line in result.messages)
    _assert_ends(int((image.root / "home" / "pid").read_text()))
    strict = image.result({"MA2L_PRE_START_TIMEOUT": "1", "MA2L_PRE_START_STRICT": "1"})
    assert strict.code == 203
    assert image.left_over() == []


def test_what_came_before_the_hook_that_hung_is_kept(image: Image) -> None:
    hooks = image.root / "opt" / "pre-start.d"
    image.file(hooks / "1.sh", "export A=1\n")
    image.file(hooks / "2.sh", f"sleep {LONG}\n")
    assert image.dump({"MA2L_PRE_START_TIMEOUT": "1"})["A"] == "1"


def test_helpers_of_the_entrypoint_are_gone_when_the_command_runs(image: Image) -> None:
    image.hook("export A=1\n")
    shown = image.run("sh", "-c", 'read -r children </proc/$$/task/$$/children; echo "$children"; ls -l /proc/$$/fd')
    children, descriptors = shown.out.split(b"\n", 1)
    assert children == b""
    assert b"ma2l-entry" not in descriptors
    assert b"pre-start" not in descriptors


def test_no_zombie_is_left_to_a_command_that_adopts_orphans(image: Image) -> None:
    become_subreaper()
    _reap()  # what earlier tests have left
    image.hook("export A=1\n")
    for _ in range(5):
        assert image.run("true").code == 0
    assert _reap() == []


def _reap() -> list[int]:
    """Collect the zombies among this process's children."""
    zombies = [pid for pid in children(os.getpid()) if _gone(pid)]
    for pid in zombies:
        os.waitpid(pid, 0)
    return zombies


def test_output_is_shown_while_the_hook_runs(image: Image) -> None:
    image.hook(f"echo progress\nsleep {LONG}\n")
    with image.start("true") as process:
        assert process.stderr is not None
        seen = b""
        while b"\nprogress\n" not in seen:
            chunk = os.read(process.stderr.fileno(), 4096)
            assert chunk
            seen += chunk
        process.terminate()
        process.communicate(timeout=10)


def test_a_background_child_outlives_the_hook_and_holds_nothing(image: Image) -> None:
    image.hook(f'sleep {LONG} &\necho $! >"$HOME/pid"\n')
    result = image.run("echo", "started")
    pid = int((image.root / "home" / "pid").read_text())
    alive = not _gone(pid)
    os.kill(pid, signal.SIGKILL)
    assert alive
    assert result.out == b"started\n"
