"""What ModelArts appends to a training command: a job's parameters, and the directories of its inputs and outputs.

Source: "Creating a training job" of the ModelArts API reference (``parameters``, ``inputs``, ``outputs``), and
``modelarts_config.py`` of Ais-Bench, whose ``hyperparameters`` of v1 say ``label`` where v2 says ``name``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ma2l.errors import ConfigError

_KEYS = ("name", "label")
_LISTS = ("parameters", "hyperparameters")


def appended(command: Sequence[str], path: str, channels: Mapping[str, str]) -> tuple[str, ...]:
    """The command with ``--name=value`` for every input and output that it does not name itself, then every parameter.

    Args:
        path: YAML file with a list of ``{name, value}`` or ``{label, value}``, or with such a list as its
            ``parameters`` or ``hyperparameters``. Values stay the text that is written there: ``True`` is no ``true``.
        channels: directories by name.

    Raises:
        ConfigError: the file cannot be read or has another form.
    """
    parameters = read(path)
    named = {word.partition("=")[0] for word in command} | {f"--{name}" for name, _ in parameters}
    places = [f"--{name}={place}" for name, place in channels.items() if f"--{name}" not in named]
    return (*command, *places, *(f"--{name}={value}" for name, value in parameters))


def read(path: str) -> tuple[tuple[str, str], ...]:
    """Names and values in the order of the file.

    Raises:
        ConfigError: as ``appended``.
    """
    from ma2l.settings_file import content

    attempt = f"read the parameters {path}"
    entries = content(path, attempt)
    if isinstance(entries, dict):
        entries = next((entries[key] for key in _LISTS if key in entries), entries)
    if not isinstance(entries, list):
        raise ConfigError(attempt, "it holds no list", "write `- {name: epochs, value: 5}` lines")
    return tuple(_parameter(entry, number, attempt) for number, entry in enumerate(entries, 1))


def _parameter(entry: object, number: int, attempt: str) -> tuple[str, str]:
    where = f"entry {number} {entry!r}"
    if not isinstance(entry, dict):
        raise ConfigError(attempt, f"{where} is no pair of name and value", "write {name: epochs, value: 5}")
    names = [entry[key] for key in _KEYS if key in entry]
    if len(names) != 1 or "value" not in entry:
        raise ConfigError(attempt, f"{where} needs `name` (or `label`) and `value`", "write {name: epochs, value: 5}")
    name, value = names[0], entry["value"]
    if not isinstance(name, str) or not name.strip("-") or not isinstance(value, str):
        raise ConfigError(attempt, f"the name and the value of {where} must be single words", "quote what is not text")
    if "\0" in name + value:
        raise ConfigError(attempt, f"{where} has a NUL, which no command line can hold", "remove it")
    return name, value
