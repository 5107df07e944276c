"""The first lines of ma2l, before anything else is imported."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Console script and ``python -m ma2l``."""
    _demote_user_paths()
    _open_standard_descriptors()
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not if inherited as ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C before we handle signals must not print a traceback
    from ma2l.linux.wait import hold_signals

    hold_signals()
    from ma2l.cli import main as cli

    code = cli(sys.argv[1:])
    os._exit(code)  # everything is delivered; the interpreter's own end takes longer than starting eight workers


def _demote_user_paths() -> None:
    """Look for modules in the job's PYTHONPATH and working directory last.

    They are the training's, and may hold a ``signal.py`` or another ``yaml``. They stay on the path for the case that
    ma2l itself was found there.
    """
    try:
        here = os.getcwd()
    except FileNotFoundError:  # removed: nothing can be found there
        here = ""
    users = {_absolute(path, here) for path in ("", *os.environ.get("PYTHONPATH", "").split(os.pathsep))}
    ours = [path for path in sys.path if _absolute(path, here) not in users]
    sys.path[:] = ours + [path for path in sys.path if path not in ours]


def _absolute(path: str, here: str) -> str:
    return os.path.normpath(os.path.join(here, path))


def _open_standard_descriptors() -> None:
    """Fill closed standard descriptors with ``/dev/null``, or the next file we open would be a worker's output."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: fd


if __name__ == "__main__":
    main()
