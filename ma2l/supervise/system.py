"""The outside world of a run for real: the kernel's processes and signals, the plan's specs and log files."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterable, Mapping, Sequence

from ma2l import log
from ma2l.errors import CommandNotExecutable, CommandNotFound, ConfigError, Ma2lError, SystemRefused
from ma2l.linux import processes
from ma2l.linux.spawn import REFUSED, spawn
from ma2l.linux.wait import Waiter, Wakeup
from ma2l.plan.spec import ProcessSpec, applied
from ma2l.supervise import killer


class System:
    """What a ``Supervisor`` acts on.

    Args:
        specs: the plan's processes.
        environ: the launcher's environment, to which each spec's difference is applied.
        waiter: owns the signals.
    """

    def __init__(self, specs: Sequence[ProcessSpec], environ: Mapping[str, str], waiter: Waiter) -> None:
        self._specs = specs
        self._environ = environ
        self._waiter = waiter
        self._nothing = os.open(os.devnull, os.O_RDWR)
        self._mpirun: dict[int, ProcessSpec] = {}
        self.started_at: dict[int, float] = {}
        """Monotonic seconds at which each process was started."""

    def close(self) -> None:
        """Let go of descriptors, once nothing is to be started any more."""
        os.close(self._nothing)

    def clock(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def spawn(self, worker: int) -> int:
        """Start one process of the plan with its output going to its log.

        Raises:
            Ma2lError: it cannot be started; the class says whether a retry may help.
        """
        spec = self._specs[worker]
        output = self._open_log(spec)
        try:
            pid = spawn(
                spec.program,
                spec.argv,
                applied(spec.env, self._environ),
                output=output,
                stdin=None if spec.stdin else self._nothing,
                mask=self._waiter.inherited_mask,
                cwd=spec.cwd,
                cpus=spec.cpus,
                memory=spec.memory,
            )
        except OSError as error:
            raise explained(error, f"start {spec.name}: {spec.program}", spec.program, spec.cwd) from error
        finally:
            if output is not None:
                os.close(output)
        self.started_at[worker] = self.clock()
        if spec.stop_file is not None:
            self._mpirun[pid] = spec
        return pid

    def wait(self, fds: Iterable[tuple[int, int]], deadline: float | None) -> Wakeup:
        """Block until a signal, a descriptor or the deadline."""
        return self._waiter.wait(fds, deadline)

    def reap(self) -> tuple[list[tuple[int, int]], bool]:
        """Ended children, and whether any child is left."""
        return processes.reap()

    def signal_leader(self, pid: int, signum: int) -> dict[int, bool]:
        """Signal one worker; returns what a shell was running and was signalled too, and whether it heard it."""
        if pid in self._mpirun:
            from ma2l.mpirun.ranks import signal_mpirun

            return signal_mpirun(pid, signum, self._mpirun[pid])
        return killer.signal_leader(pid, signum)

    def ask_again(self, pids: Iterable[int]) -> set[int]:
        """SIGTERM to those that have become a program since; returns the others."""
        return killer.ask_again(pids)

    def children(self) -> list[int]:
        """Own and adopted children."""
        return processes.children(os.getpid())

    def signal_strays(self, signum: int, leaders: Iterable[int]) -> None:
        """Signal what workers left behind."""
        killer.signal_strays(signum, leaders)

    def kill_everything(self, leaders: Iterable[int]) -> None:
        """SIGKILL to the whole tree."""
        killer.kill_everything(leaders)

    def _open_log(self, spec: ProcessSpec) -> int | None:
        """Open the log for appending, so that nothing is ever overwritten; without one the output is inherited."""
        if spec.log is None:
            return None
        try:
            return os.open(spec.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        except OSError as error:
            if error.errno in REFUSED:
                raise SystemRefused(
                    f"open the log {spec.log}", str(error.strerror), "raise the limit of files"
                ) from error
            log.warning(f"{spec.name} writes to the console: its log {spec.log} cannot be opened ({error.strerror})")
            return None


def find_program(name: str, path: str) -> str:
    """Find the executable that a command names, as a shell would.

    Args:
        name: first word of the command.
        path: value of PATH.

    Raises:
        CommandNotFound: there is no such file (127).
        CommandNotExecutable: there is, and it cannot be executed (126).
    """
    candidates = [name] if "/" in name else [f"{directory or '.'}/{name}" for directory in path.split(":")]
    existing = [candidate for candidate in candidates if os.path.isfile(candidate)]
    for candidate in existing:
        if os.access(candidate, os.X_OK):
            return candidate
    if existing:
        raise CommandNotExecutable(f"run {existing[0]}", "it is not executable", f"chmod +x it, or run: python {name}")
    if "/" in name:
        raise _no_program(name)
    here = f"./{name} exists: did you mean `python {name}`? " if os.path.isfile(name) else ""
    raise CommandNotFound(f"run {name}", f"there is no such program in PATH={path}", f"{here}check the name")


def _no_program(path: str) -> Ma2lError:
    """Why there is nothing to run at that path."""
    try:
        kind = "directory" if stat.S_ISDIR(os.stat(path).st_mode) else "device"
    except PermissionError:
        return CommandNotExecutable(f"run {path}", "its directory may not be entered", "check the permissions above it")
    except OSError:
        return CommandNotFound(f"run {path}", "no such file", "check the path")
    return CommandNotExecutable(f"run {path}", f"it is a {kind}", "check the path")


def explained(error: OSError, attempt: str, program: str, cwd: str | None) -> Ma2lError:
    """Say what a failed start means; the kernel names only an errno.

    Args:
        error: from ``spawn`` or ``execve``.
        attempt: what was tried, for the message.
        program: path of the executable.
        cwd: directory it was to run in, or ``None`` for ours.
    """
    reason = str(error.strerror)
    if error.errno in REFUSED:
        return SystemRefused(attempt, reason, "raise the limits of processes and memory of this container")
    if error.errno == errno.ENOEXEC:
        return CommandNotExecutable(attempt, "it has no #! line and is no binary", "add one, such as #!/bin/sh")
    if error.errno == errno.E2BIG:
        return ConfigError(attempt, "its arguments and environment are too large for the kernel", "make them smaller")
    if cwd is not None and not os.path.isdir(cwd):
        return ConfigError(attempt, f"there is no directory {cwd}", "correct --chdir")
    if cwd is not None and not os.access(cwd, os.X_OK):
        return ConfigError(attempt, f"this user may not enter the directory {cwd}", "correct --chdir")
    if error.errno == errno.ENOENT and os.path.exists(program):
        return CommandNotExecutable(attempt, "the interpreter in its #! line does not exist", "correct the #! line")
    if error.errno == errno.ENOENT:
        return CommandNotFound(attempt, reason, "check the path")
    return CommandNotExecutable(attempt, reason, "check its permissions")
