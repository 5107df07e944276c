"""Reading files of options: the configuration, and profiles. Only where there is such a file, because YAML is slow."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping

import yaml

from ma2l.errors import ConfigError
from ma2l.settings import nearest


def read(path: str, what: str, allowed: Collection[str], aliases: Mapping[str, str]) -> dict[str, object]:
    """Read a YAML file of options; nested keys are not a thing here.

    Values are read as the text they are written as (the base of the safe loader), and so mean the same as on the
    command line: YAML's own ideas would make 8 of ``mock: 0x8``, a date of ``log_dir: 2024-01-01``.

    Args:
        what: ``configuration`` or ``profile``, for messages.
        allowed: names of options.
        aliases: other names that are taken for these.

    Returns:
        The values that are not empty, by the names allowed.

    Raises:
        ConfigError: it cannot be read, has another form, or a key that is not allowed.
    """
    attempt = f"read the {what} {path}"
    known: dict[str, object] = {}
    given: dict[str, object] = {}
    for key, value in _mapping(path, attempt).items():
        name = str(key).replace("-", "_")
        name = aliases.get(name, name)
        if name not in allowed:
            near = nearest(name, (*sorted(allowed), *aliases))
            hint = f"did you mean {near}? " if near else ""
            raise ConfigError(attempt, f"there is no option {key!r}", f"{hint}allowed are {', '.join(sorted(allowed))}")
        if name in given:
            raise ConfigError(attempt, f"{given[name]!r} and {key!r} are the same option", "keep one of them")
        given[name] = key
        if value not in ("", "~", "null"):
            known[name] = value
    return known


def _mapping(path: str, attempt: str) -> Mapping[object, object]:
    found = content(path, attempt)
    if found in (None, ""):
        return {}
    if not isinstance(found, dict):
        form = "a list" if isinstance(found, list) else "a single value"
        raise ConfigError(attempt, f"it holds {form}", "write `option: value` lines")
    return found


class _Loader(yaml.BaseLoader):
    """Everything is text, and no key is there twice: YAML would silently take the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        """A dict."""
        keys = [key.value for key, _ in node.value]
        for place, (key, _) in enumerate(node.value):
            if key.value in keys[:place]:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is there twice", key.start_mark)
        return super().construct_mapping(node, deep)


def content(path: str, attempt: str) -> object:
    """What a YAML file holds: dicts, lists and text.

    Raises:
        ConfigError: it cannot be read, or is no YAML.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return yaml.load(file, _Loader)
    except OSError as error:
        raise ConfigError(attempt, str(error.strerror), "check the path and its permissions") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(attempt, " ".join(str(error).split()), "see that it is YAML") from None
