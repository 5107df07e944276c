"""What a check answers."""

from __future__ import annotations

from ma2l.records import dataclass

OK, WARN, FAIL, UNKNOWN = "ok", "warn", "fail", "unknown"


@dataclass(frozen=True)
class Finding:
    """One answer."""

    status: str
    """``ok``, ``warn`` (may go wrong), ``fail`` (will go wrong) or ``unknown``."""
    text: str
    """What was seen."""
    fix: str = ""
    """What to do about it."""
    elsewhere: bool = False
    """For a failure: whether another node would do, so that a platform may try again."""


def ok(text: str) -> Finding:
    """All is well."""
    return Finding(OK, text)


def warn(text: str, fix: str) -> Finding:
    """It may go wrong."""
    return Finding(WARN, text, fix)


def fail(text: str, fix: str, elsewhere: bool = False) -> Finding:
    """It will go wrong."""
    return Finding(FAIL, text, fix, elsewhere)


def unknown(text: str) -> Finding:
    """Nobody here can tell."""
    return Finding(UNKNOWN, text)
