"""``ma2l ranktable``: look at rank tables, check, convert, merge and make them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ma2l import log
from ma2l.cli import show
from ma2l.errors import ConfigError, GaveUpWaiting, UsageError
from ma2l.ranktable import Incomplete, RankTable, canonical, check, fingerprint, parse, violations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

USAGE = """\
usage: ma2l ranktable show [FILE]                           servers, ranks and devices of a table
       ma2l ranktable check [FILE...]                       everything that HCCL would refuse, a line each
       ma2l ranktable convert FILE --to 1.0|1.2|2.0 [--lossy] [-o OUT]
       ma2l ranktable merge FILE... [-o OUT]                one job of several tables, ranks numbered through
       ma2l ranktable generate [--devices 0-7|[0,8)] [--server-id IP] [-o OUT]
                                                            the table of this server, from its device files,
                                                            /etc/hccn.conf, hccn_tool or npu-smi

FILE is a table, or a directory that holds jobstart_hccl.json; without one it is the table that this job announces.
Without -o the result goes to standard output. Exit code 78: the table is wrong; 203: it is not complete yet.
"""
_OPTIONS = {"--to": True, "--lossy": False, "-o": True, "--output": True, "--devices": True, "--device_num": True,
            "--device-num": True, "--server-id": True, "--server_ip": True, "--server-ip": True}  # fmt: skip
"""Whether an option takes a value; ``device_num`` and ``server_ip`` are those of hccl_tools.py."""
_SAME = {"--output": "-o", "--device_num": "--devices", "--device-num": "--devices", "--server_ip": "--server-id",
         "--server-ip": "--server-id"}  # fmt: skip
_ALLOWED = {
    "show": (),
    "check": (),
    "convert": ("--to", "--lossy", "-o"),
    "merge": ("-o",),
    "generate": ("--devices", "--server-id", "-o"),
}


def ranktable(words: Sequence[str]) -> int:
    """Parse, do, return the exit code."""
    if not words or words[0] in ("--help", "-h", "help") or "--help" in words:
        show(USAGE)
        return 0 if words else UsageError.exit_code
    action, rest = words[0], words[1:]
    if action not in _ALLOWED:
        raise UsageError(f"do {action!r} to rank tables", "no such action", f"choose one of {', '.join(_ALLOWED)}")
    options, files = _split(action, rest)
    if action == "check":
        return _check(files or [_announced()])
    if action == "show":
        if len(files) > 1:
            raise UsageError("show several rank tables", "they would run into each other", "name one")
        return _show(files[0] if files else _announced())
    if action == "convert":
        return _convert(files, options)
    if action == "merge":
        return _merge(files, options)
    return _generate(files, options)


def _split(action: str, words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    options: dict[str, str] = {}
    files: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if not word.startswith("-") or word == "-":
            files.append(word)
            continue
        known = _SAME.get(name, name)
        if known not in _ALLOWED[action]:
            raise UsageError(f"use the option {name}", f"ma2l ranktable {action} has none", "see ma2l ranktable --help")
        if not _OPTIONS[name]:
            options[known] = "true"
        elif equals or rest:
            options[known] = value if equals else rest.pop(0)
        else:
            raise UsageError(f"use {name}", "its value is missing", f"write {name} VALUE")
    return options, files


def _announced() -> str:
    from ma2l.platforms import tables

    found = tables.announced(None, os.environ)
    if found is None:
        raise UsageError(
            "find a rank table", "no variable names one and no platform directory is mounted", "name a file"
        )
    log.info(f"the rank table {found.path} ({found.by})")
    return tables.file_of(found)


def _raw(path: str) -> tuple[bytes, str]:
    """The content and the name of a table.

    Raises:
        ConfigError: it is not there, or cannot be read.
    """
    from ma2l.platforms import tables

    file = tables.file_of(tables.Announced(path, ""))
    try:
        return tables.content(file), file
    except OSError as error:
        raise ConfigError(f"read the rank table {file}", str(error.strerror), "check the path") from None


def _table(path: str) -> RankTable:
    raw, source = _raw(path)
    found = parse(raw, source)
    if isinstance(found, Incomplete):
        raise GaveUpWaiting(f"use the rank table {source}", f"it is not complete: {found.summary}", "ask again later")
    return found


def _check(files: Sequence[str]) -> int:
    """Say everything that is wrong with each; the exit code is the worst."""
    worst = 0
    for path in files:
        raw, source = _raw(path)
        try:
            found = violations(raw, source)
        except ConfigError as error:
            found = [str(error)]
        if isinstance(found, Incomplete):
            show(f"{source}: not complete: {found.summary}\n")
            worst = worst or GaveUpWaiting.exit_code
        elif found:
            show("".join(f"{source}: {line}\n" for line in found))
            worst = ConfigError.exit_code
        else:
            table = _table(path)
            show(f"{source}: fine, form {table.form}, {_size(table)}\n")
    return worst


def _size(table: RankTable) -> str:
    from ma2l.cluster import Cluster
    from ma2l.plan import layout

    ranks = sum(len(node.devices) for node in table.nodes)
    return f"{ranks} rank{'s'[: ranks != 1]} on {layout.size(Cluster(table.nodes, 0))}"


def _show(path: str) -> int:
    from ma2l.cluster import Cluster
    from ma2l.plan import layout
    from ma2l.plan.show import aligned

    table = _table(path)
    lines = [f"file     {table.source}", f"form     {table.form}", f"job      {_size(table)}",
             f"SHA-256  {fingerprint(canonical(table.document))} as every rank reads it", ""]  # fmt: skip
    rows = [row[:-1] for row in layout.rows(Cluster(table.nodes, -1))]
    show("\n".join([*lines, *aligned(rows)]) + "\n")
    return 0


def _convert(files: Sequence[str], options: dict[str, str]) -> int:
    from ma2l.ranktable.convert import FORMS, convert

    if len(files) != 1:
        raise UsageError("convert a rank table", f"{len(files)} were named", "name one")
    to = options.get("--to", "")
    if not to:
        raise UsageError(f"convert {files[0]}", "nothing says into what", f"write --to {'|'.join(FORMS)}")
    if to not in FORMS:
        raise UsageError(f"convert to {to!r}", "no such form", f"write --to {'|'.join(FORMS)}")
    table = _table(files[0])
    converted = convert(table, to)
    if converted.lost and "--lossy" not in options:
        lost = ", ".join(converted.lost)
        raise ConfigError(
            f"convert {table.source} to {to}", f"it would lose {lost}", "add --lossy if nobody needs that"
        )
    return _put_out(converted.document, f"{table.source} as {to}", options)


def _merge(files: Sequence[str], options: dict[str, str]) -> int:
    from ma2l.ranktable.merge import merge

    if len(files) < 2:
        raise UsageError("merge rank tables", f"{len(files) or 'none'} named", "name two or more")
    return _put_out(merge([_table(path) for path in files]), f"the merged table of {', '.join(files)}", options)


def _generate(files: Sequence[str], options: dict[str, str]) -> int:
    from ma2l.ascend import host
    from ma2l.cluster import Device, Node
    from ma2l.errors import NoUsableDevice
    from ma2l.ranktable import build

    if files:
        raise UsageError(f"use {files[0]}", "ma2l ranktable generate reads no table", "leave it out")
    wanted = _devices(options["--devices"]) if "--devices" in options else None
    npus = host.find(os.environ)
    if isinstance(npus, str):
        raise NoUsableDevice("make a rank table of this server", npus, "run on an Ascend node")
    missing = sorted(set(wanted or ()) - set(npus.device_ids))
    if missing:
        have = ", ".join(map(str, npus.device_ids))
        raise NoUsableDevice(f"use the devices {', '.join(map(str, missing))}", f"here are {have}", "correct --devices")
    server_id = options.get("--server-id") or _own_address()
    ids = npus.device_ids if wanted is None else wanted
    devices = tuple(Device(rank, id_, npus.ips.get(id_, "")) for rank, id_ in enumerate(ids))
    without = [str(device.device_id) for device in devices if not device.ip]
    if without:
        log.warning(f"nothing tells the IP of the devices {', '.join(without)}: good for one server, not to be merged")
    document = build((Node(0, server_id, server_id, devices),))
    return _put_out(document, f"the table of this server (devices from {npus.how})", options)


def _devices(text: str) -> tuple[int, ...]:
    """``0-7``, ``0,1,4`` or hccl_tools' ``[0,8)``, which ends before its last number."""
    from ma2l.linux import cpulist

    try:
        if text.startswith("[") and text.endswith(")"):
            first, last = (int(part) for part in text[1:-1].split(","))
            ids: tuple[int, ...] = tuple(range(first, last))
        else:
            ids = cpulist.parse(text)
    except ValueError:
        ids = ()
    if not ids or min(ids) < 0:
        raise UsageError(f"use --devices {text}", "it names no devices", "write 0-7, 0,1,4 or [0,8)")
    return ids


def _own_address() -> str:
    """The address that other servers see: no packet is sent to find out."""
    from ma2l.linux.net import source_address

    return source_address("192.0.2.1") or os.uname().nodename  # any address beyond the own network will do


def _put_out(document: dict[str, Any], what: str, options: dict[str, str]) -> int:
    """Print or write a table that HCCL would take.

    Raises:
        ConfigError: it would not; the first violations are named.
    """
    from ma2l.ranktable import write

    wrong = check(document)
    if wrong:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ConfigError(f"make {what}", "; ".join(wrong[:3]) + more)
    content = canonical(document)
    if "-o" in options:
        write(content, options["-o"])
        log.info(f"wrote {options['-o']}: {what}")
        return 0
    show(content)
    return 0
