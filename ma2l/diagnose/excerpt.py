"""The lines of a log that tell how its process ended: a Python traceback, a crash dump, or simply the last ones. Pure.

Source of the forms: CPython's ``traceback.py`` and ``faulthandler.c``; frameworks put a prefix such as ``[rank0]: ``
in front of each line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ma2l.diagnose.signatures import known, only_symptoms
from ma2l.records import dataclass

LAST_LINES = 15
WHOLE = 12
"""A traceback of no more lines than this is shown whole."""
LONGEST = 400
"""Bytes of a line that are shown."""
_MESSAGE = 4
"""Lines of an exception's own text that are shown: CANN writes the cause below the first."""
_START = b"Traceback (most recent call last):"
_CRASH = b"Fatal Python error: "
_CHAIN = (b"During handling of the above exception, another", b"The above exception was the direct cause of")
_SIDE_SHOW = re.compile(
    rb"^\s*(Exception (ignored )?in[ :]|Process \S+:$)"
    rb"|^\S*(KeyboardInterrupt|EOFError|BrokenPipe)|^\S*elastic\S*(ChildFailedError|SignalException)"
)
_TELLING = re.compile(rb"error|fatal|exception|fail|killed|abort|refused|denied", re.IGNORECASE)
_RANK = re.compile(rb"\[rank\d+\]: ")
"""What torch puts in front of an exception that nobody has caught."""
_CARETS = re.compile(rb"(\[rank\d+\]:)?[ ~^]*")
_UNSEEN = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x1f\x7f]")
_PREFIX = re.compile(r"^(\[rank\d+\]:\s*|\(\w+ pid=\d+\)\s*)+")


@dataclass(frozen=True)
class Excerpt:
    """What is shown of a log."""

    lines: tuple[bytes, ...]
    error: str
    """The one line that says most, empty when the log is."""
    traceback: bool
    """Whether the lines are a Python traceback or a dump of Python's stacks, which need no heading."""
    fatal: bool
    """Whether the process seems to have died of it: it is no interruption and hardly anything follows."""
    rest: bytes = b""
    """The log from the traceback's beginning on."""


@dataclass(frozen=True)
class _Traceback:
    start: int
    error: int
    """The line with the exception's name."""
    end: int
    """After the last line."""


def excerpt(log: bytes, by_signal: bool = False) -> Excerpt:
    """Choose the lines.

    Args:
        log: the end of the log.
        by_signal: whether a signal ended the process, so that a traceback far above the end has not.
    """
    lines = [_shown(line) for line in log.rstrip(b"\r\n \0").split(b"\n")]
    if lines == [b""]:
        return Excerpt((), "", False, False)
    if by_signal:
        crash = max((n for n, line in enumerate(lines) if line.startswith(_CRASH)), default=None)
        if crash is not None:
            return Excerpt(tuple(_crash(lines[crash:])), readable(lines[crash]), True, True)
    tracebacks = _tracebacks(lines)
    found = _main(lines, tracebacks)
    fatal = found is not None and not _is_side_show(lines, found) and not _survived(lines, found, tracebacks)
    if found is None or (by_signal and not fatal):
        return _last(lines)
    return Excerpt(
        tuple(_cut(lines, found)), readable(lines[found.error]), True, fatal, b"\n".join(lines[found.start :])
    )


def readable(line: bytes) -> str:
    """A line as text for a message, without colours, control characters and the prefix of its framework."""
    return _PREFIX.sub("", visible(line.decode(errors="replace")).strip())


def visible(text: str) -> str:
    """A text without what would act on a terminal instead of being shown."""
    return _UNSEEN.sub("", text)


def _shown(line: bytes) -> bytes:
    """A line as a terminal would leave it: progress bars overwrite themselves."""
    line = line.rstrip(b"\r").rpartition(b"\r")[2]
    return line if len(line) <= LONGEST else line[:LONGEST] + b" ..."


def _last(lines: Sequence[bytes]) -> Excerpt:
    last = lines[-LAST_LINES:]
    telling = [line for line in last if _TELLING.search(line)] or [line for line in last if line.strip()]
    return Excerpt(tuple(last), readable(telling[-1]) if telling else "", False, False)


def _tracebacks(lines: Sequence[bytes]) -> list[_Traceback]:
    found = []
    after = 0
    for start, line in enumerate(lines):
        if start < after or not line.rstrip().endswith(_START) or start + 1 == len(lines):
            continue
        prefix = line[: line.index(_START)]
        if not lines[start + 1].startswith(prefix + b"  "):
            prefix = b""  # a logger writes its own prefix on the first line only
        error = start + 1
        while error < len(lines) and lines[error].startswith(prefix + b" "):
            error += 1
        if error in (start + 1, len(lines)):  # no frame, or killed while it was written
            continue
        after = error + 1
        while after < min(len(lines), error + _MESSAGE) and _belongs(lines[after].removeprefix(prefix)):
            after += 1
        found.append(_Traceback(start, error, after))
    return found


def _belongs(line: bytes) -> bool:
    """Whether it goes on with an exception's text. torch's loader puts the traceback of its worker there."""
    return bool(line.strip()) and not line.rstrip().endswith(_START)


def _main(lines: Sequence[bytes], found: Sequence[_Traceback]) -> _Traceback | None:
    """The last one that is not of a helper thread, of a launcher or of a process that was only interrupted.

    Where several ranks write to one log (torchrun), it is the first of those of which they died that is no symptom.
    """
    main = [t for t in found if not _is_side_show(lines, t)]
    last = {rank[0]: t for t in main if (rank := _RANK.match(lines[t.start]))}
    if len(last) > 1:
        ranks = sorted(last.values(), key=lambda t: t.start)
        return next((t for t in ranks if not only_symptoms(known(b"\n".join(lines[t.start : t.end])))), ranks[0])
    chosen = main or found
    return chosen[-1] if chosen else None


def _survived(lines: Sequence[bytes], found: _Traceback, tracebacks: Sequence[_Traceback]) -> bool:
    """Whether much was written between it and the end, or what others printed then."""
    after = next((t.start for t in tracebacks if t.start >= found.end), len(lines))
    return after - found.end > LAST_LINES


def _is_side_show(lines: Sequence[bytes], traceback: _Traceback) -> bool:
    before = lines[traceback.start - 1] if traceback.start else b""
    return bool(_SIDE_SHOW.match(before) or _SIDE_SHOW.match(readable(lines[traceback.error]).encode()))


def _cut(lines: Sequence[bytes], found: _Traceback) -> list[bytes]:
    """Whole, with the cause before it, if that is short; else the last frames and what they raised."""
    start = found.start
    earlier = _tracebacks(lines[:start])[-1:]
    if earlier and not any(words in b"\n".join(lines[earlier[0].error : start]) for words in _CHAIN):
        earlier = []
    if earlier and found.end - earlier[-1].start <= WHOLE:
        start = earlier[-1].start
    if found.end - start <= WHOLE:
        return list(lines[start : found.end])
    message = lines[found.error : found.end]
    cause = [lines[earlier[-1].error], b"  ... which led to:"] if earlier else []
    room = WHOLE - len(message) - len(cause) - 2
    frames = [line for line in lines[start + 1 : found.error] if not _CARETS.fullmatch(line)]
    last = frames[-room:]
    if b'  File "' not in last[0]:  # the line of a frame that is left out
        del last[0]
    return [*cause, lines[found.start], b"  ...", *last, *message]


def _crash(lines: Sequence[bytes]) -> list[bytes]:
    """The crash and the stack of the thread that crashed."""
    current = next((n for n, line in enumerate(lines) if line.startswith(b"Current thread ")), 1)
    stack: list[bytes] = []
    for line in lines[current : current + WHOLE - 1]:
        if stack and not line.startswith(b" "):
            break
        stack.append(line)
    return [lines[0], *stack]
