"""Pure part: what environment follows from what the entrypoint handed over. Bytes throughout; nothing is decoded."""

from __future__ import annotations

from collections.abc import Mapping

Environ = Mapping[bytes, bytes]

WORKERS_PRELOAD = b"MA2L_WORKER_LD_PRELOAD"
"""Holds the workers' ``LD_PRELOAD`` while the launcher runs: its own tools must not load what is meant for them."""
_OF_THE_SHELL = frozenset((b"PWD", b"OLDPWD", b"SHLVL", b"_"))
_OURS = (b"BASH_FUNC_", b"__ma2l_")


def parse(dump: bytes) -> dict[bytes, bytes]:
    """Read ``NAME=value`` entries that end in NUL; of a name given twice the first counts, as in ``os.environ``."""
    environ: dict[bytes, bytes] = {}
    for entry in dump.split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if name and equals:
            environ.setdefault(name, value)
    return environ


def last_done(results: bytes) -> int | None:
    """Number of the last step that reported its environment, ``None`` if not even the beginning did."""
    words = [line.split() for line in results.splitlines()]
    return max((int(word[1]) for word in words if word and word[0] == b"done"), default=None)


def merge(before: Environ, start: Environ, after: Environ) -> dict[bytes, bytes]:
    """Apply the difference between two environments of the child to the container's.

    Working directory and nesting of the child's shells, and functions, are its own affair.
    """
    merged = dict(before)
    for name in {*start, *after}:
        if name in _OF_THE_SHELL or name.startswith(_OURS) or start.get(name) == after.get(name):
            continue
        if name in after:
            merged[name] = after[name]
        else:
            merged.pop(name, None)
    return merged


def hide_preload(environ: Environ) -> dict[bytes, bytes]:
    """The environment for the launcher: ``LD_PRELOAD`` waits under another name."""
    hidden = dict(environ)
    if b"LD_PRELOAD" in hidden:
        hidden[WORKERS_PRELOAD] = hidden.pop(b"LD_PRELOAD")
    return hidden
