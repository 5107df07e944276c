"""What the driver's tools say of this node's NPUs, as one text for people and for Huawei's log analyser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ma2l.ascend import tool

_OF_ALL = (("npu-smi", "info"), ("npu-smi", "info", "-m"), ("npu-smi", "info", "-l"))
_OF_EACH = (
    ("hccn_tool", "-i", "{}", "-ip", "-g"),
    ("hccn_tool", "-i", "{}", "-link", "-g"),
    ("hccn_tool", "-i", "{}", "-net_health", "-g"),
    ("hccn_tool", "-i", "{}", "-link_stat", "-g"),
    ("hccn_tool", "-i", "{}", "-stat", "-g"),
)


def text(npus: Sequence[int], environ: Mapping[str, str], timeout_s: float = 10.0) -> str:
    """Every command with what it printed, or why it printed nothing; a tool that is missing is asked once.

    Args:
        npus: physical ids.
        environ: environment for the tools.
        timeout_s: seconds for each.
    """
    commands = [*_OF_ALL, *(tuple(word.format(npu) for word in words) for npu in npus for words in _OF_EACH)]
    first = f"{npus[0]}" if npus else "0"
    commands.insert(1, ("npu-smi", "info", "-t", "board", "-i", first))
    parts, gone = [], set()
    for words in commands:
        if words[0] in gone:
            continue
        printed = tool.run(words[0], words[1:], environ, timeout_s)
        if not printed.ran:
            gone.add(words[0])
        parts.append(f"$ {' '.join(words)}\n{printed.text.rstrip() or printed.failure}\n")
    return "\n".join(parts)
