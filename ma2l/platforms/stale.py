"""After an in-place restart by the platform: a completed rank table may be the one of the start before.

The platform restarts the processes of a container first and rewrites the table when it knows the new devices; the
kubelet brings the change into the pod up to a minute later. Until then the old table says ``completed``. So a table
that an earlier start in the same log directory used already is given a moment to change, and the directory is watched
while the links come up: ranks with the old table would wait for peers that do not exist until HCCL gives up.

Source: ``MA_PROC_START_CNT`` in the environment of ModelArts training containers, 1 at the first start.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from ma2l import log
from ma2l.errors import ConfigError, TableChanged
from ma2l.linux.wait import READABLE, Waiter
from ma2l.platforms import tables
from ma2l.platforms.base import Environ, Platform, whole_number
from ma2l.ranktable import RankTable, canonical, fingerprint

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import Callable


def used_before(log_dir: str) -> set[str]:
    """SHA-256 of the rank tables that earlier starts of any node wrote for their ranks, from the plans they left."""
    import json

    found: set[str] = set()
    try:
        names = [name for name in os.listdir(log_dir) if ".plan." in name and name.endswith(".json")]
    except OSError:  # no start before this one has left anything
        return found
    for name in names:
        try:
            with open(f"{log_dir}/{name}", encoding="utf-8") as file:
                found.update(entry["sha256"] for entry in json.load(file)["files"])
        except (OSError, ValueError, KeyError, TypeError) as error:  # of somebody else, or of an older ma2l
            log.detail(f"{log_dir}/{name} tells no rank table: {error!r}")
    return found


def links_timeout(environ: Environ, platform: Platform) -> int:
    """Seconds in which links have to come up."""
    name = "HCCL_CONNECT_TIMEOUT"
    return whole_number(name, environ[name]) if environ.get(name) else platform.connect_timeout


class TableWatch:
    """A rank table in use, and the directory where its successor would appear. Shares the wait of a running plan.

    Args:
        place: where the table was read.
        table: as it was read.
        links: seconds after the start of the ranks in which a change ends the run.
    """

    def __init__(self, place: tables.Announced, table: RankTable, links: float) -> None:
        self._place = place
        self._table = table
        self._links = links
        self._until: float | None = None
        self._fd = tables.watch_directory(place.path)
        self.call_off: Callable[[TableChanged], None] = lambda _error: None
        """Ends the run."""

    def settle(self, seconds: float, waiter: Waiter, guard: int | None) -> bool:
        """Wait a moment for a change; returns whether there is one, be it a table that is incomplete again.

        Raises:
            Stopped: a stop signal arrived.
        """
        if seconds:
            log.start()
            log.info(f"restarted in place: {seconds:g} s for the rank table {self._table.source} to change")
        end = time.monotonic() + seconds
        fds = [(fd, events) for fd, events in ((guard, 0), (self._fd, READABLE)) if fd is not None]
        while not self._differs():
            now = time.monotonic()
            if now >= end:
                return False
            wakeup = waiter.wait(fds, min(now + tables.LOOK_EVERY, end))
            tables.stop_if_asked(wakeup.signals, guard in wakeup.ready)
            self._empty(wakeup.ready)
        return True

    def close(self) -> None:
        """Watch no more."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd = self._until = None

    def interests(self) -> list[tuple[int, int]]:
        """The directory's changes."""
        return [] if self._fd is None else [(self._fd, READABLE)]

    @property
    def deadline(self) -> float | None:
        """When links are up or HCCL has given up on them."""
        return self._until

    def service(self, ready: Sequence[int], now: float) -> None:
        """End the run where another table is complete; one that is being rewritten may become the same again."""
        if self._fd is None:
            return
        if self._until is None:
            self._until = now + self._links
        if now >= self._until:
            self.close()
        elif self._empty(ready):
            found = self._look()
            if found is not None and found.document != self._table.document:
                self.close()
                self.call_off(self._changed(found))

    def _differs(self) -> bool:
        found = self._look()
        return found is None or found.document != self._table.document

    def _look(self) -> RankTable | None:
        """The table as it is now, ``None`` while it is none."""
        try:
            found = tables.look(self._place)
        except ConfigError as error:
            log.detail(str(error))
            return None
        return found if isinstance(found, RankTable) else None

    def _empty(self, ready: Sequence[int]) -> bool:
        """Read what the kernel has to say; returns whether that was anything."""
        if self._fd is None or self._fd not in ready:
            return False
        os.read(self._fd, 65536)
        return True

    def _changed(self, found: RankTable) -> TableChanged:
        old, new = (fingerprint(canonical(table.document)) for table in (self._table, found))
        return TableChanged(
            f"go on with the rank table {self._table.source}",
            f"the platform has replaced it since this restart, SHA-256 {old} by {new}",
            "start again, with the new one",
        )
