"""What a run waits for while it stops, in one line of a terminal that changes in its place."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ma2l import log

_EVERY = 1.0
"""Seconds between two looks; a run without a terminal, or one that nobody stops, is not woken for this."""


class Stopping:
    """A companion of the supervisor's wait that does nothing until ``begin``.

    Args:
        left: how many processes have yet to end.
    """

    def __init__(self, left: Callable[[], int]) -> None:
        self._left = left
        self._began = self._limit = 0.0
        self.deadline: float | None = None

    def begin(self, seconds: float) -> None:
        """Show from now on how much of the grace is over; only on a terminal."""
        if log.has_status():
            self._began, self._limit = time.monotonic(), seconds
            self.deadline = self._began + _EVERY

    def end(self) -> None:
        """Show nothing more."""
        self.deadline = None
        log.clear_status()

    def interests(self) -> list[tuple[int, int]]:
        """No descriptor."""
        return []

    def service(self, _ready: Sequence[int], now: float) -> None:
        """Renew the line when it is time to."""
        if self.deadline is not None and now >= self.deadline:
            self.deadline = now + _EVERY
            left = self._left()
            over = now - self._began
            log.status(f"waiting for {left} process{'es'[: 2 * (left != 1)]}, {over:.0f} of {self._limit:.0f} s")
