"""``ma2l config``: which options there are, what they are here, and where each value comes from."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ma2l.cli import show
from ma2l.errors import ConfigError, UsageError
from ma2l.secrets import mask_argv
from ma2l.settings import DEFAULT_FILE, FIELDS, load, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from typing import Any

USAGE = """\
usage: ma2l config show [OPTION...]           every option: its value here, and where that comes from
       ma2l config schema                     JSON Schema of ma2l.yaml, for editors
       ma2l config sample                     a ma2l.yaml with every option, commented out
       ma2l config completion bash|zsh|fish   completion for a shell, to be sourced (pip install 'ma2l[completion]')
"""
SHELLS = ("bash", "zsh", "fish")
_JSON_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}


def config(words: Sequence[str]) -> int:
    """Parse, print; returns the exit code."""
    if not words or "--help" in words or "-h" in words or words[0] == "help":
        show(USAGE)
        return 0 if words else UsageError.exit_code
    action, rest = words[0], words[1:]
    if action == "show":
        return _show(rest)
    if action == "completion":
        return _completion(rest)
    if action not in ("schema", "sample"):
        raise UsageError(
            f"do {action!r} to the configuration", "no such action", "choose show, schema, sample or completion"
        )
    if rest:
        raise UsageError(f"use {rest[0]}", f"ma2l config {action} takes nothing", "leave it out")
    show(schema() if action == "schema" else sample())
    return 0


def _show(words: Sequence[str]) -> int:
    flags, rest = split(words)
    if rest:
        raise UsageError(f"use {rest[0]}", "ma2l config show takes options only", "leave it out")
    settings, origins = load(flags, os.environ)
    rows = []
    for name in FIELDS:
        value, origin = getattr(settings, name), origins.get(name, "default")
        rows.append((f"--{name.replace('_', '-')}", _text(value), origin))
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    show("".join(f"{flag:<{widths[0]}}  {value:<{widths[1]}}  {origin}\n" for flag, value, origin in rows))
    return 0


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else " ".join(mask_argv(str(value).split(" ")))


def schema() -> str:
    """JSON Schema (draft 2020-12) of the configuration file."""
    import json

    properties: dict[str, Any] = {}
    for name, option in FIELDS.items():
        if name == "config":  # a file cannot name another one
            continue
        meta = option.metadata
        one: dict[str, Any] = {"description": meta["help"], "type": _JSON_TYPES[str(option.type).split(" ")[0]]}
        if meta["choices"]:
            one["enum"] = list(meta["choices"])
        if meta["least"] is not None:
            one |= {"minimum": meta["least"], "maximum": meta["most"]}
        if option.default is not None:
            one["default"] = option.default
        properties[name.replace("_", "-")] = one
    pattern = {"^" + name + "$": value for name, value in _underscored(properties).items()}
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": DEFAULT_FILE,
        "type": "object",
        "properties": properties,
        "patternProperties": pattern,
        "additionalProperties": False,
    }
    return json.dumps(whole, indent=1) + "\n"


def _underscored(properties: dict[str, Any]) -> dict[str, Any]:
    """The same options with ``_`` in their names, which are as good."""
    return {name.replace("-", "_"): value for name, value in properties.items() if "-" in name}


def sample() -> str:
    """A configuration file with every option at its default, commented out."""
    lines = [f"# {DEFAULT_FILE}: every key is an option of ma2l; flags and MA2L_* variables are stronger.\n"]
    group = ""
    for name, option in FIELDS.items():
        meta = option.metadata
        if name == "config":
            continue
        if meta["group"] != group:
            group = meta["group"]
            lines.append(f"\n# {group}\n")
        choices = f" ({', '.join(meta['choices'])})" if meta["choices"] else ""
        value = meta["value"] if option.default is None else _text(option.default)
        lines.append(f"\n# {meta['help']}{choices}\n#{name.replace('_', '-')}: {value}\n")
    return "".join(lines)


def _completion(words: Sequence[str]) -> int:
    if len(words) != 1 or words[0] not in SHELLS:
        raise UsageError(
            "make a completion", "it takes the name of a shell", f"write ma2l config completion {'|'.join(SHELLS)}"
        )
    try:
        import shtab
    except ImportError:
        raise ConfigError(
            "make a completion", "the package shtab is not installed", "pip install 'ma2l[completion]'"
        ) from None
    show(shtab.complete(_parser(), words[0]))
    return 0


def _parser() -> ArgumentParser:
    """The options and verbs as argparse knows them, for shtab alone: it would misread a command line of ours."""
    import argparse

    import shtab

    from ma2l.cli import VERBS

    parser = argparse.ArgumentParser("ma2l", description="run a command once per Ascend NPU")
    for name, option in FIELDS.items():
        meta = option.metadata
        flag = f"--{name.replace('_', '-')}"
        text = meta["help"].replace("%", "%%")
        if str(option.type) == "bool":
            parser.add_argument(flag, action="store_true", help=text)
            continue
        added = parser.add_argument(flag, help=text, choices=meta["choices"] or None, metavar=meta["value"])
        if meta["value"] in ("FILE", "DIR"):
            setattr(added, "complete", shtab.FILE if meta["value"] == "FILE" else shtab.DIRECTORY)  # noqa: B010 - shtab's own
    parser.add_argument("command", nargs="?", choices=[*VERBS, "help", "version"])
    setattr(parser.add_argument("words", nargs="*"), "complete", shtab.FILE)  # noqa: B010
    return parser
