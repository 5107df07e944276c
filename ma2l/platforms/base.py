"""What every place has in common: which variables mean what, and what is special about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ma2l.errors import ConfigError
from ma2l.records import dataclass, field

Environ = Mapping[str, str]
HostLists = Mapping[str, "tuple[str, ...]"]


@dataclass(frozen=True)
class Platform:
    """One place. ``variables`` maps a property to the names that may hold it, the most telling first.

    Properties: ``node_rank``, ``nodes`` (number), ``devices`` (of this node), ``world_size``, ``master``, ``pod`` (own
    name in a rank table), ``ips`` and ``attempt`` (all of them count), ``process_starts`` (in this container),
    ``task_index`` (of the pod), ``master_index`` (into ``hosts``).
    """

    name: str
    signs: tuple[str, ...]
    """Variables that exist only here."""
    variables: Mapping[str, tuple[str, ...]]
    connect_timeout: int = 1200
    """Seconds for ``HCCL_CONNECT_TIMEOUT``; HCCL's own default of 120 is too short for large jobs."""
    hosts: Callable[[Environ], HostLists] = field(default=lambda environ: {})
    """Names of the job's pods by task index, for each variable that lists those of one task."""
    job_id: Callable[[Environ], str] = field(default=lambda environ: "")
    """Name of the job, empty where there is none."""
    unnamed: str = ""
    """What ``job_id`` says where no variable names the job."""
    log_dir: Callable[[Environ], str] = field(default=lambda environ: "")
    """Directory that the platform collects logs from, empty where there is none."""

    def here(self, environ: Environ) -> bool:
        """Whether the environment carries a sign of this place."""
        return any(sign in environ for sign in self.signs)

    def start_of_job(self, environ: Environ) -> str:
        """What all nodes call this start of the job, and no other is called; empty where nothing tells."""
        name = environ.get("MA2L_MOCKED") or self.job_id(environ)  # all mocks of a platform have the same id
        return "" if name == self.unnamed else "/".join((name, *self.texts(environ, "attempt")))

    def text(self, environ: Environ, what: str) -> str:
        """The property's value, or an empty string."""
        return next((environ[name] for name in self.variables.get(what, ()) if environ.get(name)), "")

    def texts(self, environ: Environ, what: str) -> tuple[str, ...]:
        """The values of all the property's variables that are set."""
        return tuple(environ[name] for name in self.variables.get(what, ()) if environ.get(name))

    def number(self, environ: Environ, what: str) -> int | None:
        """The property as a whole number, ``None`` when unset.

        Raises:
            ConfigError: the variable holds something else.
        """
        for name in self.variables.get(what, ()):
            if environ.get(name):
                return whole_number(name, environ[name])
        return None


def whole_number(name: str, text: str) -> int:
    """The value of a variable that counts something.

    Raises:
        ConfigError: it is not a whole number.
    """
    if text.isascii() and text.isdecimal() and len(text) < 10:  # no counter needs more, and int() refuses thousands
        return int(text)
    raise ConfigError(f"use {name}={text!r}", "it is not a whole number", f"correct or unset {name}")
