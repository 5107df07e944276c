"""Whether a failed run is started again in place, and the line to say about it. Pure.

Only a run whose processes are all on this node is: the launchers of several nodes know nothing of each other, so there
each ends at once and the platform starts all of them again.
"""

from __future__ import annotations

from ma2l.errors import ConfigError
from ma2l.linux import cpulist
from ma2l.records import dataclass

PERMANENT = frozenset((2, 78, 126, 127))
"""Wrong usage, wrong configuration, no such program: the next start would end in the same way."""
TOO_EARLY = 10.0
"""Seconds: what fails sooner after its very first start is a mistake, and not the fault that restarts are for."""


@dataclass(frozen=True)
class Policy:
    """Which failures are followed by another start."""

    attempts: int
    """How many starts there are at most."""
    codes: frozenset[int]
    chosen: bool
    """Whether the user chose the codes; then an early failure counts like any other."""

    def why_never(self, outer: str, whole: bool) -> str:
        """Why this launcher restarts nothing; empty where it may.

        Args:
            outer: the run that this one is part of, empty where there is none.
            whole: whether all of the job is this launcher's.
        """
        if outer:
            return f"this is a part of the run {outer}, and restarts are up to that one"
        if not whole:
            return (
                "other parts of the job run elsewhere; a failure ends all at once, for the platform to start them again"
            )
        return ""

    def judge(self, attempt: int, code: int, seconds: float) -> tuple[bool, str]:
        """Whether the run is started again, and what is said about it.

        Args:
            attempt: the number of the attempt that failed, from 1.
            code: its exit code.
            seconds: how long after the start it failed.
        """
        ended = f"attempt {attempt} of {self.attempts} ended with exit code {code}"
        if attempt >= self.attempts:
            return False, ended
        why_not = self._why_not(attempt, code, seconds)
        if why_not:
            return False, f"{ended}, and there is no other: {why_not}"
        return True, f"{ended}; starting attempt {attempt + 1} of {self.attempts}"

    def _why_not(self, attempt: int, code: int, seconds: float) -> str:
        if code not in self.codes:
            return "--restart-on does not name this code" if self.chosen else "no restart helps against this code"
        if attempt == 1 and not self.chosen and seconds < TOO_EARLY:
            return (
                f"what fails {seconds:.1f} s after its very first start is taken for a mistake; --restart-on CODES "
                "restarts it all the same"
            )
        return ""


def policy(max_restarts: int, restart_on: str | None) -> Policy:
    """What ``--max-restarts`` and ``--restart-on`` ask for.

    Raises:
        ConfigError: the codes are no list of exit codes.
    """
    return Policy(max_restarts + 1, _codes(restart_on), restart_on is not None)


def _codes(text: str | None) -> frozenset[int]:
    """Exit codes of a list such as ``1,137,128-255``; ``None`` is every failure but permanent ones."""
    if text is None:
        return frozenset(range(1, 256)) - PERMANENT
    try:
        codes = frozenset(cpulist.parse(text))
    except ValueError:
        codes = frozenset()
    if not codes or not codes <= frozenset(range(1, 256)):
        raise ConfigError(
            f"restart on {text!r}", "it is no list of codes from 1 to 255", "write 1,137,128-255 or alike"
        )
    return codes
