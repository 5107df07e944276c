"""Known errors: what a log is known to mean, who must act and what to do. They are written in ``signatures.yaml``."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import cache

from ma2l.records import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PATH = os.path.join(os.path.dirname(__file__), "signatures.yaml")
WHO = {
    "user": "the user: program, data or settings",
    "platform": "whoever runs the platform: image, driver, network, scheduling",
    "hardware": "whoever replaces the hardware; a run on another node may help",
}
_FOR = {"platform": " (for whoever runs the platform)", "hardware": " (a fault of hardware or links)"}


@dataclass(frozen=True)
class Signature:
    """One known error."""

    id: str
    kind: str
    """``primary``, or ``secondary`` for a symptom that a rank shows because another one has failed."""
    who: str
    """Who must act; a key of ``WHO``."""
    meaning: str
    do: str
    texts: tuple[bytes, ...]
    """A log that contains one of these shows the error."""
    pattern: re.Pattern[bytes] | None
    """So does one in which this is found."""
    vague: bool
    """Says little; only used where the log shows nothing else."""
    scheduler: bool
    """The log of MindSpore's scheduler may tell more."""

    @property
    def primary(self) -> bool:
        """Whether it is a cause and not a symptom."""
        return self.kind == "primary"

    def shows(self, log: bytes) -> bool:
        """Whether the log shows this error."""
        return any(text in log for text in self.texts) or bool(self.pattern and self.pattern.search(log))

    def __str__(self) -> str:
        return f"{self.meaning}; {self.do}{_FOR.get(self.who, '')}"


@cache
def load() -> tuple[Signature, ...]:
    """All of them, the more specific ones before those that say less."""
    with open(PATH, encoding="utf-8") as file:
        return tuple(map(_signature, entries(file.read())))


def entries(text: str) -> list[dict[str, Any]]:
    """The file's entries. Importing yaml takes longer than all the rest of a report, and somebody waits for the end of
    the run, so this reads what the file needs of YAML: one line per field, its value plain or as JSON."""
    import json

    found: list[dict[str, Any]] = []
    for line in text.splitlines():
        if line.startswith("- "):
            found.append({})
        if line.startswith(("- ", "  ")):
            name, _, value = line[2:].partition(": ")
            found[-1][name] = json.loads(value) if value[0] in '"[' or value == "true" else value
    return found


def known(log: bytes) -> list[Signature]:
    """The errors that a log shows, causes before symptoms, in the order of the file."""
    if not log:
        return []
    found = [signature for signature in load() if signature.shows(log)]
    telling = [signature for signature in found if not signature.vague] or found
    return sorted(telling, key=lambda signature: not signature.primary)


def only_symptoms(found: Sequence[Signature]) -> bool:
    """Whether something is known, and none of it is a cause."""
    return bool(found) and not any(signature.primary for signature in found)


def _signature(entry: dict[str, Any]) -> Signature:
    text = entry.get("text", [])
    pattern = entry.get("pattern")
    return Signature(
        id=entry["id"],
        kind=entry["kind"],
        who=entry["who"],
        meaning=entry["meaning"],
        do=entry["do"],
        texts=tuple(item.encode() for item in ([text] if isinstance(text, str) else text)),
        pattern=re.compile(pattern.encode()) if pattern else None,
        vague=entry.get("vague", False),
        scheduler=entry.get("scheduler", False),
    )
