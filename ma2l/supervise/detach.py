"""A run that goes on without the command that started it.

``start`` splits the process in two before there is a guard. The foreground, which the user's shell waits for, shows
what the child says until all workers run, or until the child has ended, and exits. The child makes a session of its
own, so that no terminal can hang up on it, and goes on as guard and launcher do in every run. It never has the user's
terminal or pipes: its messages travel through a pipe to the foreground, and later only to its log file. A worker whose
log cannot be opened would hold them otherwise, and ``x=$(ma2l ...)`` would not return.
"""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Mapping

from ma2l import log
from ma2l.errors import SystemRefused
from ma2l.linux import processes
from ma2l.linux.wait import READABLE, STOP_SIGNALS, WRITABLE, Waiter
from ma2l.logs.select import console_ranks
from ma2l.plan.spec import Plan
from ma2l.platforms import topology
from ma2l.platforms.bare import BARE

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import NoReturn

    from ma2l.logs.sink import Sink

_FOUND_BY_DEFAULT = ("/tmp", "/dev/shm")


def why_not(environ: Mapping[str, str], pid: int) -> str:
    """Why a run cannot outlive the command that starts it; empty when it can.

    Args:
        pid: this process's own.
    """
    if pid == 1:
        return "as PID 1 its end is the end of this container"
    if environ.get("MA2L_RUN_ID"):
        return f"the run {environ['MA2L_RUN_ID']} that it is part of ends everything it has started"
    platform = topology.current_platform(environ)
    if platform is not BARE:
        return f"{platform.name} ends a container with its command"
    if "KUBERNETES_SERVICE_HOST" in environ:
        return "Kubernetes ends a container with its command"
    return ""


def start() -> int:
    """Split in two and return in the child; the foreground never returns.

    Returns:
        The descriptor for ``hand_over``.

    Raises:
        SystemRefused: the kernel refused a process.
    """
    messages, speaks = os.pipe()
    running, says_running = os.pipe()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # inherited as ignored, the kernel would forget the child's code
    inherited_mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # one that comes now is for the child too
    try:
        child = os.fork()
    except OSError as error:
        raise SystemRefused("detach from this command", str(error.strerror), "raise the limit of processes") from error
    if child:
        os.close(speaks)
        os.close(says_running)
        _foreground(child, messages, running)
    os.close(messages)
    os.close(running)
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, inherited_mask)
    log.use_console(speaks)
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    os.close(nothing)
    return says_running


def hand_over(says_running: int, plan: Plan, ranks: str | None, stop: str, verdict: str) -> None:
    """All workers run: say how to go on without the foreground, and let it go.

    Args:
        says_running: from ``start``.
        ranks: whose output the user wants to see, as ``console_ranks`` takes it.
        stop: the command that stops the run.
        verdict: the file that will tell how the run ended.
    """
    paths = _to_follow(plan, ranks)
    follow = f"follow with `tail -f {shlex.join(paths)}`, " if paths else ""
    end = f"; how it ends will be in {verdict}" if os.path.exists(verdict) else ""
    log.info(f"run {plan.run_id} goes on by itself; {follow}stop with `{stop}`{end}")
    if not paths:
        log.warning(f"what its ranks write is lost, as there are no logs in {plan.log_dir}; --join=True would show it")
    log.flush()  # whoever reads this leaves with the byte
    try:
        os.write(says_running, b"1")
    except BrokenPipeError:
        log.error("the command that started this run was killed before it could say how to stop it")
        os.kill(os.getpid(), signal.SIGTERM)
    os.close(says_running)


def _to_follow(plan: Plan, ranks: str | None) -> list[str]:
    """The logs of the ranks that were asked for, else one as an example; none where they could not be opened."""
    shown = console_ranks(ranks, plan.world_size, terminal=False)
    logs = [(spec.number, spec.log) for spec in plan.processes if spec.number is not None and spec.log]
    there = [(number, path) for number, path in logs if os.path.exists(path)]
    chosen = [path for number, path in there if shown(number)] if ranks not in (None, "all") else []
    return chosen or [path for _, path in there[:1]]


def stop_command(run_id: str, run_dir: str) -> str:
    """What a user types to stop a run; its directory is looked for in the places of that user's environment."""
    place = os.path.dirname(run_dir)
    return f"ma2l stop {run_id}" if place in _FOUND_BY_DEFAULT else f"TMPDIR={shlex.quote(place)} ma2l stop {run_id}"


def tell(run_dir: str, line: str) -> None:
    """Say in the guard what became of the launcher: to the foreground if it is still there, and in the log file."""
    from ma2l import runs

    log.console().write(line.encode())
    run = runs.read(run_dir)
    if run is not None:
        with open(run.launcher_log, "a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} ERROR {line.partition(' ')[2]}")


def _foreground(child: int, messages: int, running: int) -> NoReturn:
    """Show what the child says and pass stop signals on, until all workers run (0) or it has ended (its code). A child
    that was told to stop may still start its workers before it looks: then its end is waited for."""
    code = 70
    try:
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # in the background of a terminal that stops writers
        waiter, console = Waiter(), log.console()
        os.set_blocking(messages, False)
        done = asked = False
        while not done:
            wakeup = waiter.wait([(running, READABLE), (messages, READABLE)] if not console.pending else
                                 [(running, READABLE), (console.fd, WRITABLE)])  # fmt: skip
            for signum in wakeup.signals:
                if signum in STOP_SIGNALS:
                    os.kill(child, signum)  # a zombie at worst: only this process can reap it
                    asked = True
            if running in wakeup.ready:
                if not os.read(running, 1):
                    done, code = True, _exit_code(child)
                elif not asked:
                    done, code = True, 0
            console.flush()
            if done or messages in wakeup.ready:
                _copy(messages, console)
        while console.pending and not any(s in STOP_SIGNALS for s in waiter.wait([(console.fd, WRITABLE)]).signals):
            console.flush()
    finally:
        os._exit(code)


def _copy(messages: int, console: Sink) -> None:
    """All that has been said so far."""
    try:
        while data := os.read(messages, 65536):
            console.write(data)
    except BlockingIOError:
        return


def _exit_code(child: int) -> int:
    """Of a child that has closed everything it had: it is about to be gone, if it is not yet."""
    return processes.exit_code(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
