"""``ma2l record``: a rank writes a figure from a shell, with the module that training code imports."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ma2l.cli import show
from ma2l.errors import ConfigError, UsageError

USAGE = """\
usage: ma2l record throughput SAMPLES_PER_SECOND    this rank's throughput
       ma2l record accuracy VALUE                   the accuracy; only rank 0 writes it

For a command that ma2l has started: it says which rank this is and where figures go (--results-dir, or train_url).
"""
KEYS = ("throughput", "accuracy")


def record(words: Sequence[str]) -> int:
    """Parse, write; returns the exit code.

    Raises:
        UsageError: wrong words.
        ConfigError: nothing says which rank this is and where to write, or it cannot be written.
    """
    if "--help" in words or "-h" in words:
        show(USAGE)
        return 0
    if len(words) != 2 or words[0] not in KEYS:
        raise UsageError("record that", "it takes a key and a value", "write ma2l record throughput|accuracy VALUE")
    key, text = words
    try:
        value = float(text)
    except ValueError:
        raise UsageError(f"record {key} {text!r}", "it is not a number", "write a number") from None
    from ma2l.recorder import ma2l_record

    if not os.environ.get("MA2L_RESULTS_DIR"):
        raise ConfigError(
            "record a figure", "nothing says where to", "run under ma2l with --results-dir DIR or a train_url"
        )
    if not (os.environ.get("RANK_ID") or os.environ.get("RANK")):
        raise ConfigError("record a figure", "nothing says which rank this is", "run under ma2l, or set RANK")
    written = ma2l_record.throughput(value) if key == "throughput" else ma2l_record.accuracy(value)
    others = key == "accuracy" and (os.environ.get("RANK_ID") or os.environ.get("RANK")) != "0"
    return 0 if written or others else ConfigError.exit_code
