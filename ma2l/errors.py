"""The mistakes ma2l reports in one line, each with the exit code a platform can act on.

Codes below 128 are permanent: starting again will not help. Codes from 128 on are worth a retry (MindCluster and
Kubeflow retry exactly those), and ours lie above every ``128 + signal`` so that they cannot be mistaken for one.
"""

from __future__ import annotations


class Ma2lError(Exception):
    """Something ma2l cannot do, said as ``cannot WHAT: WHY; DO``.

    Args:
        what: the attempt, such as ``read the rank table /user/config/jobstart_hccl.json``.
        why: the reason, as observed.
        do: what the user can do about it; may be empty.
    """

    exit_code = 70

    def __init__(self, what: str, why: str, do: str = "") -> None:
        super().__init__(f"cannot {what}: {why}" + (f"; {do}" if do else ""))


class UsageError(Ma2lError):
    """The command line is wrong (permanent)."""

    exit_code = 2


class ConfigError(Ma2lError):
    """The configuration or the rank table is wrong (permanent; 78 is ``EX_CONFIG`` of sysexits.h)."""

    exit_code = 78


class CommandNotFound(Ma2lError):
    """The user's program does not exist (permanent; the shell's own code)."""

    exit_code = 127


class CommandNotExecutable(Ma2lError):
    """The user's program exists and cannot be executed (permanent; the shell's own code)."""

    exit_code = 126


class GaveUpWaiting(Ma2lError):
    """A rank table, a name or a device did not appear in time (worth a retry; 128 + ``EX_TEMPFAIL``)."""

    exit_code = 203


class TableChanged(Ma2lError):
    """The platform replaced the rank table of ranks that run (worth a retry; 128 + ``EX_TEMPFAIL``)."""

    exit_code = 203


class NoUsableDevice(Ma2lError):
    """This node has no NPU to run on (worth a retry on another node; 128 + ``EX_UNAVAILABLE``)."""

    exit_code = 197


class SystemRefused(Ma2lError):
    """The kernel refused a process, memory or a file descriptor (worth a retry; 128 + ``EX_OSERR``)."""

    exit_code = 199


class IncompleteResults(Ma2lError):
    """Ranks that trained well have left no usable figures (permanent: 65 is ``EX_DATAERR`` of sysexits.h)."""

    exit_code = 65


class Stopped(Exception):
    """A stop signal arrived before any worker ran.

    Args:
        signum: the signal; ma2l leaves with ``128 + signum``.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by signal {signum}")
        self.signum = signum
