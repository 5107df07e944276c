"""The report on standard error: what happened first, its last lines, and where to look. Quiet after a success."""

from __future__ import annotations

import os
import signal

from ma2l.diagnose.outcome import Hang, Outcome, ProcessEnd, manner

LAST_LINES = 15
_LAST_BYTES = 64 * 1024


def verdict(outcome: Outcome) -> str:
    """The run's end in one line; empty after a success."""
    if outcome.cause == "signal":
        name = signal.Signals(outcome.signum or 0).name
        return f"stopped by {name}; exit code {outcome.exit_code}"
    if outcome.cause == "guard died":
        return f"the guard process was killed; all workers were killed; exit code {outcome.exit_code}"
    if outcome.hang is not None:
        return f"hang: {outcome.hang.sentence}; exit code {outcome.exit_code}"
    first = outcome.first
    if first is None or first.returncode is None:
        return ""
    others = sum(1 for process in outcome.processes if process.pid is not None) - 1
    stopped = f"; {others} other{'s' if others > 1 else ''} stopped" if others else ""
    node = f", node {outcome.node_rank}" if outcome.node_rank >= 0 else ""
    return (
        f"{first.name} failed first: {manner(first.returncode)} after {first.seconds:.1f} s"
        f" (pid {first.pid}{node}){stopped}; exit code {outcome.exit_code}"
    )


def last_lines(process: ProcessEnd) -> bytes:
    """The last lines of a process's log, with a frame that names the file; empty when it has no log."""
    if process.log is None:
        return b""
    text = last_bytes(process).rstrip(b"\n")
    if not text:
        return f"ma2l: it wrote nothing to {process.log}\n".encode()
    lines = text.split(b"\n")[-LAST_LINES:]
    return b"".join((f"--- last lines of {process.log}\n".encode(), *(line + b"\n" for line in lines), b"---\n"))


def standing(hang: Hang) -> bytes:
    """The innermost frames of the suspect of a hang and where all others are to be found; empty without any."""
    if not hang.frames and not hang.stacks:
        return b""
    shown = [f"    {frame}" for frame in reversed(hang.frames[-LAST_LINES:])]
    head = f"--- {hang.suspect} stands in" if shown else "--- where all ranks stand"
    lines = [head, *shown, f"--- all stacks are in {hang.stacks}" if hang.stacks else "---"]
    return "".join(line + "\n" for line in lines).encode(errors="backslashreplace")


def hints(process: ProcessEnd, scheduler_log: str | None = None) -> list[str]:
    """What the end of its log is known to mean, and what to do.

    Args:
        scheduler_log: log of the dynamic cluster's scheduler, where it runs on this node.
    """
    import yaml

    from ma2l.diagnose.formation import shortfall

    log = last_bytes(process)
    with open(os.path.join(os.path.dirname(__file__), "signatures.yaml"), encoding="utf-8") as file:
        signatures = yaml.safe_load(file)
    known = [s for s in signatures if all(part.encode() in log for part in s["contains"])]
    return [(s.get("scheduler") and shortfall(scheduler_log)) or f"{s['meaning']}; {s['do']}" for s in known]


def last_bytes(process: ProcessEnd) -> bytes:
    """The end of a process's log, empty when it cannot be read."""
    if process.log is None:
        return b""
    try:
        with open(process.log, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LAST_BYTES))
            return file.read()
    except OSError:
        return b""
