"""Reads outcome files back, and makes up for those that are missing by looking at the logs.

Everything here may be torn, foreign, binary or huge: whatever cannot be used is left out and said.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Sequence

from ma2l.diagnose.ends import last_bytes
from ma2l.diagnose.excerpt import visible
from ma2l.diagnose.outcome import Hang, Outcome, ProcessEnd
from ma2l.diagnose.report import examine
from ma2l.records import dataclass, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LARGEST = 16 * 1024 * 1024
"""Bytes of an outcome file: far above that of 512 workers."""
LONGEST_TEXT = 4096
"""Characters of a text in an outcome file, of which paths are the longest."""
MOST = 10_000
"""Entries of a directory that are looked at."""
_AGAIN = r"(?:\.attempt(?P<attempt>\d{1,9}))?"
_ASIDE = r"(?P<aside>\.\d{1,9})?"  # how ma2l msrun sets files of an earlier run aside
_NODE = r"(?:node\d{1,9}\.)?"  # where every server is a job of its own
# A node that does not know its number is called by its host's name; a scheduler of its own is on no node.
_OUTCOME = re.compile(rf"(?:node(?:\d{{1,9}}|-[^/]+)|scheduler)\.outcome{_AGAIN}\.json{_ASIDE}")
_LOGS = (
    ("rank", re.compile(rf"{_NODE}worker_(?P<number>\d{{1,9}}){_AGAIN}\.log{_ASIDE}")),
    ("rank", re.compile(rf".+-proc-rank-(?P<number>\d{{1,9}})-device-(?P<device>\d{{1,9}}){_AGAIN}\.txt")),
    ("scheduler", re.compile(rf"{_NODE}scheduler{_AGAIN}\.(?:log|txt){_ASIDE}")),
    ("once", re.compile(rf"node(?P<number>\d{{1,9}}){_AGAIN}\.(?:log|txt){_ASIDE}")),
)
_NEWEST = 10**9
_CAUSES = ("success", "failure", "not started", "called off", "signal", "hang", "guard died")


@dataclass(frozen=True)
class Saved:
    """One run on one node, as its files tell."""

    directory: str
    attempt: tuple[int, int]
    """Number of the attempt, and of the run in this directory; the greatest is the newest."""
    outcome: Outcome
    guessed: bool
    """Whether there is no outcome file, so that the logs alone tell."""
    scheduler_log: str | None


def read_directory(directory: str) -> tuple[list[Saved], list[str]]:
    """The runs whose files lie in a directory, and what could not be used.

    Raises:
        OSError: the directory cannot be read.
    """
    names, complaints = _names(directory)
    logs = _logs(directory, names)
    saved = []
    for name in names:
        match = _OUTCOME.fullmatch(name)
        if match is None:
            continue
        path = os.path.join(directory, name)
        try:
            outcome = parse(_content(path))
        except (OSError, ValueError) as error:
            complaints.append(f"{path} cannot be used ({_why(error)})")
            continue
        attempt = _attempt(match)
        here = _at_home(outcome, directory, match["aside"] or "")
        saved.append(Saved(directory, attempt, here, False, _scheduler(logs, attempt)))
    for attempt in sorted({attempt for attempt, _ in logs}):
        untold = _untold([process for key, process in logs if key == attempt], saved, attempt)
        if untold:
            saved.append(Saved(directory, attempt, _guess(untold), True, _scheduler(logs, attempt)))
    return saved, complaints


def parse(content: bytes) -> Outcome:
    """An outcome from the content of its file; unknown fields are ignored.

    Raises:
        ValueError: it is none.
    """
    try:
        data = json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError as error:  # cut off, binary, or a number that is no number of anything
        raise ValueError("it is torn") from error
    if not isinstance(data, dict) or not isinstance(data.get("processes"), list):
        raise ValueError("it is no outcome file")
    if data.get("cause") not in _CAUSES:
        raise ValueError("it is of a kind that this version does not know")
    first = data.get("first")
    return Outcome(
        run_id=_field(data, "run_id", str, ""),
        node_rank=_field(data, "node_rank", int, -1),
        exit_code=_field(data, "exit_code", int, 0),
        cause=data["cause"],
        first=_process(first) if isinstance(first, dict) else None,
        signum=_field(data, "signum", int, None),
        processes=tuple(_process(item) for item in data["processes"] if isinstance(item, dict)),
        host=_field(data, "host", str, ""),
        log_dir=_field(data, "log_dir", str, ""),
        started_at=_time(data, "started_at"),
        ended_at=_time(data, "ended_at"),
        oom_kills=_field(data, "oom_kills", int, None),
        hang=_hang(data.get("hang")) if data["cause"] == "hang" else None,
        schema=_field(data, "schema", int, 0),
    )


def _process(data: dict[str, Any]) -> ProcessEnd:
    return ProcessEnd(
        name=_field(data, "name", str, "a process"),
        rank=_field(data, "rank", int, None),
        pid=_field(data, "pid", int, None),
        returncode=_field(data, "returncode", int, None),
        seconds=_time(data, "seconds"),
        log=_field(data, "log", str, None),
        device=_field(data, "device", str, None),
        ended_at=_time(data, "ended_at"),
    )


def _hang(data: Any) -> Hang | None:
    if not isinstance(data, dict) or not isinstance(data.get("sentence"), str):
        return None
    frames = data.get("frames")
    return Hang(
        suspect=_field(data, "suspect", str, "a process"),
        sentence=_text(data["sentence"]),
        frames=tuple(_text(frame) for frame in frames if isinstance(frame, str)) if isinstance(frames, list) else (),
        stacks=_field(data, "stacks", str, None),
    )


def _field(data: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    value = data.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        return default
    if isinstance(value, str):
        return _text(value)
    return default if isinstance(value, int) and abs(value) >= 1 << 53 else value


def _text(value: str) -> str:
    """What somebody else wrote, as a part of one line."""
    return visible(value[:LONGEST_TEXT])


def _time(data: dict[str, Any], name: str) -> float | None:
    value = data.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) < 1e12:
        return None
    return float(value)


def _names(directory: str) -> tuple[list[str], list[str]]:
    names: list[str] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if len(names) == MOST:
                return sorted(names), [f"{directory} has more than {MOST} entries; only some were looked at"]
            names.append(entry.name)
    return sorted(names), []


def _content(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no file")
        if status.st_size > LARGEST:
            raise ValueError("it is too large")
        return file.read(LARGEST)


def _why(error: Exception) -> str:
    return str(error.strerror if isinstance(error, OSError) else error)


def _attempt(match: re.Match[str]) -> tuple[int, int]:
    groups = match.groupdict()
    return int(groups["attempt"] or 1), int((groups.get("aside") or f".{_NEWEST}")[1:])


def _logs(directory: str, names: Iterable[str]) -> list[tuple[tuple[int, int], ProcessEnd]]:
    """The logs of processes by attempt; their last change stands for the end of the process."""
    found = []
    for name in names:
        for role, pattern in _LOGS:
            match = pattern.fullmatch(name)
            if match is None:
                continue
            path = os.path.join(directory, name)
            groups = match.groupdict()
            number = int(groups["number"]) if "number" in groups else None
            rank = number if role == "rank" else None
            title = f"rank {rank}" if role == "rank" else f"the program of node {number}" if role == "once" else role
            end = ProcessEnd(title, rank, None, None, None, path, groups.get("device"), _changed(path))
            found.append((_attempt(match), end))
            break
    return found


def _changed(path: str) -> float | None:
    try:
        return os.stat(path).st_mtime
    except OSError:  # removed meanwhile, or a link to nowhere
        return None


def _at_home(outcome: Outcome, directory: str, aside: str) -> Outcome:
    """Its logs where they lie now: beside the outcome file, set aside as it was, wherever they were written. A path
    that somebody else wrote is never opened."""

    def moved(process: ProcessEnd) -> ProcessEnd:
        name = os.path.basename(process.log or "")
        path = os.path.join(directory, name + aside)
        return replace(process, log=path if name and os.access(path, os.R_OK) else None)

    first = moved(outcome.first) if outcome.first else None
    hang = outcome.hang
    if hang and hang.stacks:  # never set aside: its name has the time
        hang = replace(hang, stacks=os.path.join(directory, os.path.basename(hang.stacks)))
    return replace(outcome, first=first, processes=tuple(map(moved, outcome.processes)), log_dir="", hang=hang)


def _scheduler(logs: Sequence[tuple[tuple[int, int], ProcessEnd]], attempt: tuple[int, int]) -> str | None:
    return next((end.log for key, end in logs if key == attempt and end.name == "scheduler"), None)


def _untold(logs: Sequence[ProcessEnd], saved: Iterable[Saved], attempt: tuple[int, int]) -> list[ProcessEnd]:
    """The logs of which no outcome file tells: on shared storage those of a node whose file is missing. mpirun's
    outcome stands for all of its ranks."""
    told = [process for run in saved if run.attempt == attempt for process in run.outcome.processes]
    if any(process.name == "mpirun" for process in told):
        return []
    paths = {process.log for process in told}
    return [process for process in logs if process.log not in paths]


def _guess(logs: Sequence[ProcessEnd]) -> Outcome:
    """An outcome from logs alone: the first whose log names a cause has failed first; else the first with a symptom."""
    logs = sorted(logs, key=lambda end: (end.ended_at or 0.0, end.rank or 0))
    looked = [examine(end, last_bytes(end.log)) for end in logs]
    causes = [evidence.process for evidence in looked if evidence.names_a_cause]
    symptoms = [evidence.process for evidence in looked if evidence.known or evidence.excerpt.traceback]
    first = next(iter(causes or symptoms), None)
    ends = [end.ended_at for end in logs if end.ended_at is not None]
    return Outcome(
        run_id="",
        node_rank=-1,
        exit_code=0,
        cause="failure" if first else "success",
        first=first,
        signum=None,
        processes=tuple(logs),
        ended_at=max(ends, default=None),
    )
