"""The parameters of msrun: each declared once with default, type and meaning, and how they are read. Pure.

Sources: "msrun Launching" of the MindSpore documentation, and ``mindspore/parallel/cluster/run.py`` of MindSpore 2.10.
As in Python's argparse, which msrun uses, a name may be shortened while it stays unique, a value follows as a word of
its own or after ``=``, and everything after the task script belongs to the script. ``-`` and ``_`` mean the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ma2l.errors import ConfigError, Ma2lError, UsageError
from ma2l.records import dataclass, field, fields
from ma2l.settings import nearest

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import Any

    from ma2l.records import Field

UNKNOWN = -1
"""A node rank that nobody told, or a simulation that nobody asked for, as msrun writes it."""
PROFILE = "profile"
"""The one option that is ours: a file of defaults for the others."""

_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def _parameter(default: Any, value: str, text: str, least: int | None = None, most: int | None = None) -> Any:
    """Declare a parameter; ``value`` names its argument in help."""
    return field(default=default, metadata={"value": value, "help": text, "least": least, "most": most})


@dataclass(frozen=True)
class Arguments:
    """What msrun was asked for, with msrun's defaults."""

    worker_num: int = _parameter(8, "N", "workers of the whole job", least=1)
    local_worker_num: int = _parameter(8, "N", "workers on this node", least=1)
    master_addr: str = _parameter("127.0.0.1", "ADDR", "IP, [IPv6] or name of the node that runs the scheduler")
    master_port: int = _parameter(8118, "PORT", "port of the scheduler", least=1024, most=65535)
    node_rank: int = _parameter(
        UNKNOWN, "N", "rank of this node, which fixes the ranks of its workers; -1: MindSpore does", least=UNKNOWN
    )
    log_dir: str = _parameter("", "DIR", "where logs go (default: the current directory)")
    join: bool = _parameter(False, "True|False", "wait for the job, show its logs and report its end")
    cluster_time_out: int = _parameter(600, "S", "longest wait for the cluster to form; negative: no limit")
    bind_core: str = _parameter("False", "True|False|JSON", "bind workers to CPUs")
    bind_numa: str = _parameter("False", "True|False|JSON|FILE", "bind workers to NUMA nodes")
    sim_level: int = _parameter(UNKNOWN, "0-3", "dry run of that level, without a scheduler", least=0, most=3)
    sim_rank_id: int = _parameter(UNKNOWN, "N", "dry run of this one rank", least=UNKNOWN)
    rank_table_file: str = _parameter("", "FILE", "exported as RANK_TABLE_FILE, nothing more")
    worker_log_name: str = _parameter("", "NAME", "name of logs instead of worker; {ip} and {hostname} are replaced")
    tail_worker_log: str = _parameter("-1", "RANKS", "ranks shown with --join=True, such as 0,3; -1: all")
    task: tuple[str, ...] = ()
    """The task script, or program, and what belongs to it."""


PARAMETERS: dict[str, Field[Any]] = {entry.name: entry for entry in fields(Arguments) if entry.metadata}


def split(words: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Separate msrun's options from the task.

    Returns:
        Options by name, as text, and the task, untouched; where help is asked for, ``help`` alone.

    Raises:
        UsageError: an option that is unknown, ambiguous, or without its value.
    """
    options: dict[str, str] = {}
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        text, equals, value = word.partition("=")
        name = "help" if word == "-h" else _named(text)
        if name == "help":
            return {"help": "true"}, ()
        if not equals:
            if not rest or _is_option(rest[0]):
                raise UsageError(f"use {text}", "its value is missing", f"write {text}=VALUE")
            value = rest.pop(0)
        options[name] = value
    return options, tuple(rest)


def parse(
    given: Mapping[str, str],
    task: tuple[str, ...],
    defaults: Mapping[str, str] | None = None,
    devices: int = 0,
    source: str = "",
) -> Arguments:
    """Read the options.

    Args:
        given: options of the command line, from ``split``.
        task: the task script and its arguments.
        defaults: defaults that replace msrun's, as text.
        devices: how many devices were chosen for this job (``ASCEND_RT_VISIBLE_DEVICES``), 0 where nobody chose: the
            number of workers where the command line has none.
        source: the file that the defaults are from.

    Raises:
        UsageError: a wrong value.
        ConfigError: a wrong default.
    """
    values = {
        name: _value(name, text, f"{source}: {name} = {text!r}", ConfigError)
        for name, text in (defaults or {}).items()
        if name not in given
    }
    if devices and not given.keys() & {"worker_num", "local_worker_num"}:
        values |= {"worker_num": devices, "local_worker_num": devices}
    values |= {name: _value(name, text, f"--{name}={text}", UsageError) for name, text in given.items()}
    return Arguments(**values, task=task)


def _named(text: str) -> str:
    """The parameter that an option names, in full or by the beginning of its name."""
    name = text[2:].replace("-", "_")
    known = (*PARAMETERS, PROFILE, "help")
    if text.startswith("--") and name in known:
        return name
    matches = [option for option in known if text.startswith("--") and option.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        likely = " or ".join(f"--{option}" for option in matches)
        raise UsageError(f"use the option {text}", "it is ambiguous", f"write {likely}")
    near = nearest(name if text.startswith("--") else text[1:], known)
    hint = f"did you mean --{near}? " if near else ""
    raise UsageError(f"use the option {text}", "msrun has none of that name", f"{hint}see ma2l msrun --help")


def _is_option(word: str) -> bool:
    """Whether the word is no value: it begins with a dash and is no negative number."""
    return word.startswith("-") and word != "-" and not word[1:].isdecimal()


def _value(name: str, text: str, where: str, mistake: type[Ma2lError]) -> Any:
    """The text as the parameter's type, or which values are allowed."""
    meta, kind = PARAMETERS[name].metadata, PARAMETERS[name].type
    if kind == "bool":
        if text.lower() not in _TRUTH:
            raise mistake(f"use {where}", "it is neither True nor False", "write True or False")
        return _TRUTH[text.lower()]
    if kind == "int":
        return _number(text, meta["least"], meta["most"], where, mistake)
    if name == "tail_worker_log" and text != "-1" and not all(_is_rank(item) for item in text.split(",")):
        raise mistake(f"use {where}", "it names no ranks", "write -1, or ranks such as 0,3")
    return text


def _number(text: str, least: int | None, most: int | None, where: str, mistake: type[Ma2lError]) -> int:
    digits = text.strip().lstrip("+-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 10 and len(text.strip()) - len(digits) < 2):
        raise mistake(f"use {where}", "it is no whole number", "write a whole number")
    number = int(text)
    if (least is not None and number < least) or (most is not None and number > most):
        allowed = f"from {least} to {most}" if most is not None else f"of {least} or more"
        raise mistake(f"use {where}", "it is out of range", f"write a number {allowed}")
    return number


def _is_rank(text: str) -> bool:
    number = text.strip()
    return number.isascii() and number.isdecimal() and len(number) < 10
