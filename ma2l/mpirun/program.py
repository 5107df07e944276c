"""The mpirun of this host: where it is and which OpenMPI it belongs to. Asked before the workers run, never later.

Source: ``mpirun --version`` of OpenMPI 4.1 (``mpirun (Open MPI) 4.1.4``) and 5.0 (``mpirun (Open MPI) 5.0.11``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from ma2l.errors import CommandNotFound, ConfigError
from ma2l.plan.openmpi import KNOWN, Mpirun
from ma2l.supervise.system import find_program

_ATTEMPT = "start ranks by mpirun"
_PROMPT_S = 20.0
"""Seconds: it answers in a few milliseconds; on a shared file system that hangs it never does."""


def find(environ: Mapping[str, str]) -> tuple[Mpirun, str]:
    """Find mpirun on the PATH of ``environ`` and ask its version.

    Returns:
        The program, and a warning where its version is one that nobody has tried; it may be empty.

    Raises:
        CommandNotFound: there is none.
        CommandNotExecutable: there is, and it cannot be executed.
        ConfigError: it does not say its version, or is not OpenMPI's.
    """
    try:
        path = find_program("mpirun", environ.get("PATH", os.defpath))
    except CommandNotFound:
        why = f"there is no such program in PATH={environ.get('PATH', os.defpath)}"
        raise CommandNotFound(_ATTEMPT, why, "install OpenMPI, or leave --mode mpirun out") from None
    from ma2l.ascend import tool

    printed = tool.run("mpirun", ("--version",), {**environ, "PATH": os.path.dirname(path)}, _PROMPT_S)
    if printed.failure:
        raise ConfigError(_ATTEMPT, printed.failure, f"see what {path} --version says")
    major = _major(printed.text)
    if major is None:
        raise ConfigError(
            _ATTEMPT, f"{path} is not OpenMPI's: {tool.telling_line(printed.text)}", "put OpenMPI's first on PATH"
        )
    known = " and ".join(map(str, KNOWN))
    doubt = "" if major in KNOWN else f"OpenMPI {major} is unknown to ma2l, which knows {known}; it gets the flags of "
    return Mpirun(_resolved(path), major, os.geteuid() == 0, _shell()), doubt and f"{doubt}{max(KNOWN)}"


def _resolved(path: str) -> str:
    """The program where it really is: called by an absolute path, mpirun looks for its daemon beside itself, on other
    hosts too, and a symbolic link may lie in another directory."""
    real = os.path.realpath(path)
    beside = os.path.join(os.path.dirname(real), "mpirun")
    return beside if os.access(beside, os.X_OK) else real


def _shell() -> tuple[str, ...]:
    """bash where there is one, since it alone can let a rank have SIGINT (see ``mpi_rank.script``); CANN's
    ``set_env.sh`` needs it on every host. ``--posix`` keeps it from running the file that ``BASH_ENV`` names."""
    return ("/bin/bash", "--posix") if os.access("/bin/bash", os.X_OK) else ("/bin/sh",)


def _major(text: str) -> int | None:
    """The major version in the output of ``mpirun --version``, ``None`` where it is not OpenMPI's."""
    _, found, rest = text.partition("(Open MPI) ")
    number = rest.partition(".")[0]
    return int(number) if found and number.isascii() and number.isdecimal() else None
