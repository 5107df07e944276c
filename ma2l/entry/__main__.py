"""``python -I -m ma2l.entry HANDOVER_DIR launch|once -- CMD...``, executed by the shell part of the entrypoint."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from ma2l import log
from ma2l.entry.merge import hide_preload, last_done, merge, parse
from ma2l.errors import Ma2lError, SystemRefused
from ma2l.linux.wait import hold_signals


def main(directory: str, kind: str, command: Sequence[str]) -> int:
    """Take over the environment, then become the launcher or the command; returns the exit code."""
    try:
        environ = take_over(directory)
        if kind == "launch":
            return _launch(command, environ)
        from ma2l.become import become

        become(command, environ)
    except Ma2lError as error:
        log.error(str(error))
        log.flush()
        return error.exit_code


def take_over(directory: str) -> dict[bytes, bytes]:
    """Read the hand-over directory, remove it, and return the environment for the command.

    Raises:
        SystemRefused: it cannot be read.
    """
    try:
        environ = parse(_read(directory, "before"))
        environ.update(parse(_read(directory, "set", b"")))
        for name in _read(directory, "unset", b"").split(b"\0"):
            environ.pop(name, None)
        last = last_done(_read(directory, "results", b""))
        if last is not None:
            start, after = _read(directory, "after.0"), _read(directory, f"after.{last}")
            environ = merge(environ, parse(start), parse(after))
            if os.path.exists(f"{directory}/no-preload") and b"LD_PRELOAD" not in parse(after):
                environ.pop(b"LD_PRELOAD", None)
        for name_of_file in os.listdir(directory):
            os.unlink(f"{directory}/{name_of_file}")
        os.rmdir(directory)
    except OSError as error:
        raise SystemRefused(f"take over the environment from {directory}", str(error.strerror), "") from error
    return environ


def _read(directory: str, name: str, default: bytes | None = None) -> bytes:
    """Content of a file of the hand-over, or the default where it does not exist."""
    try:
        with open(f"{directory}/{name}", "rb") as file:
            return file.read()
    except FileNotFoundError:
        if default is None:
            raise
        return default


def _launch(command: Sequence[str], environ: dict[bytes, bytes]) -> int:
    """Go on as the console script ``ma2l`` would in that environment."""
    os.environb.clear()
    os.environb.update(hide_preload(environ))
    sys.argv = ["ma2l", *_words(command)]
    from ma2l.__main__ import main as ma2l

    return ma2l()


def _words(command: Sequence[str]) -> tuple[str, ...]:
    """The launcher's arguments: what follows the word ``ma2l``, or a command that is not to be taken for a verb."""
    if os.path.basename(command[0]) == "ma2l":
        return tuple(command[1:])
    if command[0].endswith(".py") and not os.access(command[0], os.X_OK):
        return ("--", "python", *command)  # a boot file, as the platform names it
    return ("--", *command)


if __name__ == "__main__":
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not if inherited as ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C must not print a traceback
    hold_signals()
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[4:]))
