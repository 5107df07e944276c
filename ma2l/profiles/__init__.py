"""Profiles: named sets of defaults, weaker than flags, variables and the configuration file.

A profile is a YAML file of ma2l's options and of msrun's parameters, under either's names. It comes with ma2l and goes
by its name, or it is anybody's own and goes by its path. Both verbs read the same file: ``ma2l msrun`` takes what msrun
knows; ``ma2l CMD`` takes what ma2l knows and leaves ``LEFT_TO_MSRUN`` alone.
"""

from __future__ import annotations

import os

from ma2l.errors import ConfigError
from ma2l.msrun.arguments import PARAMETERS
from ma2l.settings import ALIASES, FIELDS, nearest
from ma2l.settings_file import read

LEFT_TO_MSRUN = ("local_worker_num", "master_addr", "master_port", "node_rank")
"""Names that ma2l knows too and does not take from a profile. Who takes part is found out on every node anew, or a
profile for one node would break a job of two; and a port for everybody would make two jobs on one server collide."""

_DIRECTORY = os.path.dirname(os.path.abspath(__file__))
_SUFFIXES = (".yaml", ".yml")


def find(profile: str) -> str:
    """Absolute path of a profile: a name is one of ours, anything that looks like a path is one.

    Raises:
        ConfigError: there is none of that name.
    """
    if os.sep in profile or profile.endswith(_SUFFIXES):
        return os.path.abspath(profile)
    names = sorted(os.path.splitext(entry)[0] for entry in os.listdir(_DIRECTORY) if entry.endswith(_SUFFIXES))
    if profile in names:
        return f"{_DIRECTORY}/{profile}.yaml"
    near = nearest(profile, names)
    hint = f"did you mean {near}? " if near else ""
    raise ConfigError(
        f"use the profile {profile}",
        "ma2l has none of that name",
        f"{hint}choose one of {', '.join(names)}, or write the path of a file, such as ./{profile}.yaml",
    )


def options(path: str) -> dict[str, object]:
    """A profile's defaults for ``ma2l CMD``, by the names of ma2l's options, not parsed yet.

    Raises:
        ConfigError: the file cannot be read, or holds a key that neither ma2l nor msrun knows.
    """
    values = {name: value for name, value in _read(path).items() if name not in LEFT_TO_MSRUN}
    return {ALIASES.get(name, name): value for name, value in values.items() if ALIASES.get(name, name) in FIELDS}


def parameters(path: str) -> dict[str, str]:
    """A profile's defaults for ``ma2l msrun``, by msrun's names, as text.

    Raises:
        ConfigError: as ``options``; or a parameter's value is no text.
    """
    theirs = {ours: alias for alias, ours in ALIASES.items()}
    texts = {}
    for name, value in _read(path).items():
        parameter = theirs.get(name, name)
        if parameter in PARAMETERS:
            if not isinstance(value, str):
                raise ConfigError(f"use {path}: {name}", f"{value!r} is not a single value", "write it in quotes")
            texts[parameter] = value
    return texts


def _read(path: str) -> dict[str, object]:
    return read(path, "profile", {*FIELDS, *PARAMETERS} - {"config", "profile"}, {})
