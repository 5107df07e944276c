"""``ma2l help``: usage and every option with its default, from their declarations."""

from __future__ import annotations

from ma2l.cli import show
from ma2l.settings import FIELDS

USAGE = """\
usage: ma2l [OPTION...] [--] CMD...        run CMD once per Ascend NPU
       ma2l plan [OPTION...] [--] CMD...   print what would run, and why
       ma2l plan msrun [OPTION...] TASK... print what ma2l msrun would run
       ma2l msrun [OPTION...] TASK...      run TASK as MindSpore's msrun does; see ma2l msrun --help
       ma2l stop [--now] RUN               stop a run on this node
       ma2l stacks [RUN]                   show where the ranks of a run on this node stand
       ma2l doctor [OPTION...] [CMD...]    say whether this node is ready, and what to do
       ma2l results DIR...                 what a job measured; also record, upload: see their --help
       ma2l ranktable show|check|convert|merge|generate ...    see ma2l ranktable --help
       ma2l config show|schema|sample|completion
       ma2l collect [-o FILE] LOG_DIR      pack everything that helps to find a fault
       ma2l explain LOG_DIR...             say why a job ended, from its logs alone
       ma2l help | version
"""


def print_help() -> int:
    """Print usage and options, grouped."""
    lines = [USAGE]
    group = ""
    for name, option in FIELDS.items():
        meta = option.metadata
        if meta["group"] != group:
            group = meta["group"]
            lines.append(f"\n{group}\n")
        argument = "|".join(meta["choices"]) or meta["value"]
        flag = f"--{name.replace('_', '-')} {argument}".rstrip()
        default = "" if option.default in (None, False) else f" (default: {option.default:g})" if isinstance(
            option.default, float
        ) else f" (default: {option.default})"  # fmt: skip
        lines.append(f"  {flag:<34}{'' if len(flag) < 34 else chr(10) + ' ' * 36}{meta['help']}{default}\n")
    lines.append(
        "\nEvery option is also a variable MA2L_<NAME> and a key of the YAML file. Options end at the command.\n"
    )
    show("".join(lines))
    return 0
