"""``ma2l upload``: send a run's files to the object store, or what is missing of them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence

from ma2l import log
from ma2l.cli import options, show
from ma2l.errors import UsageError
from ma2l.records import replace
from ma2l.settings import split_anywhere

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ma2l.obs.request import Request
    from ma2l.settings import Settings

USAGE = """\
usage: ma2l upload [OPTION...] LOG_DIR [obs://BUCKET/PATH/]

Sends what a run left, and is not there yet. Where to is what the run was told (--upload), or named here. OPTION is
--upload-timeout, --obs-endpoint, --obs-hosts or --obs-ca-file; see ma2l help. Keys come from OBS_ACCESS_KEY_ID,
OBS_SECRET_ACCESS_KEY and OBS_SECURITY_TOKEN, or from the files that these names with _FILE behind them name.
"""


class _TimeIsUp(BaseException):
    """Not an Exception: the SDK would take it for a failed connection."""


def upload(words: Sequence[str]) -> int:
    """Parse, send; returns the exit code.

    Raises:
        UsageError: wrong words.
        ConfigError, ObsError: it cannot be done.
    """
    flags, places = split_anywhere(words)
    if "help" in flags:
        show(USAGE)
        return 0
    if not 1 <= len(places) <= 2:
        raise UsageError("upload a run", "it takes a log directory", "write ma2l upload LOG_DIR [obs://BUCKET/PATH/]")
    settings = options(flags, os.environ)
    destination = places[1] if len(places) > 1 else settings.upload
    wanted = _requests(places[0], destination, settings)
    log_dir = places[0] if os.path.isdir(places[0]) else os.path.dirname(places[0])
    signal.signal(signal.SIGALRM, _time_is_up)
    signal.setitimer(signal.ITIMER_REAL, settings.upload_timeout)
    try:
        for request in wanted:
            _send(request, log_dir)
    except _TimeIsUp:
        from ma2l.obs.client import ObsError

        why = f"{settings.upload_timeout:g} s were not enough"
        raise ObsError(
            f"upload {log_dir}", why, "what was sent stays there; repeat it with more --upload-timeout"
        ) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return 0


def _time_is_up(_signum: int, _frame: object) -> None:
    raise _TimeIsUp


def _requests(log_dir: str, destination: str | None, settings: Settings) -> list[Request]:
    """What the runs noted; without a note, everything in the directory."""
    from ma2l.obs.request import Request, Root, noted

    found = noted(log_dir)
    if not found:
        if not destination:
            raise UsageError(f"upload {log_dir}", "no run noted where to", "name obs://BUCKET/PATH/")
        found = [Request(destination, (Root(log_dir, "logs"),))]
    return [
        replace(
            request,
            destination=destination or request.destination,
            endpoint=settings.obs_endpoint or request.endpoint,
            hosts=settings.obs_hosts or request.hosts,
            ca_file=settings.obs_ca_file or request.ca_file,
        )
        for request in found
    ]


def _send(request: Request, log_dir: str) -> None:
    from ma2l.obs.access import access
    from ma2l.obs.client import Client
    from ma2l.obs.upload import send
    from ma2l.obs.url import parse

    url = parse(request.destination)
    who = access(os.environ, request.endpoint, request.hosts, request.ca_file)
    if who.plain:
        log.warning(f"{who.endpoint} is not encrypted: everybody on the way can read the logs")
    records = log_dir if os.access(log_dir, os.W_OK) else os.environ.get("TMPDIR") or "/tmp"
    sent = send(Client(who), url, request.roots, records, _Progress())
    for complaint in sent.complaints:
        log.warning(complaint)


class _Progress:
    """One line in its place on a terminal, elsewhere a line now and then."""

    def __init__(self) -> None:
        from ma2l.obs.upload import REPORT_EVERY

        self._terminal = sys.stderr.isatty()
        self._every = 0.2 if self._terminal else REPORT_EVERY
        self._next = time.monotonic() + self._every

    def __call__(self, line: str, last: bool) -> None:
        if last:
            if self._terminal:
                os.write(2, b"\r\x1b[K")
            log.info(line)
            log.flush()
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + self._every
            os.write(2, f"\r\x1b[K{line}".encode() if self._terminal else f"ma2l: {line}\n".encode())
