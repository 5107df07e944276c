"""Lets a command take this process's place: one rank of another launcher, or what an image runs once."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence

from ma2l.linux.wait import release_signals
from ma2l.supervise.system import explained, find_program

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import NoReturn


def become(command: Sequence[str], environ: Mapping[bytes, bytes]) -> NoReturn:
    """Execute the command found on the PATH of ``environ``; does not return.

    Args:
        environ: the command's whole environment, in bytes: it need not be text.

    Raises:
        CommandNotFound: 127, as a shell's.
        CommandNotExecutable: 126, as a shell's.
        Ma2lError: the kernel refused for another reason.
    """
    path = os.fsdecode(environ.get(b"PATH", os.fsencode(os.defpath)))
    program = find_program(command[0], path)
    release_signals()
    for signum in (signal.SIGPIPE, signal.SIGXFSZ):  # ignored by Python at its start
        signal.signal(signum, signal.SIG_DFL)
    try:
        os.execve(program, list(command), dict(environ))
    except OSError as error:
        raise explained(error, f"run {program}", program, None) from error
