"""Start one process in its own session, with its output going straight to a file.

``posix_spawn`` is used because it does not copy the launcher's page tables: its time does not grow with the launcher.
It has no attribute for working directory, CPU affinity or memory policy; they are set on this thread around the call
and inherited.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping, Sequence

_TO_DEFAULT = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTTOU)
"""Ignored here and not by the user: Python ignores the first two at its start, the guard the third."""
REFUSED = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
"""With these the system refuses a process or a descriptor for now; a later try may succeed."""


def spawn(
    program: str,
    argv: tuple[str, ...],
    env: Mapping[str, str],
    *,
    output: int | None,
    stdin: int | None,
    mask: frozenset[int],
    cwd: str | None = None,
    cpus: Sequence[int] = (),
    memory: Sequence[int] = (),
) -> int:
    """Start ``program`` as the leader of a new session and return its pid.

    Args:
        program: path of the executable, seen from this process's directory; no search is done.
        argv: arguments, the first being the name the program sees; bytes that are not UTF-8 pass unchanged.
        env: the complete environment.
        output: descriptor that becomes standard output and error; ``None`` inherits both.
        stdin: descriptor that becomes standard input; ``None`` inherits it.
        mask: signals blocked in the new process.
        cwd: working directory, or ``None`` for this process's.
        cpus: CPUs to run on from the first instruction; empty inherits.
        memory: NUMA nodes that all of its memory must come from; empty inherits.

    Raises:
        OSError: the program could not be executed (ENOENT, EACCES, ENOEXEC, E2BIG, ...) or the system refused a
            process (EAGAIN, ENOMEM), the CPUs (EINVAL) or the memory (as ``ma2l.linux.mempolicy``).
    """
    wanted = [(0, stdin), (1, output), (2, output)]
    redirections = [(fd, target) for target, fd in wanted if fd is not None]
    here = os.open(".", os.O_PATH) if cwd is not None else None
    allowed = os.sched_getaffinity(0) if cpus else None
    try:
        if cwd is not None:
            program = os.path.abspath(program)
            os.chdir(cwd)
        if cpus:
            os.sched_setaffinity(0, cpus)
        if memory:
            from ma2l.linux.mempolicy import StrictMemory

            with StrictMemory(memory):
                return _spawn(program, argv, env, redirections, mask)
        return _spawn(program, argv, env, redirections, mask)
    finally:
        if allowed is not None:
            os.sched_setaffinity(0, allowed)
        if here is not None:
            os.fchdir(here)
            os.close(here)


def _spawn(
    program: str,
    argv: tuple[str, ...],
    env: Mapping[str, str],
    redirections: list[tuple[int, int]],
    mask: frozenset[int],
) -> int:
    try:
        return os.posix_spawn(
            program,
            argv,
            env,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, target) for fd, target in redirections],
            setsid=True,
            setsigmask=mask,
            setsigdef=_TO_DEFAULT,
        )
    except NotImplementedError:  # Pythons built against glibc 2.17 (conda, manylinux) lack POSIX_SPAWN_SETSID
        return fork_spawn(program, argv, env, redirections, mask)


def fork_spawn(
    program: str,
    argv: tuple[str, ...],
    env: Mapping[str, str],
    redirections: list[tuple[int, int]],
    mask: frozenset[int],
) -> int:
    """The same by ``fork`` and ``exec``; the errno of a failed ``exec`` comes back through a close-on-exec pipe.

    Signals stay blocked from before the fork until just before the exec: a handler that ran in the child would write
    into the launcher's wake-up pipe, and the launcher would see a signal it never got.
    """
    reader, writer = os.pipe()
    with open(reader, "rb") as pipe:
        launcher_mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                _become(program, argv, env, redirections, mask, writer)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, launcher_mask)
            os.close(writer)
        problem = pipe.read()
    if problem:
        os.waitpid(pid, 0)
        raise OSError(int(problem), os.strerror(int(problem)), program)
    return pid


def _become(
    program: str,
    argv: tuple[str, ...],
    env: Mapping[str, str],
    redirections: list[tuple[int, int]],
    mask: frozenset[int],
    report: int,
) -> None:
    """In the forked child: never returns into the launcher's code, whatever happens."""
    try:
        os.setsid()
        for fd, target in redirections:
            os.dup2(fd, target)
        for signum in _TO_DEFAULT:
            signal.signal(signum, signal.SIG_DFL)
        for signum in signal.valid_signals():
            if callable(signal.getsignal(signum)):
                signal.signal(signum, signal.SIG_DFL)  # before unblocking: the launcher's handlers must not run here
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.execve(program, argv, env)
    except OSError as error:
        os.write(report, str(error.errno).encode())
    finally:
        os._exit(127)
