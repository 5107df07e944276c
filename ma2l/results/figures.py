"""From the names and contents of files to figures. What cannot be used is named; nothing is ever made up.

The files are those of Ais-Bench on ModelArts (the ``modelarts_*.patch`` files of ``ais-bench_workload`` in
Ascend/tools): each holds one bare number as text, whatever ``.json`` in its name says.

==============================  ===================================  ======================================
file                            written by                           number
==============================  ===================================  ======================================
throughput_<rank>.json          every rank                           samples per second of its NPU
<server>/throughput_<rank>.json every rank, single-server mode       the same; ranks count per server
accuracy.json                   rank 0                               accuracy
accuracy_<server>.json          rank 0 of a server, single-server    the same
ranksize.json                   rank 0                               number of NPUs (of one server there)
==============================  ===================================  ======================================
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from ma2l.records import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar, Union

    _Key = TypeVar("_Key")
    Content = Union[bytes, str]
    """What a file holds, or as text why it cannot be read."""

LARGEST = 4096
"""Bytes of a file: a number has a few dozen."""
MOST_NPUS = 2**20
"""Four times as many as the largest job that a rank table can describe."""
_THROUGHPUT = re.compile(r"(?:(?P<server>\d{1,9})/)?throughput_(?P<rank>\d{1,9})\.json")
_ACCURACY = re.compile(r"accuracy(?:_(?P<server>\d{1,9}))?\.json")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


@dataclass(frozen=True)
class Source:
    """The files below one directory."""

    files: Mapping[str, Content]
    """Contents by path below the directory."""
    name: str = ""
    """In front of their names in messages, where there are several directories."""
    server: int | None = None
    """Whose figures those are that name no server, where every server is a job of its own."""


@dataclass(frozen=True)
class Figures:
    """What the files of one or several directories say."""

    throughput: Mapping[tuple[int | None, int], float] = field(default_factory=dict)
    """Samples per second by server and rank."""
    accuracy: Mapping[int | None, float] = field(default_factory=dict)
    ranksize: int | None = None
    problems: tuple[str, ...] = ()
    """Files that cannot be used, and why."""
    notes: tuple[str, ...] = ()
    """What is worth a line and changes nothing."""
    named: frozenset[tuple[int | None, int]] = frozenset()
    """Every server and rank of which there is a throughput file, good or bad."""

    def __bool__(self) -> bool:
        return bool(self.named or self.accuracy or self.ranksize is not None or self.problems)


@dataclass(frozen=True)
class Kind:
    """Which figure a file is."""

    what: str
    """``throughput``, ``accuracy`` or ``ranksize``."""
    server: int | None = None
    rank: int = -1
    """For a throughput."""


def kind_of(path: str, server: int | None = None) -> Kind | None:
    """Which figure the file of that relative path is, ``None`` for every other file.

    Args:
        server: whose it is where the path names no server.
    """
    if match := _THROUGHPUT.fullmatch(path):
        return Kind("throughput", int(match["server"]) if match["server"] else server, int(match["rank"]))
    if match := _ACCURACY.fullmatch(path):
        return Kind("accuracy", int(match["server"]) if match["server"] else server)
    return Kind("ranksize", server) if path == "ranksize.json" else None


def figures(sources: Sequence[Source]) -> Figures:
    """Read the files of all sources; others than those of the table are left out."""
    throughput: dict[tuple[int | None, int], list[tuple[str, float | None]]] = {}
    accuracy: dict[int | None, list[tuple[str, float | None]]] = {}
    sizes: dict[str, float | None] = {}
    problems: list[str] = []
    notes: list[str] = []

    def number(path: str, content: Content) -> float | None:
        value = parse(content)
        if isinstance(value, float):
            return value
        problems.append(f"{path} {value}")
        return None

    for source in sources:
        for relative, content in sorted(source.files.items()):
            kind = kind_of(relative, source.server)
            if kind is None:
                continue
            path = f"{source.name}/{relative}" if source.name else relative
            claim = (path, number(path, content))
            if kind.what == "throughput":
                throughput.setdefault((kind.server, kind.rank), []).append(claim)
            elif kind.what == "accuracy":
                accuracy.setdefault(kind.server, []).append(claim)
            else:
                sizes[path] = claim[1]
    return Figures(
        throughput=_single(throughput, problems, notes),
        accuracy=_single(accuracy, problems, notes),
        ranksize=_ranksize(sizes, problems),
        problems=tuple(problems),
        notes=tuple(notes),
        named=frozenset(throughput),
    )


def parse(content: Content) -> float | str:
    """The number in a file, or what is wrong with it, to follow the file's name."""
    if isinstance(content, str):
        return f"cannot be read ({content})"
    if len(content) > LARGEST:
        return f"holds {len(content)} bytes and not a number"
    text = content.decode("utf-8-sig", "replace").strip()
    if not text:
        return "is empty"
    if text.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return f"holds {text}"
    value = float(text) if _NUMBER.fullmatch(text) and text.isascii() else math.nan
    if math.isfinite(value):
        return value
    shown = text if len(text) <= 40 else text[:40] + "..."
    return f"holds {shown.encode('unicode_escape').decode()!r} and not a number"


def _single(
    found: Mapping[_Key, list[tuple[str, float | None]]], problems: list[str], notes: list[str]
) -> dict[_Key, float]:
    """One number for each key; where several files that differ claim to be the same figure none of them counts."""
    single: dict[_Key, float] = {}
    for key, claims in found.items():
        paths = " and ".join(path for path, _ in claims)
        if len({value for _, value in claims}) > 1:
            problems.append(f"{paths} claim to be the same figure and differ")
            continue
        if len(claims) > 1:
            notes.append(f"{paths} are the same figure twice, with the same number")
        if claims[0][1] is not None:
            single[key] = claims[0][1]
    return single


def _ranksize(sizes: Mapping[str, float | None], problems: list[str]) -> int | None:
    """The number of NPUs, where all that say it agree."""
    known = {path: value for path, value in sizes.items() if value is not None}
    whole = {path: int(value) for path, value in known.items() if 1 <= value <= MOST_NPUS and value == int(value)}
    problems += [
        f"{path} holds {value:g}, which is no number of NPUs" for path, value in known.items() if path not in whole
    ]
    if len(set(whole.values())) > 1:
        problems.append(f"{' and '.join(whole)} differ: {', '.join(map(str, whole.values()))}")
        return None
    return next(iter(whole.values()), None)
