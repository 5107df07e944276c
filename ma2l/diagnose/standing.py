"""Where each rank stands, read from stacks as text, and which rank stands where no other does.

Two texts are read: ours (``ma2l.diagnose.stacks``), and what Python's faulthandler prints at SIGABRT, as documented in
"Dumping the traceback" of the ``faulthandler`` module (``Current thread 0x... (most recent call first):`` and lines
``  File "net.py", line 7 in train``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ma2l.records import dataclass

RANK = "=== "
"""In front of a rank's name."""
_RANK = re.compile(rf"{RANK}(.+) \(pid \d+\)")
_THREAD = re.compile(r"  threads? (\d*)")
_PROCESS = re.compile(r"process (\d+): state (\S)")
_FRAME = re.compile(r"    (\S.*:\d+\))$")
_KERNEL = re.compile(r"  thread \d+.*, in the kernel: (\w+)")
_ABORTED = b"Fatal Python error: Aborted\n"
_PRINTED = re.compile(rb"[Tt]hread 0x[0-9a-f]+[^\n]*\(most recent call first\):\n((?:  File [^\n]*\n)*)")
_FAULT_FRAME = re.compile(rb'  File "([^"\n]*)", line (\d+) in ([^\n]*)\n')
_DIRECTORY = re.compile(r"\((?:.*/)(?=[^/]*:\d+\)$)")

STOPPED = ("T", "t")
"""Process states of a process that SIGSTOP or a debugger keeps from running."""


@dataclass(frozen=True)
class Stack:
    """Where a rank's main thread stands."""

    frames: tuple[str, ...]
    """``function (file:line)``, outermost first; without Python frames what the kernel says of it."""
    stopped: bool = False
    """Whether somebody has stopped the process: then its frames tell nothing."""
    python: bool = True

    @property
    def place(self) -> str:
        """The innermost frame, for a sentence: without the file's directory."""
        inner = _DIRECTORY.sub("(", self.frames[-1]) if self.frames else "an unknown place"
        return f"{inner}, stopped by a signal or a debugger" if self.stopped else inner


def parse(text: str) -> dict[str, Stack]:
    """Each rank's stack by its name: of the first of its processes that has Python frames, else of its first one."""
    stacks: dict[str, Stack] = {}
    for section in re.split(rf"^(?={RANK})", text, flags=re.MULTILINE):
        name = _RANK.match(section)
        if name:
            found = [_stack(part) for part in re.split(r"^(?=process \d+: )", section, flags=re.MULTILINE)[1:]]
            chosen = next((stack for stack in found if stack.python), found[0] if found else None)
            if chosen:
                stacks[name[1]] = chosen
    return stacks


def _stack(text: str) -> Stack:
    """The stack of one process's main thread, whose number is the process's."""
    head = _PROCESS.match(text)
    pid, state = (head[1], head[2]) if head else ("", "")
    frames: list[str] = []
    kernel = ""
    main = False
    for line in text.splitlines():
        thread, frame, place = _THREAD.match(line), _FRAME.match(line), _KERNEL.match(line)
        if thread:
            main = thread[1] == pid
        if main and place and not kernel:
            kernel = place[1]
        elif main and frame:
            frames.append(frame[1])
    stopped = state in STOPPED
    if frames:
        return Stack(tuple(reversed(frames)), stopped)
    return Stack((f"the kernel's {kernel}",) if kernel else (), stopped, python=False)


def from_log(end: bytes) -> Stack | None:
    """The stack that faulthandler has printed at the end of a log; ``None`` where there is none."""
    _, aborted, after = end.rpartition(_ABORTED)
    threads = _PRINTED.findall(after) if aborted else []
    if not threads:
        return None
    frames = [
        f"{function.decode(errors='replace')} ({file.decode(errors='replace')}:{line.decode()})"
        for file, line, function in _FAULT_FRAME.findall(threads[-1])  # the main thread is printed last
    ]
    return Stack(tuple(reversed(frames))) if frames else None


def odd_one_out(stacks: Mapping[str, Stack]) -> str | None:
    """The one rank that stands where no other does; ``None`` where there is none, or more than one.

    One that is stopped is it. Else the stacks are compared from the outermost frame on: where they part for the first
    time with somebody alone on his way is where the program took another turn. What differs further in is chance: each
    of many ranks that wait is somewhere else in its loop.
    """
    stopped = [name for name, stack in stacks.items() if stack.stopped]
    if stopped:
        return stopped[0] if len(stopped) == 1 and len(stacks) > 1 else None
    python = any(stack.python for stack in stacks.values())  # like is compared with like
    alone = _alone({n: stack.frames for n, stack in stacks.items() if stack.frames and stack.python == python}, 0)
    return alone[0] if len(alone) == 1 else None


def _alone(frames: Mapping[str, tuple[str, ...]], depth: int) -> list[str]:
    """Those who are alone at the first parting below ``depth`` at which anybody is, in a group of three or more."""
    if len(frames) < 3 or all(len(stack) <= depth for stack in frames.values()):
        return []
    ways: dict[str, list[str]] = {}
    for name, stack in frames.items():
        ways.setdefault(stack[depth] if depth < len(stack) else "", []).append(name)
    alone = [names[0] for names in ways.values() if len(names) == 1]
    if alone:
        return alone
    return [name for names in ways.values() for name in _alone({n: frames[n] for n in names}, depth + 1)]
