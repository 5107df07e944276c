"""``ma2l collect``: a run's logs and what else helps, in one archive."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from ma2l import log
from ma2l.cli import show
from ma2l.errors import ConfigError, UsageError

USAGE = """\
usage: ma2l collect [-o FILE.tar.gz] LOG_DIR

Puts logs of ranks, CANN's own logs, plan, outcome, rank table, versions, the kernel's messages, and what npu-smi and
hccn_tool say now into one archive, in the layout that Huawei's log analyser (ascend-fd) reads. Values of names that
look like keys, tokens or passwords are masked. Run it on the node of the run, for each node.
"""


def collect(words: Sequence[str]) -> int:
    """Parse, write; returns the exit code.

    Raises:
        UsageError: wrong words.
        ConfigError: the directory cannot be read, or the archive cannot be written.
    """
    if "--help" in words or "-h" in words:
        show(USAGE)
        return 0
    rest, output = list(words), ""
    for option in ("-o", "--output"):
        if option in rest:
            place = rest.index(option)
            if place + 1 == len(rest):
                raise UsageError(f"use {option}", "its value is missing", f"write {option} FILE.tar.gz")
            output = rest[place + 1]
            del rest[place : place + 2]
    if len(rest) != 1 or rest[0].startswith("-"):
        raise UsageError("collect a run", "it takes one log directory", "write ma2l collect [-o FILE.tar.gz] LOG_DIR")
    log_dir = rest[0]
    stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"  # two within one second are two
    output = output or f"ma2l-collect-{os.uname().nodename}-{stamp}.tar.gz"
    from ma2l.bundle import bundle

    try:
        if not os.listdir(log_dir):
            raise ConfigError(f"collect {log_dir}", "it is empty", "name the log directory of a run")
        made = bundle(log_dir, output, os.environ)
    except OSError as error:
        where = log_dir if error.filename == log_dir else output
        raise ConfigError(f"collect {log_dir}", f"{where}: {error.strerror}", "check both paths") from None
    for complaint in made.complaints:
        log.warning(complaint)
    log.info(f"{made.files} files in {output}; secrets are masked as far as their names tell, look before you send it")
    return 0
