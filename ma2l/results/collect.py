"""What a node does with its ranks' figures when a run has ended well: read its own, write its result, say a line.

Nothing waits for another node. On ModelArts the directory is the node's own and the platform uploads it; where it is
shared, the last node to end finds the figures of all and writes the whole job's result as well. Servers that are jobs
of their own may start so far apart that one has ended before another begins: its figures lie there already and would
look like an earlier run's, but for its result, which names the job and has the same numbers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

from ma2l.linux.files import write_whole
from ma2l.records import dataclass, replace
from ma2l.results import merge, sources
from ma2l.results.figures import LARGEST, Figures, Kind, Source, figures, kind_of, parse
from ma2l.results.job import result_of
from ma2l.results.merge import Result
from ma2l.results.show import as_json

WHOLE = "result.json"
Stamps = Mapping[str, "tuple[int, int, int]"]
"""Inode, size and time of the last change (ns) by relative path."""


@dataclass(frozen=True)
class Request:
    """One node's share."""

    directory: str
    """Where its ranks wrote."""
    log_dir: str
    """Where the result goes if it cannot go there."""
    name: str
    """Name of this node's result file."""
    ranks: tuple[int, ...]
    """Own ranks, counted per server where each is a job of its own."""
    world_size: int
    server: int | None = None
    """Own server, where each is a job of its own."""
    servers: int = 0
    """How many there are then."""
    mock: bool = False
    started: float | None = None
    """Seconds since 1970."""
    ended: float | None = None
    job: str = ""
    """What all nodes call this start of the job, and no other is called; empty where nothing is known to be that."""
    required: bool = False
    """Whether somebody wants to hear of it even if no rank wrote anything."""


@dataclass(frozen=True)
class Collected:
    """What came of it."""

    result: Result
    path: str | None
    """Where the node's result was written; ``None`` where that failed."""
    complaints: tuple[str, ...] = ()
    """Files that could not be written."""
    whole: Result | None = None
    """The whole job's, where its figures are all here and this node does not have them all itself."""


def stamps(directory: str) -> Stamps:
    """How the figures look that lie there already; a run must not take an earlier one's for its own."""
    found = {}
    for name in _figures_in(directory):
        try:
            status = os.stat(os.path.join(directory, name))
        except OSError:  # removed meanwhile
            continue
        found[name] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def collect(request: Request, before: Stamps) -> Collected | None:
    """Read, write, answer; ``None`` where no own rank wrote anything and nobody insists.

    Args:
        before: from ``stamps``, before the start.
    """
    now = stamps(request.directory)
    unchanged = {name for name, stamp in now.items() if before.get(name) == stamp}
    scope = merge.node_scope(request.ranks, request.world_size, request.server, request.servers)
    own = [name for name in now if _is_own(kind_of(name, request.server), request)]
    mine = _read(request, [name for name in own if name not in unchanged])
    if not (mine.named or mine.accuracy or request.required):
        return None
    stale = merge.folded([f"{name} was left by an earlier run" for name in own if name in unchanged])
    run = merge.Run(request.mock, _local(request.started), _local(request.ended))
    result = merge.merge(mine, scope, run, (*merge.wrong_size(mine, request.world_size), *stale))
    servers = request.servers if request.server is not None else 0
    size = request.world_size
    more = {"world_size": size, "servers_of_job": servers, "server": request.server, "job": request.job}
    path, complaints = _write(as_json(result, **more), request)
    whole = None
    if not result.whole:
        whole = _whole(request, unchanged)
        if whole:
            complaints += _put(as_json(whole), os.path.join(request.directory, WHOLE))
    return Collected(result, path, complaints, whole)


def _read(request: Request, names: Sequence[str]) -> Figures:
    files = {name: sources.read(os.path.join(request.directory, name), LARGEST) for name in names}
    return figures([Source(files, server=request.server)])


def _is_own(kind: Kind | None, request: Request) -> bool:
    """A rank's own figure; accuracy and number of ranks are rank 0's."""
    if kind is None or kind.server != request.server:
        return False
    return (kind.rank if kind.what == "throughput" else 0) in request.ranks


def _whole(request: Request, unchanged: set[str]) -> Result | None:
    """The whole job's result if all of its figures, of this run, are here."""
    try:
        place = sources.of_directory(request.directory)
    except OSError:  # it has gone meanwhile; the node's own result is written
        return None
    runs = tuple(run for run in place.runs if run.get("job") == request.job)
    measured = {figure for run in runs for figure in _measured(run)} if request.job else set()
    files = {
        name: content
        for name, content in place.source.files.items()
        if name not in unchanged or (kind_of(name), parse(content)) in measured
    }
    result = result_of([replace(place, runs=runs, source=replace(place.source, files=files, server=None))])
    return result if result.complete else None


def _measured(run: Mapping[str, object]) -> list[tuple[Kind, object]]:
    """The figures that a node's result has. The file may be anybody's and hold anything."""
    listed = run.get("ranks")
    ranks = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    said = [("throughput", one.get("server"), one.get("rank"), one.get("throughput")) for one in ranks]
    said.append(("accuracy", run.get("server"), -1, run.get("accuracy")))
    return [
        (Kind(what, server, rank), value)
        for what, server, rank, value in said
        if isinstance(server, (int, type(None))) and isinstance(rank, int) and isinstance(value, float)
    ]


def _figures_in(directory: str) -> list[str]:
    try:
        return [name for name in sources.files_of(directory) if kind_of(name)]
    except OSError:  # not there yet, or not ours: then nobody wrote there
        return []


def _local(epoch: float | None) -> str | None:
    return None if epoch is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch))


def _write(text: str, request: Request) -> tuple[str | None, tuple[str, ...]]:
    """Beside the figures, or where that cannot be, beside the logs."""
    complaints: tuple[str, ...] = ()
    for directory in (request.directory, request.log_dir):
        path = os.path.join(directory, request.name)
        refused = _put(text, path)
        if not refused:
            return path, complaints
        complaints += refused
    return None, complaints


def _put(text: str, path: str) -> tuple[str, ...]:
    """Write a file whole or not at all."""
    try:
        write_whole(text, path)
    except OSError as error:
        return (f"cannot write {path}: {error.strerror}",)
    return ()
