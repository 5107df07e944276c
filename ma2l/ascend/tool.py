"""Runs one of the driver's tools and returns what it printed, or why it printed nothing.

Only for before and after the run: the ``sh`` library reaps child processes, and so does the supervisor.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

from ma2l.records import dataclass

TIMEOUT_S = 20.0  # npu-smi answers in a few seconds; a stuck driver never does

# Where the driver package puts the tools; containers often have them mounted there without a PATH entry.
_USUAL_PLACES = {
    "npu-smi": ("/usr/local/bin", "/usr/local/sbin"),
    "hccn_tool": ("/usr/local/Ascend/driver/tools",),
}


@dataclass(frozen=True)
class Printed:
    """What came of running a tool."""

    text: str
    """Output and error output, as far as they came."""
    failure: str = ""
    """Why the tool did not succeed, empty if it did."""
    ran: bool = True
    """Whether it ran to its end: false where it is missing, cannot be executed, or was stuck."""


def run(name: str, arguments: tuple[str, ...], environ: Mapping[str, str], timeout_s: float = TIMEOUT_S) -> Printed:
    """Run a tool found on the ``PATH`` of ``environ`` or in the driver's own directories.

    Args:
        timeout_s: seconds after which the tool is killed.
    """
    path = _find(name, environ)
    if not path:
        return Printed("", f"{name} is neither on PATH nor where the driver installs it", ran=False)
    import threading

    import sh

    shown = f"{name} {' '.join(arguments)}"
    try:
        command = sh.Command(path)(
            *arguments,
            _env=dict(environ),
            _in=None,
            _err_to_out=True,
            _tty_out=False,  # a terminal, the default of sh, would turn every line end into CR LF
            _ok_code=list(range(-64, 256)),  # judged below
            _new_session=True,
            _return_cmd=True,
            _bg=True,
            _bg_exc=False,
        )
    except (OSError, sh.ForkException) as error:
        return Printed("", f"{shown} cannot be executed: {str(error).strip().splitlines()[-1].strip()}", ran=False)
    # Not the timeout of sh: that one costs 0.1 s even on success, spares the tool's own children, and waits for the
    # end of what it killed, which a tool stuck inside the driver never reaches.
    waiter = threading.Thread(target=command.wait, daemon=True)
    waiter.start()
    waiter.join(timeout_s)
    if waiter.is_alive():
        _kill_session(command.pid)
        waiter.join(1.0)
        return Printed("", f"{shown} did not answer within {timeout_s:g} s", ran=False)
    text = command.stdout.decode("utf-8", "replace")
    if command.exit_code:
        return Printed(text, f"{shown} failed with code {command.exit_code}: {telling_line(text)}")
    return Printed(text)


def telling_line(text: str) -> str:
    """The line of a tool's output that names the error: the one with a return code of DCMI, else the first."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    codes = [line for line in lines if "ret is" in line]
    return (codes or lines or ["it printed nothing"])[0]


def _kill_session(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:  # it ended just now
        return


def _find(name: str, environ: Mapping[str, str]) -> str:
    directories = environ.get("PATH", os.defpath).split(os.pathsep)
    for directory in (*directories, *_USUAL_PLACES.get(name, ())):
        path = f"{directory or '.'}/{name}"
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return ""
