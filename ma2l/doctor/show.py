"""Findings as a table, as JSON, and as the few lines that stand before a run."""

from __future__ import annotations

from collections.abc import Sequence

from ma2l.doctor.checks import Check
from ma2l.doctor.finding import FAIL, OK, UNKNOWN, WARN, Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    Findings = Sequence[tuple[Check, Finding]]

_COLOURS = {OK: "\x1b[32m", WARN: "\x1b[33m", FAIL: "\x1b[31m", UNKNOWN: "\x1b[2m"}


def as_json(findings: Findings) -> str:
    """A list of objects."""
    import json

    return (
        json.dumps(
            [{"name": c.name, "why": c.why, "status": f.status, "text": f.text, "fix": f.fix} for c, f in findings],
            indent=1,
        )
        + "\n"
    )


def as_table(findings: Findings, colours: bool) -> str:
    """A line per check, and below one that is not well why it matters and what to do."""
    width = max(len(check.name) for check, _ in findings)
    lines = []
    for check, finding in findings:
        mark, plain = (_COLOURS[finding.status], "\x1b[0m") if colours else ("", "")
        lines.append(f"{mark}{finding.status:<8}{plain}{check.name:<{width}}  {finding.text}")
        if finding.status in (WARN, FAIL):
            lines.append(f"{'':<8}{'':<{width}}  why: {check.why}")
            lines.append(f"{'':<8}{'':<{width}}  fix: {finding.fix}")
    counts = [(status, sum(f.status == status for _, f in findings)) for status in (FAIL, WARN, UNKNOWN, OK)]
    lines.append("")
    lines.append(", ".join(f"{number} {status}" for status, number in counts if number))
    return "\n".join(lines) + "\n"
