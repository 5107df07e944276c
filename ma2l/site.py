"""Gathers what a plan needs to know of this host and this moment: directories, ports, addresses, CPUs."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from ma2l import log
from ma2l.errors import ConfigError, GaveUpWaiting, Stopped, SystemRefused
from ma2l.linux import net
from ma2l.linux.wait import STOP_SIGNALS, Waiter
from ma2l.logs.names import Names
from ma2l.plan.spec import Site
from ma2l.platforms.base import Platform
from ma2l.settings import Settings

TYPE_CHECKING = False  # what binding needs is not imported where nothing is bound
if TYPE_CHECKING:
    from ma2l.plan.binding import Processors

NAME_TIMEOUT = 300.0
"""Seconds for the name of node 0 to appear in DNS: the pods of a job start minutes apart."""
_LOOK_AGAIN = 1.0
_TELLING_PID = 300
"""What every machine has given away by the time that somebody logs in (RESERVED_PIDS of the kernel)."""


def new_run_id() -> str:
    """Start time and pid: tells runs on one machine apart and sorts by time.

    Containers with PID namespaces of their own have the same few pids, and may share ``/tmp`` and start in one second;
    there chance takes the pid's place.
    """
    pid = os.getpid()
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{pid if pid >= _TELLING_PID else os.urandom(3).hex()}"


def gather(
    settings: Settings,
    environ: Mapping[str, str],
    platform: Platform,
    node_number: int,
    *,
    program: str,
    run_id: str,
    run_dir: str,
    master_ip: str,
    restarts: int = 0,
) -> Site:
    """Look at the host; nothing is written.

    Args:
        node_number: the number in the names of this node's files.
        restarts: how often the run has been started again in place.
    """
    wanted = settings.log_dir or platform.log_dir(environ) or default_log_dir(run_id)
    log_dir = writable(os.path.abspath(wanted), run_id)
    attempts = [int(text) for text in platform.texts(environ, "attempt") if text.isascii() and text.isdecimal()]
    first, second = net.free_ports(2)
    return Site(
        environ=environ,
        program=program,
        run_id=run_id,
        run_dir=run_dir,
        log_dir=log_dir,
        attempt=_unused_attempt(log_dir, node_number, max([1, *attempts]) + restarts),
        restarts=restarts,
        cpus=len(os.sched_getaffinity(0)),
        ports=(first, second),
        master_ip=master_ip,
        processors=processors(environ) if settings.bind != "none" else None,
    )


def processors(environ: Mapping[str, str]) -> Processors:
    """Where CPUs and NPUs are; runs npu-smi, which takes its time.

    Args:
        environ: environment for npu-smi.
    """
    from ma2l.ascend import topo
    from ma2l.linux import numa
    from ma2l.plan.binding import Processors

    return Processors(numa.by_core(os.sched_getaffinity(0)), numa.nodes(), topo.find(environ))


def default_log_dir(run_id: str) -> str:
    """``ma2l-log/<run>`` in the working directory, or in the temporary one if that has been removed."""
    try:
        here = os.getcwd()
    except FileNotFoundError:
        here = _temporary()
    return os.path.join(here, "ma2l-log", run_id)


def make_run_dir(run_id: str, environ: Mapping[str, str]) -> str:
    """Make the node-local directory (0700) for the files of one run.

    Raises:
        SystemRefused: no place for temporary files is writable.
    """
    problem = ""
    for base in run_dir_places(environ):
        path = f"{base}/{run_dir_prefix()}{run_id}"
        try:
            os.mkdir(path, 0o700)
            return path
        except OSError as error:
            problem = f"{path}: {error.strerror}"
    raise SystemRefused("make a directory for this run", problem, "set TMPDIR to a writable directory on this node")


def attempt_dir(run_dir: str, restarts: int) -> str:
    """The directory for the files of one attempt, below the run's from the first restart on: none of them is there.

    Raises:
        SystemRefused: the file system refused.
    """
    if not restarts:
        return run_dir
    path = f"{run_dir}/attempt{restarts + 1}"
    try:
        os.mkdir(path, 0o700)
    except OSError as error:
        raise SystemRefused(f"make the directory {path}", str(error.strerror)) from None
    return path


def run_dir_places(environ: Mapping[str, str]) -> list[str]:
    """Where directories of runs are made, the preferred one first."""
    return [os.path.abspath(base) for base in (environ.get("TMPDIR"), "/tmp", "/dev/shm") if base]


def run_dir_prefix() -> str:
    """How the names of this user's begin."""
    return f"ma2l-{os.getuid()}-"


def hold_run_dir(path: str) -> bool:
    """Lock the directory of a run until this process and those it forks have ended, for ``ma2l.runs``.

    Returns:
        False where the file system has no locks (a shared one); then ``ma2l stop`` cannot find the run.
    """
    import fcntl

    try:
        fcntl.flock(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        log.detail(f"{path} cannot be locked: {error.strerror}")
        return False
    return True


def remove_run_dir(path: str) -> None:
    """Remove what ``make_run_dir`` made and everything below it; what cannot be removed is only noted."""
    try:
        for directory, names, files in os.walk(path, topdown=False):
            for name in (*files, *names):
                entry = os.path.join(directory, name)
                os.rmdir(entry) if os.path.isdir(entry) and not os.path.islink(entry) else os.unlink(entry)
        os.rmdir(path)
    except OSError as error:
        log.detail(f"cannot remove {path}: {error.strerror}")


def write_file(content: bytes, path: str, mode: int) -> None:
    """Write a new file into the run's own directory or a directory below it, where nobody else can be writing.

    Args:
        mode: its permission bits.

    Raises:
        SystemRefused: the file system refused.
    """
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(content)
    except OSError as error:
        raise SystemRefused(f"write {path}", str(error.strerror)) from None


def address_of(name: str, waiter: Waiter) -> str:
    """The IP of node 0, whose name may appear in DNS later than we ask.

    Raises:
        ConfigError: no host can have that name.
        GaveUpWaiting: it did not appear in ``NAME_TIMEOUT`` seconds.
        Stopped: a stop signal arrived.
    """
    if net.is_address(name):
        return name
    give_up = time.monotonic() + NAME_TIMEOUT
    said = False
    while True:
        address, wakeup = net.resolve(name, waiter, give_up)
        if not address and not wakeup.signals:
            if ":" in name or not name.strip("0123456789. "):  # a mistyped IP; a variable of a script that is not set
                raise ConfigError(
                    f"find the address of node 0, {name!r}", "it is neither an IP nor a name", "correct it"
                )
            if not said:
                log.start()
                log.info(f"waiting up to {NAME_TIMEOUT:.0f} s for the name {name} to be known")
                said = True
            log.status(f"{name} is not known yet, {max(0.0, give_up - time.monotonic()):.0f} s left")
            wakeup = waiter.wait((), min(time.monotonic() + _LOOK_AGAIN, give_up))
        for signum in wakeup.signals:
            if signum in STOP_SIGNALS:
                raise Stopped(signum)
        if address:
            return address
        if time.monotonic() >= give_up:
            raise GaveUpWaiting(
                f"find the address of node 0, {name}", f"it is not known after {NAME_TIMEOUT:.0f} s",
                "check the name, or pass --master-addr with an IP",
            )  # fmt: skip


def writable(wanted: str, run_id: str) -> str:
    """The log directory, or a temporary one if that cannot be written: logs must not decide whether training runs."""
    existing = wanted
    while not os.path.exists(existing):
        existing = os.path.dirname(existing)
    if os.path.isdir(existing) and os.access(existing, os.W_OK | os.X_OK):
        return wanted
    fallback = f"{_temporary()}/ma2l-log-{os.getuid()}/{run_id}"
    problem = f"{existing} is not writable" if os.path.isdir(existing) else f"{existing} is no directory"
    log.warning(f"the log directory {wanted} cannot be used ({problem}); logs go to {fallback}")
    return fallback


def _unused_attempt(log_dir: str, node_number: int, attempt: int) -> int:
    """The first number from ``attempt`` on under which this node has left no plan in the directory."""
    while os.path.exists(Names(log_dir, f"node{node_number}", attempt=attempt).plan()):
        attempt += 1
    return attempt


def _temporary() -> str:
    return os.environ.get("TMPDIR") or "/tmp"
