"""Hands the ranks of a plan over to an agent. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

from ma2l.errors import ConfigError
from ma2l.plan.child import run_module
from ma2l.plan.spec import EnvDiff, Plan, PlannedFile, ProcessSpec
from ma2l.records import asdict, replace

ROLE = "agent"
TASKD = "taskd"


def check_name(agent: str) -> None:
    """See that it may name an agent.

    Raises:
        ConfigError: it has another form.
    """
    module, _, attribute = agent.partition(":")
    if agent != TASKD and not all(word.isidentifier() for word in (*module.split("."), attribute)):
        raise ConfigError(f"use the agent {agent}", f"it is neither {TASKD} nor MODULE:NAME", "correct --agent")


def handed_over(plan: Plan, agent: str, python: str, run_dir: str, log: str) -> Plan:
    """The plan with one process in place of its ranks; a scheduler stays the launcher's.

    Args:
        agent: ``taskd``, or ``MODULE:NAME`` of what makes one.
        python: path of the interpreter that has the agent.
        run_dir: where the ranks are described, for that process alone: an environment may hold secrets.
        log: where the agent writes.

    Raises:
        ConfigError: this plan's ranks are started by somebody else already.
    """
    ranks = [spec for spec in plan.processes if spec.role == "rank"]
    if not ranks:
        why = "here the command starts the ranks itself"
        raise ConfigError(f"use the agent {agent}", why, "leave --agent out, or let ma2l start them")
    path = f"{run_dir}/ranks.json"
    node = {} if plan.node_rank < 0 else {"MS_NODE_RANK": str(plan.node_rank)}
    env: EnvDiff = {**_shared(ranks), **node, "MS_ENABLE_RECOVERY": "1"}
    host = ProcessSpec(ROLE, (python, *run_module("agent.host"), agent, str(plan.node_rank), path), python, env, log)
    others = tuple(spec for spec in plan.processes if spec.role != "rank")
    numbered = tuple((spec.number, spec.log) for spec in ranks if spec.number is not None and spec.log)
    described = json.dumps([asdict(spec) for spec in ranks]).encode()
    return replace(
        plan,
        processes=(*others, host),
        files=(*plan.files, PlannedFile(path, described, kind="text")),
        rank_logs=numbered,
        notes=(*plan.notes, f"the agent {agent} starts and kills the ranks of this node"),
    )


def described_ranks(content: str) -> list[ProcessSpec]:
    """The ranks that ``handed_over`` has written down."""
    ranks = []
    for entry in json.loads(content):
        tuples = {name: tuple(entry[name]) for name in ("argv", "cpus", "memory")}
        ranks.append(ProcessSpec(**{**entry, **tuples}))
    return ranks


def _shared(ranks: list[ProcessSpec]) -> Mapping[str, str | None]:
    """The part of the environment in which all ranks agree: where the scheduler is, how many ranks there are."""
    first, *rest = (spec.env for spec in ranks)
    alike = {name: value for name, value in first.items() if all(name in e and e[name] == value for e in rest)}
    own = ("RANK", "RANK_ID", "LOCAL_RANK", "DEVICE_ID", "ASCEND_DEVICE_ID", "MS_NODE_ID", "MS_ROLE")
    return {name: value for name, value in alike.items() if name not in own}
