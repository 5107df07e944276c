"""What the kernel shows of children, by its own list and by looking through all processes."""

from __future__ import annotations

import builtins
import os
import signal
import sys
import threading

import pytest

from ma2l.linux import processes
from ma2l.supervise import killer
from tests.unit.conftest import InChild

real_open, real_exists = builtins.open, os.path.exists


@pytest.fixture(params=["children file", "scan"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs on this kernel and on one without CONFIG_PROC_CHILDREN."""

    def without(path: object, *words: object, **options: object) -> object:
        if str(path).endswith("/children"):
            raise FileNotFoundError(2, "No such file or directory")
        return real_open(path, *words, **options)  # type: ignore[call-overload]

    if request.param == "scan":
        monkeypatch.setattr(builtins, "open", without)
        monkeypatch.setattr(os.path, "exists", lambda path: not str(path).endswith("/children") and real_exists(path))


def sleeping(name: bytes = b"") -> int:
    """A child that waits for a signal, maybe under another name."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            if name:
                with real_open("/proc/self/comm", "wb") as file:
                    file.write(name)
            os.close(writer)
            os.close(reader) if os.fork() else signal.pause()
            signal.pause()
        finally:
            os._exit(1)
    os.close(writer)
    os.close(reader)
    return pid


def end(pid: int) -> None:
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def until_one_child(pid: int) -> list[int]:
    while not (found := processes.children(pid)):
        os.sched_yield()
    return found


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("name", [b"", b") 1 (x y", b"a b) S 1 1"])
def test_children_of_a_process_whatever_its_name(name: bytes) -> None:
    pid = sleeping(name)
    try:
        (grandchild,) = until_one_child(pid)
        assert pid in processes.children(os.getpid())
        assert grandchild not in processes.children(os.getpid())
        assert [p for p in processes.descendants(os.getpid()) if p in (pid, grandchild)] == [pid, grandchild]
        assert processes.children(grandchild) == []
    finally:
        end(pid)


@pytest.mark.usefixtures("_way")
def test_children_that_a_thread_started() -> None:
    started: list[int] = []
    done, checked = threading.Event(), threading.Event()

    def start() -> None:
        started.append(os.posix_spawn("/bin/sleep", ["sleep", "1000"], {}))
        done.set()
        checked.wait(60)

    thread = threading.Thread(target=start)
    thread.start()
    done.wait(60)
    try:
        assert started[0] in processes.children(os.getpid())
    finally:
        checked.set()
        thread.join()
        os.kill(started[0], signal.SIGKILL)
        os.waitpid(started[0], 0)


@pytest.mark.usefixtures("_way")
def test_a_zombie_is_a_child_and_a_process_that_has_gone_has_none() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert pid in processes.children(os.getpid())
    os.waitpid(pid, 0)
    assert pid not in processes.children(os.getpid())
    assert processes.children(pid) == []


def test_a_process_that_proc_hides_has_no_children_to_see(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(_path: object) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", hidden)
    assert processes.children(1) == []


def test_reaping_gives_codes_and_says_whether_a_child_is_left(in_child: InChild) -> None:
    def body() -> None:
        assert processes.reap() == ([], False)
        alive = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
        ends = {}
        for code in (0, 3, 255):
            ends[os.posix_spawn("/bin/sh", ["sh", "-c", f"exit {code}"], {})] = code
        for signum in (signal.SIGKILL, signal.SIGSEGV, signal.SIGRTMIN + 3):
            ends[os.posix_spawn("/bin/sh", ["sh", "-c", f"ulimit -c 0; kill -{int(signum)} $$"], {})] = -signum
        for pid in ends:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        ended, left = processes.reap()
        assert (dict(ended), left) == (ends, True)
        assert processes.reap() == ([], True)
        os.kill(alive, signal.SIGKILL)
        os.waitid(os.P_PID, alive, os.WEXITED | os.WNOWAIT)
        assert processes.reap() == ([(alive, -9)], False)

    in_child(body)


def test_a_stopped_child_is_not_an_ended_one(in_child: InChild) -> None:
    def body() -> None:
        pid = os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
        assert processes.reap() == ([], True)
        os.kill(pid, signal.SIGKILL)

    in_child(body)


@pytest.mark.parametrize(("returncode", "code"), [(0, 0), (7, 7), (255, 255), (-9, 137), (-15, 143)])
def test_the_shells_view_of_a_return_code(returncode: int, code: int) -> None:
    assert processes.exit_code(returncode) == code


def test_shells_are_known_by_their_executable() -> None:
    shell = os.posix_spawn("/bin/sh", ["python3", "-c", "kill -STOP $$"], {})
    python = os.posix_spawn(sys.executable, ["sh", "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"], {})
    for pid in (shell, python):
        os.waitid(os.P_PID, pid, os.WSTOPPED)
    assert (processes.is_shell(shell), processes.is_shell(python)) == (True, False)
    for pid in (shell, python):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert not processes.is_shell(shell)


def test_whether_a_process_has_a_handler() -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        assert processes.catches(os.getpid(), signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        assert not processes.catches(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not processes.catches(2**22 + 1, signal.SIGUSR1)


def test_a_descendant_of_another_user_does_not_save_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []

    def kill(pid: int, _signum: int) -> None:
        sent.append(pid)
        if pid in (11, -11):
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", kill)
    monkeypatch.setattr(os, "killpg", lambda group, signum: kill(-group, signum))
    monkeypatch.setattr(processes, "descendants", lambda _pid: [10, 11, 12])
    killer.kill_everything([11, 12])
    assert sent == [-11, -12, 10, 11, 12]


def test_state_and_start_time_of_a_process() -> None:
    pid = sleeping(b"a) R (b")
    until_one_child(pid)
    started = processes.start_time(pid)
    assert 0 < processes.start_time(os.getpid()) <= started
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED)
    assert processes.state(pid) == ("T", started)
    end(pid)
    assert processes.state(pid) is None
    assert processes.start_time(pid) == 0


def test_whether_a_process_ignores_a_signal(in_child: InChild) -> None:
    def look() -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGUSR2, signal.SIG_DFL)
        assert processes.ignores(os.getpid(), signal.SIGUSR1)
        assert not processes.ignores(os.getpid(), signal.SIGUSR2)

    in_child(look)


def test_a_child_hears_a_stop_again_once_it_has_become_its_program() -> None:
    """Before its exec it has this process's handler, as a shell's child has the shell's."""
    reader, writer = os.pipe()
    go, going = os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        pid = os.fork()
        if pid == 0:
            os.write(writer, b"+")
            os.read(go, 1)
            os.execv("/bin/sleep", ["sleep", "1000"])
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.read(reader, 1)
    assert killer.ask_again({pid}) == {pid}
    os.kill(pid, signal.SIGTERM)  # lost: the handler belongs to a program that is about to vanish
    os.write(going, b"+")
    while processes.only_forked(pid):
        os.sched_yield()
    assert killer.ask_again({pid}) == set()
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGTERM
    for fd in (reader, writer, go, going):
        os.close(fd)
