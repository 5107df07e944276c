"""On a terminal and in the shell's job control: keys reach each worker once, and nothing survives."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ma2l.linux import processes
from tests.integration.harness import MA2L, Running, assert_nothing_left, until

Script = Callable[..., str]
CALM = """\
trap 'echo term >> "got.$RANK"; exit 0' TERM; trap 'echo cont >> "got.$RANK"' CONT; trap 'echo int >> "got.$RANK"' INT
touch "ready.$RANK"; while :; do sleep 1000 & wait; done
"""


class Terminal:
    """A terminal with ma2l as the leader of its session, as below ``ssh -t``, or below a shell with job control."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()

    def run(self, *words: str, cwd: str, shell: bool = False) -> Running:
        def control() -> None:
            fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
            settings = termios.tcgetattr(self.slave)
            settings[3] |= termios.TOSTOP  # background processes that write are stopped
            termios.tcsetattr(self.slave, termios.TCSANOW, settings)
            if shell:
                job = os.fork()
                signal.signal(signal.SIGTTOU, signal.SIG_IGN if job else signal.SIG_DFL)
                if job:
                    os.setpgid(job, job)
                    os.tcsetpgrp(self.slave, job)
                    os.closerange(3, 1000)  # one of them tells Popen that the program has been executed
                    os._exit(processes.exit_code(os.waitstatus_to_exitcode(os.waitpid(job, 0)[1])))
                os.setpgid(0, 0)

        return Running(*words, cwd=cwd, stdin=self.slave, stdout=self.slave, stderr=self.slave, preexec_fn=control)

    def job(self, running: Running) -> int:
        """The pid of ma2l below a shell: the guard's."""
        return processes.children(running.pid)[0]

    def press(self, key: bytes) -> None:
        os.write(self.master, key)

    def hang_up(self) -> None:
        os.close(self.slave)
        os.close(self.master)
        self.master = self.slave = -1


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    opened = Terminal()
    yield opened
    if opened.master >= 0:
        opened.hang_up()


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def ready(here: str, ranks: int) -> Callable[[], bool]:
    return lambda: len(list(Path(here).glob("ready.*"))) == ranks


@pytest.mark.parametrize(("key", "code"), [(b"\x03", 130), (b"\x1c", 131)])
def test_a_key_that_stops_reaches_each_worker_once_as_sigterm(
    here: str, script: Script, terminal: Terminal, key: bytes, code: int
) -> None:
    with terminal.run("--mock", "2", "--stop-grace", "3600", script(CALM), cwd=here) as running:
        until(ready(here, 2))
        terminal.press(key)
        assert running.finish().code == code
    assert [Path(here, f"got.{rank}").read_text() for rank in range(2)] == ["term\n", "term\n"]


def test_ctrl_z_freezes_the_workers_and_cont_thaws_them(here: str, script: Script, terminal: Terminal) -> None:
    with terminal.run("--mock", "2", script(CALM), cwd=here, shell=True) as running:
        until(ready(here, 2))
        guard = terminal.job(running)
        (launcher,) = processes.children(guard)
        workers = processes.children(launcher)
        terminal.press(b"\x1a")
        until(lambda: [state(pid) for pid in (guard, *workers)] == ["T"] * 3)
        assert state(launcher) != "T"
        os.kill(guard, signal.SIGCONT)
        until(lambda: all(Path(here, f"got.{rank}").exists() for rank in range(2)))
        terminal.press(b"\x03")
        assert running.finish().code == 130


def test_stopped_by_ctrl_z_and_then_ended_by_the_shell(here: str, script: Script, terminal: Terminal) -> None:
    with terminal.run("--mock", "2", "--stop-grace", "3600", script(CALM), cwd=here, shell=True) as running:
        until(ready(here, 2))
        guard = terminal.job(running)
        terminal.press(b"\x1a")
        until(lambda: state(guard) == "T")
        os.kill(guard, signal.SIGTERM)
        os.kill(guard, signal.SIGCONT)  # as a shell's `kill %1` does
        assert running.finish().code == 143


def test_ctrl_z_stops_nothing_where_no_shell_could_continue_it(here: str, script: Script, terminal: Terminal) -> None:
    with terminal.run("--mock", "2", "--stop-grace", "3600", script(CALM), cwd=here) as running:
        until(ready(here, 2))
        terminal.press(b"\x1a")
        terminal.press(b"\x03")
        assert running.finish().code == 130
    assert [Path(here, f"got.{rank}").read_text() for rank in range(2)] == ["term\n", "term\n"]


def test_who_asks_for_sigtstp_otherwise_gets_it(here: str, script: Script, terminal: Terminal) -> None:
    with terminal.run("--mock", "1", script(CALM), cwd=here) as running:
        until(ready(here, 1))
        running.send(signal.SIGTSTP)
        until(lambda: state(running.pid) == "T")
        running.send(signal.SIGCONT)
        terminal.press(b"\x03")
        assert running.finish().code == 130


def test_a_terminal_that_hangs_up_stops_the_run(here: str, script: Script, terminal: Terminal) -> None:
    with terminal.run("--mock", "2", "--stop-grace", "3600", script(CALM), cwd=here) as running:
        until(ready(here, 2))
        terminal.hang_up()
        assert running.finish().code == 129


def test_sigkill_of_the_whole_foreground_group_leaves_nothing(here: str, script: Script, terminal: Terminal) -> None:
    with terminal.run("--mock", "2", script(CALM), cwd=here) as running:
        until(ready(here, 2))
        os.killpg(running.pid, signal.SIGKILL)
        assert running.finish().code == 137


def test_a_launcher_that_was_frozen_while_its_guard_was_killed_ends_the_workers(here: str, script: Script) -> None:
    with Running("--mock", "2", script(CALM), cwd=here) as running:
        until(ready(here, 2))
        launcher = running.launcher
        os.kill(launcher, signal.SIGSTOP)
        os.kill(running.pid, signal.SIGKILL)
        os.kill(launcher, signal.SIGCONT)
        assert running.finish().code == 137


def test_in_the_background_of_a_shell_without_a_terminal(here: str, script: Script) -> None:
    command = f"{' '.join(MA2L)} --mock 2 --log-dir logs {script('exit 6')} < /dev/null & wait $!"
    done = subprocess.run(["sh", "-c", command], cwd=here, start_new_session=True, capture_output=True, timeout=60)
    assert_nothing_left()
    assert done.returncode == 6, done.stderr


@pytest.mark.parametrize("repetition", range(10))
def test_a_launcher_that_dies_at_once_is_noticed(here: str, repetition: int) -> None:
    with Running("--mock", "2", "sleep", "1000", cwd=here) as running:
        os.kill(running.launcher, signal.SIGKILL)
        assert running.finish().code == 137


def shown_until(terminal: Terminal, text: bytes) -> bytes:
    """What appears on the terminal, up to that text."""
    shown = b""
    while text not in shown:
        shown += os.read(terminal.master, 65536)
    return shown


def test_a_wait_and_a_stop_are_one_line_that_changes(here: str, script: Script, terminal: Terminal) -> None:
    deaf = script("trap '' TERM; touch ready.$RANK; while :; do sleep 1000 & wait; done")
    words = ("--mock", "2", "--mock-table-delay", "2.5", "--stop-grace", "3", "--log-dir", "logs", deaf)
    with terminal.run(*words, cwd=here) as running:
        waited = shown_until(terminal, b"started 2 processes")
        until(ready(here, 2))
        terminal.press(b"\x03")
        stopped = shown_until(terminal, b"killing what did not stop")
        running.finish()
    assert b"\r\x1b[Kstill initializing, 0 of 1800 s\r\x1b[K" in waited
    assert b"\r\x1b[Kwaiting for 2 processes, 1 of 3 s\r\x1b[K" in stopped


def test_quiet_is_quiet(here: str, script: Script, terminal: Terminal) -> None:
    with terminal.run("--mock", "1", "--quiet", "--log-dir", "logs", script("exit 0"), cwd=here) as running:
        assert running.finish().code == 0
        os.write(terminal.slave, b"END")
        lines = shown_until(terminal, b"END").decode().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("\x1b[33mma2l: warning: MOCK: ")
