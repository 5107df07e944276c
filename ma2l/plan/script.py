"""One rank of a plan as a shell script, to run it by hand: the same program, words, environment and CPUs."""

from __future__ import annotations

import os
import re

from ma2l.errors import ConfigError
from ma2l.linux import cpulist
from ma2l.plan.spec import Plan, ProcessSpec
from ma2l.secrets import MASK, mask, mask_argv

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def script(plan: Plan, rank: int) -> bytes:
    """A POSIX script that becomes that rank. Files of the run are made anew, in a directory of the script's own.

    Secrets are not in it: where one belongs, the script asks for a variable.

    Raises:
        ConfigError: that rank is not started by this plan, or its secrets cannot be left out.
    """
    spec = next((spec for spec in plan.processes if spec.role == "rank" and spec.rank == rank), None)
    if spec is None:
        own = [spec.rank for spec in plan.processes if spec.rank is not None]
        if not own:
            why = f"in mode {plan.mode} ma2l does not start ranks"
            raise ConfigError(f"print rank {rank}", why, "leave --rank out")
        why = f"here run the ranks {cpulist.text(own)} of {plan.world_size}"
        raise ConfigError(f"print rank {rank}", why, "ask on the node of that rank, or for one of these")
    lines = [
        b"#!/bin/sh",
        f"# rank {rank} of {plan.world_size}, mode {plan.mode}, as planned by ma2l".encode(),
        b"set -eu",
    ]
    moved: dict[str, bytes] = {}
    if plan.files:
        lines += [b"umask 077", b'files=$(mktemp -d "${TMPDIR:-/tmp}/ma2l-rank-XXXXXX")']
        for file in plan.files:
            name = os.path.basename(file.path)
            moved[file.path] = b'"$files"/' + _quoted(name)
            lines.append(b"printf %s " + _quoted(os.fsdecode(file.content)) + b" >" + moved[file.path])
    if spec.cwd is not None:
        lines.append(b"cd -- " + _quoted(spec.cwd))
    lines.append(b"exec " + b" \\\n    ".join([*_prefix(spec), *_environment(spec, moved), *_words(spec)]))
    return b"\n".join(lines) + b"\n"


def _prefix(spec: ProcessSpec) -> list[bytes]:
    """What gives the rank its CPUs and its memory."""
    words = [f"taskset -c {cpulist.text(spec.cpus)}"] if spec.cpus else []
    words += [f"numactl --membind={cpulist.text(spec.memory)}"] if spec.memory else []
    return [word.encode() for word in words]


def _environment(spec: ProcessSpec, moved: dict[str, bytes]) -> list[bytes]:
    """``env`` takes names that no shell would, and unsets what is not set without complaint."""
    words = [b"env"]
    words += [b"-u " + _quoted(name) for name, value in sorted(spec.env.items()) if value is None]
    for name, value in sorted(spec.env.items()):
        if value is None:
            continue
        if mask(name, value) != value:
            words.append(_quoted(f"{name}=") + _asked_for(name if _NAME.fullmatch(name) else "VALUE"))
        else:
            words.append(_quoted(f"{name}=") + (moved[value] if value in moved else _quoted(value)))
    return words


def _words(spec: ProcessSpec) -> list[bytes]:
    """The program by its path, then its arguments. ``env`` would take a word with ``=`` for a variable, so a shell
    stands between where the path has one."""
    first = [b"sh -c 'exec \"$@\"' sh"] if "=" in spec.program else []
    words = [_quoted(spec.program)]
    pairs = list(zip(spec.argv, mask_argv(spec.argv)))
    for position, (word, shown) in enumerate(pairs[1:], 1):
        before = pairs[position - 1][0]
        words.append(_quoted(word) if word == shown else _unmasked(shown, before, f"WORD_{position}"))
    return [*first, *words]


def _unmasked(shown: str, before: str, fallback: str) -> bytes:
    """A word whose secret is asked for by the name in front of it; of a word with several, all of it is."""
    start, _, end = shown.partition(MASK)
    name = (start.rstrip("=") or before).lstrip("-").replace("-", "_")
    if MASK in end or not _NAME.fullmatch(name):
        return _asked_for(fallback)
    return (_quoted(start) if start else b"") + _asked_for(name) + (_quoted(end) if end else b"")


def _asked_for(name: str) -> bytes:
    return f'"${{SECRET_{name.upper()}:?set it: ma2l prints no secrets}}"'.encode()


def _quoted(text: str) -> bytes:
    """Bytes between quotes that no shell looks into."""
    raw = os.fsencode(text)
    return b"'" + raw.replace(b"'", b"'\\''") + b"'" if not re.fullmatch(rb"[\w@%+=:,./-]+", raw, re.ASCII) else raw
