"""``ma2l explain LOG_DIR...``: why a job ended, from the files that it left."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ma2l import log
from ma2l.cli import show
from ma2l.errors import ConfigError, UsageError

USAGE = """\
usage: ma2l explain LOG_DIR...    say why a job ended, from its log directories alone

Give the log directories of all nodes, or copies of them, to learn which failure of the whole job was the first.
Outcome files (node<N>.outcome.json) are used where they are; where one is missing, the logs of the processes are.
"""


def explain_logs(words: Sequence[str]) -> int:
    """Parse, read, print; returns the exit code.

    Raises:
        UsageError: no directory is named, or an option.
        ConfigError: a directory cannot be read, or nothing of ma2l lies there.
    """
    if "--help" in words or "-h" in words:
        show(USAGE)
        return 0
    unknown = [word for word in words if word.startswith("-")]
    if unknown:
        raise UsageError(f"use the option {unknown[0]}", "ma2l explain has none", "see ma2l explain --help")
    if not all(words) or not words:
        raise UsageError("explain a run", "no log directory was named", "write ma2l explain LOG_DIR...")
    from ma2l.diagnose.explain import explain

    try:
        explanation = explain(words)
    except OSError as error:
        where = error.filename or ", ".join(words)  # the working directory may have been removed
        raise ConfigError(f"read the logs in {where}", str(error.strerror), "name a log directory") from error
    except LookupError as error:
        for complaint in error.args:
            log.warning(complaint)
        inner = _runs_in(words)
        do = f"it holds {inner}; name one" if inner else "name the directory with worker_*.log or node*.outcome.json"
        raise ConfigError(f"explain {', '.join(words)}", "there are no logs of ma2l in it", do) from error
    for complaint in explanation.complaints:
        log.warning(complaint)
    log.flush()
    show(explanation.text)
    return 0


def _runs_in(directories: Sequence[str]) -> str:
    """Sub-directories, which are runs where somebody names the directory above them."""
    found: list[str] = []
    for directory in directories:
        paths = [os.path.join(directory, name) for name in sorted(os.listdir(directory))]
        found += filter(os.path.isdir, paths)  # an entry's own is_dir() raises where links form a loop
    return ", ".join(found[-3:])
