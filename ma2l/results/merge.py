"""Figures become a result, by the rules of Ais-Bench.

A job's throughput is the sum over its ranks, its accuracy the number in ``accuracy.json``. Where every server is a job
of its own both are the mean over the servers. A part of a job has a sum and no throughput of the job, so that it is
never taken for the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ma2l.linux import cpulist
from ma2l.records import dataclass
from ma2l.results.figures import Figures

SCHEMA = 1
"""Version of the result file; it rises when a field changes its meaning or goes."""


@dataclass(frozen=True)
class RankFigure:
    """What one rank measured."""

    rank: int
    throughput: float
    """Samples per second."""
    server: int | None = None

    @property
    def name(self) -> str:
        """``rank 3``, ``rank 3 of server 1``."""
        return f"rank {self.rank}" if self.server is None else f"rank {self.rank} of server {self.server}"


@dataclass(frozen=True)
class ServerFigure:
    """What one server measured, where each is a job of its own; ``None`` where something is missing."""

    server: int
    throughput: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Scope:
    """Which figures are expected, and of what they are all."""

    ranks: tuple[tuple[int | None, int], ...]
    text: str
    """Such as ``ranks 0-7 of 16``, ``server 1 of 2``, ``the whole job``."""
    whole: bool
    """Whether that is the whole job."""
    accuracies: tuple[int | None, ...] = ()
    """Servers whose accuracy may be expected; ``None`` for that of the whole job."""


@dataclass(frozen=True)
class Run:
    """What the launchers know of the run that measured."""

    mock: bool | None = None
    """Whether no NPU was used; ``None`` where nobody says."""
    start: str | None = None
    """Local time, ``YYYY-MM-DD HH:MM:SS``."""
    end: str | None = None


@dataclass(frozen=True)
class Result:
    """What a job, or a part of one, measured. ``docs/reference/results.md`` describes the file made of it."""

    scope: str
    whole: bool
    complete: bool
    """Whether every expected rank has a figure, and no file contradicts another."""
    throughput_ratio: float | None
    """Samples per second of the job, or per server where each is a job of its own; ``None`` for a part."""
    throughput_sum: float | None
    """Over the ranks of the scope; ``None`` where one is missing."""
    accuracy: float | None
    single_server: bool
    mock: bool | None
    start: str | None
    end: str | None
    slowest: RankFigure | None
    spread: float | None
    """How far the fastest and the slowest rank are apart, as a part of their mean."""
    servers: tuple[ServerFigure, ...]
    ranks: tuple[RankFigure, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    schema: int = SCHEMA


def node_scope(ranks: Sequence[int], world_size: int, server: int | None, servers: int) -> Scope:
    """What one node can expect of its own ranks.

    Args:
        ranks: own ranks; counted from 0 on each server in single-server mode.
        world_size: ranks of the job, or of the own server.
        server: own server in single-server mode.
        servers: how many there are then.
    """
    keys = tuple((server, rank) for rank in ranks)
    all_of_it = len(ranks) == world_size
    some = f"ranks {cpulist.text(ranks)} of {world_size}"
    if server is None:
        return Scope(keys, "the whole job" if all_of_it else some, all_of_it, (None,) if 0 in ranks else ())
    text = f"server {server} of {servers}"
    accuracies = (server,) if 0 in ranks else ()
    return Scope(keys, text if all_of_it else f"{some} on {text}", all_of_it and servers == 1, accuracies)


def job_scope(figures: Figures, world_size: int | None, servers: int | None) -> tuple[Scope, tuple[str, ...]]:
    """What the whole job has, and what keeps that from being certain.

    Args:
        world_size: ranks of the job (in single-server mode of one server) as launchers know; ``None`` where none does.
        servers: number of servers that are jobs of their own; 0 where they are not, ``None`` where nobody says.
    """
    # Of Ais-Bench's versions some write accuracy_0.json in any mode: only throughputs tell.
    known = [server for server, _ in figures.named if server is not None]
    single = bool(known) if servers is None else servers > 0
    size, problems = world_size or figures.ranksize, list(wrong_size(figures, world_size))
    if size is None:
        size = max((rank for _, rank in figures.named), default=-1) + 1
        problems.append(f"no usable ranksize.json: nobody knows whether there were more than {size} ranks")
    keys: list[int | None] = [*range(servers or max(known, default=0) + 1)] if single else [None]
    ranks = tuple((server, rank) for server in keys for rank in range(size))
    strange = figures.named - set(ranks)
    problems += [f"{_file(key)} is of no rank of this job" for key in sorted(strange, key=str)]
    return Scope(ranks, "the whole job", True, tuple(keys)), tuple(problems)


def wrong_size(figures: Figures, world_size: int | None) -> tuple[str, ...]:
    """The contradiction between what rank 0 says of the number of ranks and what launchers know, if there is one."""
    if not world_size or figures.ranksize in (None, world_size):
        return ()
    return (f"ranksize.json says {figures.ranksize} ranks, the launchers started {world_size}",)


def merge(figures: Figures, scope: Scope, run: Run, further: Iterable[str] = ()) -> Result:
    """Put the result together.

    Args:
        further: problems that are known already.
    """
    have = {key: figures.throughput[key] for key in scope.ranks if key in figures.throughput}
    ranks = tuple(RankFigure(rank, value, server) for (server, rank), value in have.items())
    missing = [f"{_file(key)} is missing" for key in scope.ranks if key not in figures.named]
    problems = (*further, *figures.problems, *folded(missing))
    complete = len(have) == len(scope.ranks) and not problems
    total = sum(have.values()) if len(have) == len(scope.ranks) else None
    single = bool(scope.ranks) and scope.ranks[0][0] is not None
    servers = _servers(figures, scope) if single else ()
    accuracy = _mean([one.accuracy for one in servers]) if single else _of_the_job(figures)
    ratio = _mean([one.throughput for one in servers]) if single else total
    values = list(have.values())
    mean = sum(values) / len(values) if values else 0.0
    return Result(
        scope=scope.text,
        whole=scope.whole,
        complete=complete,
        throughput_ratio=ratio if scope.whole and complete else None,
        throughput_sum=total,
        accuracy=accuracy if scope.accuracies else None,
        single_server=single,
        mock=run.mock,
        start=run.start,
        end=run.end,
        slowest=min(ranks, key=lambda one: one.throughput, default=None),
        spread=(max(values) - min(values)) / mean if mean else None,
        servers=servers,
        ranks=ranks,
        problems=problems,
        notes=(*figures.notes, *_without_accuracy(figures, scope)),
    )


def folded(lines: Sequence[str], most: int = 8) -> tuple[str, ...]:
    """Many lines of a kind as a few."""
    return tuple(lines) if len(lines) <= most else (*lines[: most - 1], f"and {len(lines) - most + 1} more like these")


def _servers(figures: Figures, scope: Scope) -> tuple[ServerFigure, ...]:
    own: dict[int, list[float | None]] = {}
    for server, rank in scope.ranks:
        if server is not None:
            own.setdefault(server, []).append(figures.throughput.get((server, rank)))
    return tuple(ServerFigure(server, _sum(values), figures.accuracy.get(server)) for server, values in own.items())


def _without_accuracy(figures: Figures, scope: Scope) -> tuple[str, ...]:
    names = [
        "accuracy.json" if key is None else f"accuracy_{key}.json"
        for key in scope.accuracies
        if key not in figures.accuracy and (key is not None or _of_the_job(figures) is None)
    ]
    return folded([f"there is no {name}" for name in names])


def _of_the_job(figures: Figures) -> float | None:
    """The accuracy of a job that is not in single-server mode. Rank 0, which is on the first server, has the word."""
    first = min((server for server in figures.accuracy if server is not None), default=None)
    return figures.accuracy.get(None if None in figures.accuracy else first)


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _mean(values: Sequence[float | None]) -> float | None:
    total = _sum(values)
    return None if total is None or not values else total / len(values)


def _file(key: tuple[int | None, int]) -> str:
    server, rank = key
    return f"throughput_{rank}.json" if server is None else f"{server}/throughput_{rank}.json"


def joint(runs: Sequence[Mapping[str, object]]) -> Run:
    """What several nodes' results say of the run: the first start, the last end, a mock if any of them was one."""
    mocks = [one["mock"] for one in runs if isinstance(one.get("mock"), bool)]
    starts = [one["start"] for one in runs if isinstance(one.get("start"), str)]
    ends = [one["end"] for one in runs if isinstance(one.get("end"), str)]
    return Run(
        mock=any(mocks) if mocks else None,
        start=min(map(str, starts), default=None),
        end=max(map(str, ends), default=None),
    )
