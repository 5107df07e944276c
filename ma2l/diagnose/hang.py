"""Who has been silent for how long, and what to say of it. No clock, no file, no process: tests are tables.

Silence is what a platform's own detector looks at first, so it is the one sign used here. CPU time is no sign: a rank
that waits in HCCL spins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ma2l.diagnose.standing import Stack, odd_one_out
from ma2l.records import dataclass

_CLOCK_JUMP = 1.0
"""Seconds that wall clock and monotonic clock may drift apart between two looks; more is somebody setting the clock."""


@dataclass(frozen=True)
class Stamp:
    """What the file system says of a rank's log."""

    size: int
    """Bytes."""
    mtime: float
    """Seconds of the wall clock."""


class Silence:
    """How long each rank's log has not grown.

    Looking at the logs more often than once per limit gains nothing, so ``deadline`` is when the first rank will have
    been silent for the limit if it writes nothing until then.

    Args:
        limit: seconds after which a rank counts as silent.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._since: dict[int, float] = {}
        self._stamps: dict[int, Stamp] = {}
        self._told: set[int] = set()
        self._looked = 0.0
        self._clocks_apart = 0.0

    @property
    def deadline(self) -> float | None:
        """Monotonic seconds of the next look, ``None`` where nobody is watched. A rank whose silence has been told is
        looked at as well: its next silence is another one."""
        due = [self._looked if worker in self._told else since for worker, since in self._since.items()]
        return min(due) + self._limit if due else None

    def look(self, stamps: Mapping[int, Stamp], now: float, wall: float) -> None:
        """Take in what the logs look like; ranks without a stamp have ended or cannot be watched.

        The time of the last write is the file's, kept between this look and the last, because a file server has a clock
        of its own; after a jump of the wall clock it is taken to be now.

        Args:
            now: monotonic seconds.
            wall: seconds of the wall clock.
        """
        jumped = abs((wall - now) - self._clocks_apart) > _CLOCK_JUMP
        for worker, stamp in stamps.items():
            if worker not in self._stamps:
                self._since[worker] = now
            elif stamp != self._stamps[worker]:
                written = now if jumped else now - (wall - stamp.mtime)
                self._since[worker] = min(now, max(written, self._looked))
                self._told.discard(worker)
        self._since = {worker: self._since[worker] for worker in stamps}
        self._told &= stamps.keys()
        self._stamps = dict(stamps)
        self._looked, self._clocks_apart = now, wall - now

    def restart(self, now: float) -> None:
        """Nobody could write until now."""
        self._since = dict.fromkeys(self._since, now)
        self._looked = now

    def quiet(self) -> dict[int, float]:
        """Seconds for which each rank had been silent at the last look."""
        return {worker: self._looked - since for worker, since in self._since.items()}

    def silent(self) -> dict[int, float]:
        """The part of ``quiet`` that has reached the limit."""
        return {worker: seconds for worker, seconds in self.quiet().items() if seconds >= self._limit}

    def fallen_silent(self) -> bool:
        """Whether a rank is silent whose silence has not been told; tells that of all that are silent or about to be.

        The ranks that wait for a stuck one fall silent a little later than it does: half of the limit makes that one
        episode.
        """
        fresh = bool(self.silent().keys() - self._told)
        if fresh:
            self._told |= {worker for worker, seconds in self.quiet().items() if seconds >= self._limit / 2}
        return fresh


@dataclass(frozen=True)
class Suspect:
    """The rank to look at first, and why; worth a sentence."""

    name: str
    sentence: str


def suspect(quiet: Mapping[str, float], limit: float, stacks: Mapping[str, Stack]) -> Suspect:
    """Name the odd one out: who stands where no other does, else who has been silent longest.

    Args:
        quiet: seconds of silence by the name of each running rank; one at least.
        limit: seconds from which on that is a silence worth naming.
        stacks: where each of them stands, as far as known.
    """
    odd = odd_one_out(stacks)
    name = odd or max(quiet, key=lambda rank: quiet[rank])
    said = [how_silent(quiet, limit)]
    if name in stacks:
        said.append(_places(name, stacks, odd is not None))
    elif len(quiet) > 1:
        said.append(f"{name} has been silent longest")
    return Suspect(name, "; ".join(said))


def how_silent(quiet: Mapping[str, float], limit: float) -> str:
    """``no rank has written for 61 s``, ``rank 3 has written nothing for 61 s``."""
    silent = {name: seconds for name, seconds in quiet.items() if seconds >= limit / 2}
    if len(silent) == len(quiet) > 1:
        return f"no rank has written for {min(silent.values()):.0f} s"
    names = sorted(silent, key=lambda name: -silent[name])
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} others" if len(names) > 4 else "")
    verb = "has" if len(names) == 1 else "have"
    return f"{shown} {verb} written nothing for {min(silent.values(), default=0.0):.0f} s"


def _places(name: str, stacks: Mapping[str, Stack], odd: bool) -> str:
    own = stacks[name].place
    others = Counter(stack.place for other, stack in stacks.items() if other != name)
    if not others:
        return f"{name} stands in {own}"
    if not odd and set(others) == {own}:
        return f"all stand in {own}"
    (place, count), *rest = others.most_common()
    them = "the other" if sum(others.values()) == 1 else "most others" if rest else "the others"
    if rest and count == 1:
        return f"{name} stands in {own}, the others in different places"
    longest = "" if odd else ", silent longest,"
    return f"{name}{longest} stands in {own}, {them} in {place}"
