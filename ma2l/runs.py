"""Which runs of this user are alive on this node: the registry behind ``ma2l stop``.

A run's private directory (``site.make_run_dir``) is its entry, so nothing is kept anywhere else. Guard and launcher
hold a ``flock`` on it from before the first worker, which the kernel gives up when the last of the two is gone, however
it ended: a free lock is a dead run after a restart of the machine too, and waiting for it is waiting for the end.
``run.json`` in it, from when all workers run, says whom to signal.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Mapping

from ma2l import log, site
from ma2l.errors import ConfigError
from ma2l.linux import processes
from ma2l.linux.files import write_whole
from ma2l.records import asdict, dataclass, fields

FILE = "run.json"
_ASKED = "stopping"
"""Made by the first ``ma2l stop``: a second one that only waits must not be the signal that kills."""
_SECOND = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


@dataclass(frozen=True)
class Run:
    """One run, as it entered itself."""

    run_id: str
    pid: int
    """Whom to signal: the guard, or the launcher as PID 1."""
    started: int
    """Start time of that process in clock ticks since boot: a pid may have been given away again."""
    namespace: str
    """PID namespace in which the pid counts, such as ``pid:[4026531836]``; containers may share ``/tmp``."""
    log_dir: str
    launcher_log: str
    command: tuple[str, ...]
    """With secrets masked."""
    detached: bool


def pid_namespace() -> str:
    """This process's own; empty where the kernel has none."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def enter(run_dir: str, run: Run) -> bool:
    """Write the entry, whole or not at all; returns whether it could be written. Failing is no reason to end a run."""
    import json

    try:
        write_whole(json.dumps(asdict(run)), f"{run_dir}/{FILE}")
    except OSError as error:
        log.warning(f"`ma2l stop` will not find this run: {run_dir}/{FILE} cannot be written ({error.strerror})")
        return False
    return True


def find(environ: Mapping[str, str]) -> tuple[dict[str, Run], dict[str, Run]]:
    """Look for this user's runs.

    Returns:
        Those that are alive, and those that ended without removing their directory (guard and launcher were killed),
        by directory.
    """
    alive: dict[str, Run] = {}
    ended: dict[str, Run] = {}
    prefix = site.run_dir_prefix()
    for place in dict.fromkeys(site.run_dir_places(environ)):
        try:
            names = sorted(name for name in os.listdir(place) if name.startswith(prefix))
        except OSError:  # no such place on this node, or closed to us: then no run of ours is there either
            continue
        for name in names:
            path = f"{place}/{name}"
            try:
                run, held = _look(path)
            except (FileNotFoundError, NotADirectoryError):  # it ended meanwhile, or its workers do not run yet
                continue
            except OSError as error:  # a link, or of somebody else who chose our name
                log.warning(f"{path} is left alone: {error.strerror}")
                continue
            if run is not None:
                (alive if held else ended)[path] = run
    return alive, ended


def read(run_dir: str) -> Run | None:
    """The entry of one run, ``None`` where there is none."""
    try:
        return _look(run_dir)[0]
    except OSError:  # not entered yet
        return None


def match(runs: Mapping[str, Run], word: str) -> list[str]:
    """The runs that a user may mean: by id, by the beginning of an id, or by the log directory."""
    log_dir = os.path.realpath(word)
    exact = [path for path, run in runs.items() if run.run_id == word]
    beginning = [path for path, run in runs.items() if word and run.run_id.startswith(word)]
    return exact or beginning or [path for path, run in runs.items() if os.path.realpath(run.log_dir) == log_dir]


def outermost(runs: Mapping[str, Run]) -> list[str]:
    """Without those that another one started and will end: the launchers of a mock, run scripts that call ma2l."""
    here = pid_namespace()
    below = {pid for run in runs.values() if run.namespace == here for pid in processes.descendants(run.pid)}
    return [path for path, run in runs.items() if run.namespace != here or run.pid not in below]


def stop(run_dir: str, run: Run, now: bool) -> None:
    """Ask a run to stop and wait, without a limit, until its guard and launcher are gone.

    Args:
        run_dir: its directory, as ``find`` returned it.
        now: kill instead of waiting for the workers, whether or not it has been asked to stop.

    Raises:
        ConfigError: its processes cannot be seen from here.
    """
    try:
        lock = os.open(run_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)  # before the run removes it
    except FileNotFoundError:
        return
    try:
        if _first_to_ask(lock) or now:
            _signal(run, now)
        fcntl.flock(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)
    if os.path.isdir(run_dir):  # guard and launcher were killed meanwhile, or our file came in while it was emptied
        site.remove_run_dir(run_dir)


def _first_to_ask(directory: int) -> bool:
    try:
        os.close(os.open(_ASKED, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory))
    except FileExistsError:
        return False
    except OSError:  # the directory is being removed, or the disk is full
        return True
    return True


def _signal(run: Run, now: bool) -> None:
    """Signal the run's own process, unless that has gone: then the launcher is already ending what is left."""
    if run.namespace != pid_namespace():
        raise ConfigError(
            f"stop run {run.run_id}", "it runs in another container", f"run `ma2l stop {run.run_id}` there"
        )
    state = processes.state(run.pid)
    if state is None or state[1] != run.started:
        return
    try:
        os.kill(run.pid, signal.SIGTERM)
        if now:  # another signal than the first: two of the same, if both are still pending, arrive as one
            os.kill(run.pid, next((s for s in _SECOND if not processes.ignores(run.pid, s)), signal.SIGKILL))
        if state[0] == "T":  # stopped by Ctrl-Z it would not act
            os.kill(run.pid, signal.SIGCONT)
    except ProcessLookupError:
        return


def _look(path: str) -> tuple[Run | None, bool]:
    """Read an entry; and whether the lock on its directory is held.

    Raises:
        OSError: there is none, or it is not ours.
    """
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(directory).st_uid != os.getuid():  # /tmp is everybody's
            raise PermissionError(1, "it belongs to another user")
        file = os.open(FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
        with open(file, "rb") as stream:
            run = _parse(stream.read())
        if run is None:
            log.warning(f"{path} is left alone: its {FILE} is not what ma2l writes")
        return run, _held(directory)
    finally:
        os.close(directory)


def _held(directory: int) -> bool:
    try:
        fcntl.flock(directory, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(directory, fcntl.LOCK_UN)
    return False


def _parse(content: bytes) -> Run | None:
    """The entry, or ``None`` when it is no entry; a pid below 1 would be a whole group to ``kill``."""
    import json

    try:
        data = json.loads(content.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or set(data) != {field.name for field in fields(Run)}:
        return None
    texts = (data["run_id"], data["namespace"], data["log_dir"], data["launcher_log"])
    numbers = (data["pid"], data["started"])
    command = data["command"]
    if not (all(isinstance(t, str) for t in texts) and all(type(n) is int and n > 0 for n in numbers)):
        return None
    if not (isinstance(command, list) and all(isinstance(word, str) for word in command)):
        return None
    return Run(**{**data, "command": tuple(command), "detached": data["detached"] is True})
