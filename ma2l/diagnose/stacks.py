"""Writes down where the processes of a node's ranks stand: Python frames by py-spy, and what the kernel shows.

py-spy reads another process's memory without stopping it (``--nonblocking``): a diagnosis must not disturb training,
nor leave a process stopped when it is itself killed in between. Source of its options and its JSON: ``py-spy dump
--help`` and the output of py-spy 0.4; a sample is in ``tests/data/stacks``.

Run as a program of its own, because the supervisor collects every child of its process and would collect py-spy too.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence

from ma2l.diagnose.standing import RANK
from ma2l.linux import processes, threads
from ma2l.linux.files import write_whole
from ma2l.records import dataclass
from ma2l.secrets import mask_argv

BUDGET = 30.0
"""Seconds for all processes together; those of the ranks themselves come before their children."""
_ONE = 10.0
"""Seconds for one process: py-spy takes milliseconds."""
INSTALL = "pip install 'ma2l[stacks]' beside ma2l"


@dataclass(frozen=True)
class Subject:
    """One process of the plan, whose whole tree is looked at."""

    name: str
    pid: int
    note: str = ""
    """What is already known of it: how long it has been silent."""


Frames = Mapping[int, tuple[str, Sequence[str]]]
"""Thread name and frames, innermost first, by thread number."""


def collect(subjects: Sequence[Subject], title: str, budget: float = BUDGET) -> str:
    """The stacks as text, in the form that ``ma2l.diagnose.standing`` reads.

    Args:
        subjects: whom to look at.
        title: first line.
        budget: seconds; processes for which no time is left are shown without Python frames.
    """
    end = time.monotonic() + budget
    trees = {subject: [subject.pid, *processes.descendants(subject.pid)] for subject in subjects}
    spy = find_py_spy()
    problems: dict[str, None] = {}
    frames: dict[int, Frames] = {}
    for pid in _leaders_first(trees.values()):
        if spy and time.monotonic() < end:
            frames[pid], problem = _python_frames(spy, pid, min(_ONE, end - time.monotonic()))
            problems[problem] = None
    if not spy:
        problems[f"no Python frames: py-spy is not installed; {INSTALL}"] = None
    elif time.monotonic() >= end:
        problems[f"no Python frames where {budget:g} s were not enough"] = None
    lines = [title, *filter(None, problems)]
    for subject, pids in trees.items():
        lines += ["", f"{RANK}{subject.name} (pid {subject.pid})" + (f": {subject.note}" if subject.note else "")]
        for pid in pids:
            lines += _process(pid, frames.get(pid, {}))
    return "\n".join(lines) + "\n"


def find_py_spy() -> str | None:
    """Beside the Python that runs ma2l, where the extra ``ma2l[stacks]`` puts it, else on PATH."""
    beside = os.path.join(os.path.dirname(sys.executable), "py-spy")
    return beside if os.access(beside, os.X_OK) else shutil.which("py-spy")


def _leaders_first(trees: Iterable[Sequence[int]]) -> list[int]:
    pairs = [(place, pid) for tree in trees for place, pid in enumerate(tree)]
    return [pid for _, pid in sorted(pairs, key=lambda pair: pair[0])]


def _python_frames(spy: str, pid: int, seconds: float) -> tuple[Frames, str]:
    """The frames of a Python process, or none, and what is worth saying about that."""
    if threads.is_closed(pid):
        why = "the system does not let ma2l look into other processes (ptrace)"
        return {}, f"no Python frames: {why}; run with CAP_SYS_PTRACE, or with kernel.yama.ptrace_scope=0"
    if not _may_be_python(pid):
        return {}, ""
    words = [spy, "dump", "--nonblocking", "--full-filenames", "--json", "--pid", str(pid)]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False,
            env={**os.environ, "RUST_BACKTRACE": "0"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {}, f"no Python frames of process {pid}: py-spy did not answer within {seconds:.0f} s"
    except OSError as error:
        return {}, f"no Python frames: {spy} cannot be executed ({error.strerror})"
    if done.returncode == 0:
        return read_frames(done.stdout, pid), ""
    reason = done.stderr.decode(errors="replace").strip().partition("\n")[0]
    return {}, f"no Python frames of process {pid}: py-spy says: {reason}" if threads.command(pid) else ""


def _may_be_python(pid: int) -> bool:
    """Whether it has libpython or an interpreter's executable; others would only make py-spy complain."""
    try:
        program = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
        if "python" in program:
            return True
        with open(f"/proc/{pid}/maps", "rb") as file:
            return any(b"libpython" in line for line in file)
    except OSError:  # it has gone
        return False


def read_frames(printed: bytes, pid: int) -> Frames:
    """What py-spy prints as JSON: a list of threads, the oldest last, frames innermost first.

    Below Python 3.11 it cannot tell the kernel's thread numbers without stopping the process. The main thread is known
    all the same, by its name, or as the oldest where nobody has imported ``threading``; others get numbers below 0.
    """
    found: dict[int, tuple[str, Sequence[str]]] = {}
    for number, thread in enumerate(reversed(json.loads(printed))):
        name = thread["thread_name"] or ""
        main = name == "MainThread" or (not name and number == 0)
        tid = thread["os_thread_id"] or (pid if main else -1 - number)
        found[tid] = (name, [f"{f['name']} ({f['filename']}:{f['line']})" for f in thread["frames"]])
    return found


def _process(pid: int, frames: Frames) -> list[str]:
    status = threads.fields(f"/proc/{pid}/status")
    if not status:
        return [f"process {pid} has ended meanwhile"]
    words = shlex.join(mask_argv(threads.command(pid))) or f"[{status.get('Name', '')}]"
    traced = "" if status.get("TracerPid", "0") == "0" else f", traced by {status['TracerPid']}"
    head = f"process {pid}: state {status.get('State', '?')}, threads: {status.get('Threads', '?')}, "
    lines = [f"{head}memory: {status.get('VmRSS', 'none')}{traced}: {_one_line(words)}"]
    if status.get("State", "").startswith("Z"):
        return lines
    alike: dict[str, list[int]] = {}
    for thread in threads.threads(pid):
        name, python = frames.get(thread.tid, (thread.name, ()))
        inside = f", in the kernel: {thread.wchan}" if thread.wchan else ""
        call = f", system call {thread.syscall}" if thread.syscall else ""
        about = f'"{_one_line(name or thread.name)}", state {thread.state}{inside}{call}'
        if thread.tid == pid or python:
            lines.append(f"  thread {thread.tid} {about}, switched {thread.switches} times")
            lines += [f"    {_one_line(frame)}" for frame in python]
            lines += [f"    kernel: {' < '.join(thread.stack)}"] if thread.stack else []
        else:
            alike.setdefault(about, []).append(thread.tid)
    for tid, (name, python) in frames.items():
        if tid < 0:
            lines += [f'  thread of Python "{_one_line(name)}"', *(f"    {_one_line(frame)}" for frame in python)]
    return lines + [f"  threads {', '.join(map(str, tids))} {about}" for about, tids in alike.items()]


def _one_line(text: str) -> str:
    return text.replace("\n", "\\n")


def main(words: Sequence[str]) -> int:
    """Write the stacks to a file, whole or not at all.

    Args:
        words: the path, the title and the subjects as JSON.

    Returns:
        0, or 1 where the file cannot be written.
    """
    path, title, listed = words
    text = collect([Subject(*subject) for subject in json.loads(listed)], title)
    try:
        write_whole(text, path)
    except OSError:
        return 1
    return 0


def program(path: str, title: str, subjects: Sequence[Subject]) -> tuple[str, ...]:
    """The command that does what ``main`` does, with this interpreter and this ma2l, whatever ``PYTHONPATH`` says."""
    from ma2l.plan.child import run_module

    listed = json.dumps([(subject.name, subject.pid, subject.note) for subject in subjects])
    return (sys.executable, "-I", *run_module("diagnose.stacks"), path, title, listed)
