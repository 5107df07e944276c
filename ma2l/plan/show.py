"""The plan as text: a table for people, JSON and YAML for programs. Secrets are masked in all."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ma2l.linux import cpulist
from ma2l.plan import layout
from ma2l.plan.spec import EnvDiff, Plan, ProcessSpec
from ma2l.secrets import mask, mask_argv

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import Any

    from ma2l.cluster import Cluster

_LINES_OF_A_SCRIPT = 10


def counted(number: int, what: str) -> str:
    """``1 rank``, ``2 ranks``, ``2 processes``."""
    plural = "es" if what.endswith("s") else "s"
    return f"{number} {what}{'' if number == 1 else plural}"


def node_of(node_rank: int, nodes: int = 0) -> str:
    """``node 0``, ``node 0 of 2``, and ``a node`` where nodes have no order."""
    of = f" of {nodes}" if nodes else ""
    return f"node {node_rank}{of}" if node_rank >= 0 else f"one of {counted(nodes, 'node')}" if nodes else "a node"


def as_json(plan: Plan, cluster: Cluster | None = None) -> str:
    """The whole plan; bytes that are not UTF-8 appear as lone surrogates, escaped.

    Args:
        cluster: adds all nodes of the job; a file that each of them writes goes without.
    """
    import json

    return json.dumps(_data(plan, cluster), indent=1) + "\n"


def as_yaml(plan: Plan, cluster: Cluster | None = None) -> str:
    """The same as YAML."""
    import json

    import yaml

    plain = json.loads(as_json(plan, cluster))  # tuples are lists
    return str(yaml.safe_dump(plain, sort_keys=False, width=120))


def _data(plan: Plan, cluster: Cluster | None) -> dict[str, Any]:
    from ma2l.records import asdict

    data = asdict(plan)
    data["processes"] = [
        {**asdict(spec), "argv": mask_argv(spec.argv), "env": _masked(spec.env)} for spec in plan.processes
    ]
    data["files"] = [{"path": f.path, "bytes": len(f.content), "sha256": f.sha256()} for f in plan.files]
    return data if cluster is None else {**data, "servers": layout.servers(cluster)}


def as_table(plan: Plan, cluster: Cluster | None = None) -> str:
    """What is decided and why, all nodes, a row per process of this node, then their environment; many are folded."""
    shared = _shared(plan.processes)
    lines = [f"topology   {plan.trail[0]}"]
    lines += [f"           {line}" for line in plan.trail[1:]]
    size = f"{counted(plan.world_size, 'rank')} on {counted(plan.nodes, 'node')}"
    alone = f"; {plan.part}" if plan.part else ""
    servers = f" ({layout.size(cluster)})" if cluster else ""
    lines.append(f"job        {size}{servers}; this is {node_of(plan.node_rank)}{alone}")
    lines.append(f"meeting    {plan.master_addr}:{plan.master_port}")
    lines.append(f"logs       {plan.log_dir}")
    lines += [f"file       {file.path} (SHA-256 {file.sha256()})" for file in plan.files]
    lines.append(f"command    {' '.join(map(_word, mask_argv(plan.processes[0].argv)))}")
    lines += [f"note       {note}" for note in plan.notes]
    lines += [f"warning    {warning}" for warning in plan.warnings]
    if cluster and len(cluster.nodes) > 1:
        lines += ["", *aligned(layout.rows(cluster))]
    lines += ["", *_rows(plan.processes), "", "environment of all processes:", *variables(shared)]
    for place, hidden in _with_gaps(layout.folded(len(plan.processes))):
        spec = plan.processes[place]
        own = {name: value for name, value in spec.env.items() if name not in shared}
        if own:
            lines += ["", *([f"({hidden} alike, each with its own numbers)"] if hidden else ())]
            lines += [f"and of {spec.name}:", *variables(own)]
    return "\n".join(lines).encode(errors="backslashreplace").decode() + "\n"


def _word(word: str) -> str:
    """A word as a shell takes it; of a whole script only its length."""
    lines = len(word.splitlines())
    return shlex.quote(word) if lines < _LINES_OF_A_SCRIPT else f"<script of {lines} lines>"


def _rows(processes: Sequence[ProcessSpec]) -> list[str]:
    bound = any(spec.cpus or spec.memory for spec in processes)
    titles = ("PROCESS", "LOCAL RANK", "DEVICE", *(("CPUS",) if bound else ()), "LOG")
    table: list[tuple[str, ...]] = [titles]
    for place, hidden in _with_gaps(layout.folded(len(processes))):
        spec = processes[place]
        if hidden:
            table.append((f"{hidden} alike", *("" for _ in titles[1:])))
        local = "" if spec.local_rank is None else str(spec.local_rank)
        cpus = (_cpus(spec),) if bound else ()
        table.append((spec.name, local, spec.env.get("DEVICE_ID") or local, *cpus, spec.log or "(this console)"))
    return aligned(table)


def _with_gaps(kept: Sequence[int]) -> list[tuple[int, int]]:
    """Each place that is shown, with how many before it are not."""
    return [(place, place - kept[position - 1] - 1 if position else 0) for position, place in enumerate(kept)]


def aligned(table: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows of equally many cells, one below the other."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]) - 1)]
    rows = ("  ".join((*(cell.ljust(width) for cell, width in zip(row, widths)), row[-1])) for row in table)
    return [row.rstrip() for row in rows]


def _cpus(spec: ProcessSpec) -> str:
    """Such as ``0-7,16``; CPUs of a process that is not bound are ``all``."""
    cpus = cpulist.text(spec.cpus) or "all"
    return f"{cpus} (memory of node {cpulist.text(spec.memory)})" if spec.memory else cpus


def variables(env: EnvDiff) -> list[str]:
    """A line per variable, sorted; secrets masked."""
    return [
        f"  {name} (unset)" if value is None else f"  {name}={mask(name, value)}" for name, value in sorted(env.items())
    ]


def _shared(processes: Sequence[ProcessSpec]) -> EnvDiff:
    """The part of the environment in which all processes agree."""
    first, *others = (spec.env for spec in processes)
    return {name: value for name, value in first.items() if all(name in e and e[name] == value for e in others)}


def _masked(env: EnvDiff) -> dict[str, str | None]:
    return {name: value if value is None else mask(name, value) for name, value in env.items()}
