"""Reads result files from a directory, or a bucket: names first, then only what is a figure or a node's result."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Mapping

from ma2l.records import dataclass
from ma2l.results.figures import LARGEST, Source, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ma2l.results.figures import Content

NODE_RESULT = re.compile(r"(?P<node>node\d{1,9})\.result(?:\.attempt(?P<attempt>\d{1,9}))?\.json")
"""Names of what ``collect`` writes for one node; the last attempt's is its result."""
LARGEST_RESULT = 16 * 2**20
MOST = 1_000_000
"""Files of a directory that are looked at."""


@dataclass(frozen=True)
class Found:
    """What lies in one place."""

    source: Source
    runs: tuple[Mapping[str, object], ...]
    """The nodes' results that lie beside the figures."""


def found(names: Iterable[str], read: Callable[[str, int], Content], called: str) -> Found:
    """Read what matters.

    Args:
        names: paths of all files, relative to the place.
        read: gives at most so many bytes of a file and one more, or why it cannot.
        called: the place's name in messages, empty where it is the only one.
    """
    files: dict[str, Content] = {}
    results: dict[str, tuple[int, Mapping[str, object]]] = {}
    for name in names:
        if kind_of(name):
            files[name] = read(name, LARGEST)
        elif match := NODE_RESULT.fullmatch(name):
            run, attempt = _run(read(name, LARGEST_RESULT)), int(match["attempt"] or 1)
            if run is not None and attempt >= results.get(match["node"], (0, run))[0]:
                results[match["node"]] = attempt, run
    runs = tuple(run for _, run in results.values())
    servers = {run.get("server") for run in runs}
    (server,) = servers if len(servers) == 1 else (None,)
    return Found(Source(files, called, server if isinstance(server, int) else None), runs)


def of_directory(path: str, called: str = "") -> Found:
    """What lies in a directory and in its directories with a server's number.

    Raises:
        OSError: it cannot be read.
    """
    return found(files_of(path), lambda name, limit: read(os.path.join(path, name), limit), called)


def files_of(path: str) -> list[str]:
    """Relative paths of the files in a directory, and one level below where the name is a number."""
    names: list[str] = []
    with os.scandir(path) as entries:
        for entry in entries:
            if len(names) >= MOST:
                break
            if entry.name.isascii() and entry.name.isdecimal() and entry.is_dir():
                try:
                    names += [f"{entry.name}/{name}" for name in os.listdir(entry.path)]
                except OSError:  # somebody else's; its figures are named as missing
                    continue
            else:
                names.append(entry.name)
    return sorted(names)


def read(path: str, limit: int) -> Content:
    """The content of a regular file, or why there is none; one byte more than the limit where it is larger."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:  # a pipe would block
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return "it is no regular file"
            return file.read(limit + 1)
    except OSError as error:
        return str(error.strerror)


def _run(content: Content) -> Mapping[str, object] | None:
    """A node's result, ``None`` where it is none: the figures tell without it."""
    if isinstance(content, str) or len(content) > LARGEST_RESULT:
        return None
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None
