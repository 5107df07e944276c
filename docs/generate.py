"""Writes the pages of ``docs/reference`` that are made from the code. Usage: ``python docs/generate.py``.

``tests/unit/test_docs.py`` fails while one of them is stale.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path

from ma2l import errors
from ma2l.cli import VERBS
from ma2l.diagnose.known_errors import as_markdown
from ma2l.doctor import checks, supported
from ma2l.logs.names import Names
from ma2l.plan.spec import Plan
from ma2l.settings import FIELDS
from ma2l.supervise.machine import HANG_CODE
from tests.unit.scenario import mock_nodes, plan

REFERENCE = Path(__file__).parent / "reference"
MADE = "<!-- made by docs/generate.py; do not edit -->\n"
OPTIONS = """\
# Options

Each option is a flag, a variable `MA2L_<NAME>` and a key of `ma2l.yaml`; the first that is set wins, in this order,
then `--profile`, then the default. `-` and `_` in names are the same, names are never abbreviated, and options end at
the command. `ma2l config show` tells each value and where it comes from.
"""
VARIABLES = """\
# Variables

What ma2l sets for rank 3, the last of a ModelArts job of 2 nodes with 2 NPUs each, as `ma2l plan` shows it. *unset*:
taken away; empty: left as it is. Identity (ranks, sizes, addresses) is always computed; for everything else the user's
value wins.

"""
EXIT_CODES = """\
# Exit codes

The first failure's: the worker's own code, or 128 + signal. A stop signal S before any failure gives 128 + S, even when
every worker then exits with 0. What ma2l itself has to say is below; codes from 128 on are worth a retry, and they are
above every 128 + signal.

| code | meaning |
|---|---|
"""
FILES = """\
# Files

In the log directory: `--log-dir`, off a platform `ma2l-log/RUN`, on ModelArts its own (`MA_LOG_DIR`). A later attempt
in the same directory has its number in the name (`.attempt2`); nothing is overwritten. Where every server is a job of
its own, logs of ranks carry the node too.

| file | on ModelArts | content |
|---|---|---|
"""


def options() -> str:
    """Every option."""
    lines = [MADE, OPTIONS]
    group = ""
    for name, option in FIELDS.items():
        meta = option.metadata
        if meta["group"] != group:
            group = meta["group"]
            lines.append(f"\n## {group}\n\n| option | value | default | meaning |\n|---|---|---|---|\n")
        value = ", ".join(f"`{choice}`" for choice in meta["choices"]) or (
            f"`{meta['value']}`" if meta["value"] else ""
        )
        default = "" if option.default in (None, False) else f"`{option.default}`"
        lines.append(f"| `--{name.replace('_', '-')}` | {_cell(value)} | {default} | {_cell(meta['help'])} |\n")
    return "".join(lines)


def variables() -> str:
    """What a rank sees, from real plans."""
    with tempfile.TemporaryDirectory() as directory:
        node = mock_nodes("modelarts", "2x2", directory)[1]
        node["MA_LOG_DIR"] = "/logs"
        command = ("python", "train.py")
        plans = {
            "ranktable": plan(node, command),
            "torch": plan(node, command, mode="torch"),
            "dynamic-cluster": plan(node, command, mode="dynamic-cluster"),
            "once per node": plan(node, ("torchrun", "train.py")),
        }
        columns = {name: _env(made, directory) for name, made in plans.items()}
    names = sorted({name for env in columns.values() for name in env})
    lines = [MADE, VARIABLES]
    lines.append(f"| variable | {' | '.join(f'`{name}`' if ' ' not in name else name for name in columns)} |\n")
    lines.append("|---" * (len(columns) + 1) + "|\n")
    for name in names:
        cells = (_shown(env[name]) if name in env else "" for env in columns.values())
        lines.append(f"| `{name}` | {' | '.join(cells)} |\n")
    return "".join(lines)


def _env(made: Plan, directory: str) -> dict[str, str | None]:
    env = made.processes[-1].env
    return {name: value.replace(directory, "") if value else value for name, value in env.items()}


def _shown(value: str | None) -> str:
    return "*unset*" if value is None else f"`{value}`"


def exit_codes() -> str:
    """Every exit code of ours."""
    rows: dict[int, list[str]] = {HANG_CODE: ["The ranks hang (worth a retry); only with `--hang-action stop`."]}
    for _, error in inspect.getmembers(errors, inspect.isclass):
        if issubclass(error, errors.Ma2lError) and error is not errors.Ma2lError:
            rows.setdefault(error.exit_code, []).append((error.__doc__ or "").split("\n\n")[0].replace("``", "`"))
    rows[errors.Ma2lError.exit_code] = ["A bug in ma2l (permanent)."]
    lines = [MADE, EXIT_CODES]
    lines += [f"| {code} | {' '.join(' '.join(texts).split())} |\n" for code, texts in sorted(rows.items())]
    return "".join(lines)


def files() -> str:
    """Every file that a run leaves."""
    plain, platform = Names("", "node0"), Names("", "node0", job_id="modelarts-job-ID")
    arguments: dict[str, tuple[object, ...]] = {"rank": (3, 3), "device_logs": (3,), "stacks": ("TIME",)}
    lines = [MADE, FILES]
    for name, method in inspect.getmembers(Names, inspect.isfunction):
        if not name.startswith("_"):
            shown = [str(getattr(names, name)(*arguments.get(name, ()))).lstrip("/") for names in (plain, platform)]
            lines.append(f"| `{shown[0]}` | `{shown[1]}` | {(method.__doc__ or '').rstrip('.')} |\n")
    return "".join(lines)


def commands() -> str:
    """What each verb says of itself."""
    import importlib

    from ma2l.cli.help import USAGE

    lines = [MADE, "# Commands\n\n", f"```text\n{USAGE}```\n"]
    for verb in sorted(VERBS):
        module = importlib.import_module(f"ma2l.cli.{verb}")
        if hasattr(module, "USAGE"):
            lines.append(f"\n## ma2l {verb}\n\n```text\n{module.USAGE}```\n")
    return "".join(lines)


def checks_page() -> str:
    """What the doctor asks, and the versions that it knows."""
    lines = [MADE, "# Checks of ma2l doctor\n\n| check | why |\n|---|---|\n"]
    lines += [f"| {check.name} | {check.why} |\n" for check in checks.ALL]
    lines.append("\n## Versions that belong together\n\nAs published; what is not here is not judged.\n\n")
    lines.append("| CANN | driver (Ascend HDK) |\n|---|---|\n")
    lines += [f"| {cann} | {', '.join(drivers)} |\n" for cann, drivers in supported.DRIVERS.items()]
    for framework, versions in supported.FRAMEWORKS.items():
        lines.append(f"\n| {framework} | CANN |\n|---|---|\n")
        lines += [f"| {version} | {', '.join(canns)} |\n" for version, canns in versions.items()]
    return "".join(lines)


PAGES: dict[str, Callable[[], str]] = {
    "options.md": options,
    "variables.md": variables,
    "exit-codes.md": exit_codes,
    "files.md": files,
    "commands.md": commands,
    "doctor.md": checks_page,
    "known-errors.md": as_markdown,
}


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    for page, make in PAGES.items():
        (REFERENCE / page).write_text(make(), encoding="utf-8")
