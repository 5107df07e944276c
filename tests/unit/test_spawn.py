"""Starting one process, by ``posix_spawn`` and by the fallback for Pythons that lack its session attribute."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ma2l.linux import processes
from ma2l.linux.spawn import spawn
from ma2l.linux.wait import Waiter
from tests.unit.conftest import InChild

GREP, CAT, SH, LS = (shutil.which(name) or name for name in ("grep", "cat", "sh", "ls"))


@pytest.fixture(autouse=True, params=["posix_spawn", "fork"])
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test runs both ways."""

    def refused(*_words: object, **_options: object) -> int:
        raise NotImplementedError("The 'setsid' parameter is not supported by posix_spawn")

    if request.param == "fork":
        monkeypatch.setattr(os, "posix_spawn", refused)


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """No test leaves a child, a descriptor or a blocked signal."""
    before = os.listdir("/proc/self/fd"), signal.pthread_sigmask(signal.SIG_BLOCK, ())
    children = set(processes.children(os.getpid()))
    yield
    assert (os.listdir("/proc/self/fd"), signal.pthread_sigmask(signal.SIG_BLOCK, ())) == before
    assert set(processes.children(os.getpid())) <= children


def start(
    path: Path,
    *argv: str,
    env: dict[str, str] | None = None,
    mask: frozenset[int] = frozenset(),
    stdin: int | None = None,
    cwd: str | None = None,
    cpus: Sequence[int] = (),
    program: str = "",
) -> tuple[bytes, int]:
    """Run to the end; what it wrote, and its pid."""
    output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        pid = spawn(
            program or argv[0], argv, env or {}, output=output, stdin=stdin, mask=mask, cwd=cwd, cpus=cpus
        )  # fmt: skip
    finally:
        os.close(output)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return path.read_bytes(), pid


def script(path: Path, text: str, mode: int = 0o755) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("missing", errno.ENOENT),
        ("not executable", errno.EACCES),
        ("a directory", errno.EACCES),
        ("no #! line", errno.ENOEXEC),
        ("missing interpreter", errno.ENOENT),
        ("arguments too large", errno.E2BIG),
        ("being written", errno.ETXTBSY),
        ("no such working directory", errno.ENOENT),
    ],
)
def test_a_failed_start_has_the_kernels_errno(tmp_path: Path, case: str, expected: int) -> None:
    program, cwd, writer = str(tmp_path / "program"), None, None
    argv: tuple[str, ...] = ("program",)
    if case == "not executable":
        script(tmp_path / "program", "#!/bin/sh\n", 0o644)
    elif case == "a directory":
        (tmp_path / "program").mkdir()
    elif case == "no #! line":
        script(tmp_path / "program", "echo hello\n")
    elif case == "missing interpreter":
        script(tmp_path / "program", "#!/no/such/interpreter\n")
    elif case == "arguments too large":
        program, argv = CAT, ("cat", "x" * 200_000)
    elif case == "being written":
        shutil.copy(CAT, program)
        writer = os.open(program, os.O_WRONLY)
    elif case == "no such working directory":
        program, cwd = CAT, str(tmp_path / "nowhere")
    try:
        with pytest.raises(OSError) as caught:
            spawn(program, argv, {}, output=None, stdin=None, mask=frozenset(), cwd=cwd)
    finally:
        if writer is not None:
            os.close(writer)
    assert caught.value.errno == expected


def test_output_and_input_are_redirected(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_bytes(b"from the file\n")
    with source.open() as file:
        out, _ = start(tmp_path / "out", SH, "-c", "cat; echo error >&2", env={"PATH": "/bin"}, stdin=file.fileno())
    assert out == b"from the file\nerror\n"


def test_no_other_descriptor_is_inherited(tmp_path: Path) -> None:
    with open("/dev/null") as file:
        ours = os.dup2(file.fileno(), 200, inheritable=False)
        out, _ = start(tmp_path / "out", LS, "/proc/self/fd")
        os.close(ours)
    assert {b"0", b"1", b"2"} <= set(out.split())
    assert b"200" not in out.split()


def test_the_process_leads_a_new_session(tmp_path: Path) -> None:
    out, pid = start(tmp_path / "out", CAT, "/proc/self/stat")
    _state, _parent, group, session = out.rpartition(b")")[2].split()[:4]
    assert int(group) == int(session) == pid


def test_arguments_and_environment_pass_byte_for_byte(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff\xfe caf\xc3\xa9 \n")
    out, _ = start(tmp_path / "out", CAT, "/proc/self/environ", env={"ODD": odd, "NAME-WITH-DASH": "1"})
    assert out.split(b"\0") == [b"ODD=" + os.fsencode(odd), b"NAME-WITH-DASH=1", b""]
    out, _ = start(tmp_path / "out", SH, "-c", 'printf %s "$1"', "sh", odd)
    assert out == os.fsencode(odd)


def test_the_first_argument_is_the_name_that_the_program_sees(tmp_path: Path) -> None:
    out, _ = start(tmp_path / "out", "anything", "/proc/self/cmdline", program=CAT)
    assert out.split(b"\0")[0] == b"anything"


def test_mask_and_dispositions_are_those_the_user_gave(in_child: InChild, tmp_path: Path) -> None:
    def body() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # the guard
        Waiter()
        mask = frozenset({signal.SIGUSR2, signal.SIGRTMAX})
        out, _ = start(tmp_path / "out", CAT, "/proc/self/status", mask=mask)
        lines = [line.split() for line in out.decode().splitlines()]
        sets = {words[0]: int(words[1], 16) for words in lines if words[0] in ("SigBlk:", "SigIgn:", "SigCgt:")}
        of_glibc = 1 << 31 | 1 << 32  # signals 32 and 33; its posix_spawn ignores them
        assert sets["SigBlk:"] == 1 << signal.SIGUSR2 - 1 | 1 << signal.SIGRTMAX - 1
        assert sets["SigIgn:"] & ~of_glibc == 1 << signal.SIGHUP - 1
        assert sets["SigCgt:"] == 0

    in_child(body)


def test_a_signal_during_the_start_stays_with_the_launcher(in_child: InChild, tmp_path: Path) -> None:
    def body() -> None:
        waiter = Waiter()
        for _ in range(20):
            os.kill(os.getpid(), signal.SIGUSR1)
            start(tmp_path / "out", CAT, "/dev/null")
        got = waiter.wait().signals
        assert (got.count(signal.SIGUSR1), set(got)) == (20, {signal.SIGUSR1, signal.SIGCHLD})

    in_child(body)


def test_the_working_directory_is_the_processs_alone(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    before = os.getcwd()
    out, _ = start(tmp_path / "out", SH, "-c", "pwd", env={}, cwd=str(tmp_path / "inner"))
    assert out.decode().strip() == str(tmp_path / "inner")
    assert os.getcwd() == before


def test_a_relative_program_is_the_launchers_not_the_new_directorys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    script(tmp_path / "tool", "#!/bin/sh\necho ours\n")
    monkeypatch.chdir(tmp_path)
    out, _ = start(tmp_path / "out", "./tool", cwd="inner")
    assert out == b"ours\n"


def test_it_starts_from_a_directory_that_was_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    out, _ = start(tmp_path / "out", SH, "-c", "pwd", env={}, cwd=str(tmp_path))
    assert out.decode().strip() == str(tmp_path)
    assert os.readlink("/proc/self/cwd").endswith("(deleted)")


def test_cpus_bind_the_process_and_not_the_launcher(tmp_path: Path) -> None:
    allowed = os.sched_getaffinity(0)
    cpu = max(allowed)
    out, _ = start(tmp_path / "out", GREP, "Cpus_allowed_list", "/proc/self/status", cpus=[cpu])
    assert out.split()[1] == str(cpu).encode()
    assert os.sched_getaffinity(0) == allowed


def test_a_refused_start_leaves_directory_and_cpus_as_they_were(tmp_path: Path) -> None:
    before = os.getcwd(), os.sched_getaffinity(0)
    with pytest.raises(FileNotFoundError):
        spawn("/no/such", ("x",), {}, output=None, stdin=None, mask=frozenset(), cwd=str(tmp_path), cpus=[0])
    assert (os.getcwd(), os.sched_getaffinity(0)) == before


def test_a_refused_fork_leaves_no_signal_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_words: object, **_options: object) -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refused)
    if os.posix_spawn.__name__ == "posix_spawn":
        monkeypatch.setattr(os, "posix_spawn", refused)
    with pytest.raises(BlockingIOError):
        spawn(CAT, ("cat",), {}, output=None, stdin=None, mask=frozenset())
