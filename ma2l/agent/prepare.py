"""Looks for the Python that has the agent, and hands the ranks of a plan over to it."""

from __future__ import annotations

from ma2l.agent.plan import check_name, handed_over
from ma2l.errors import CommandNotFound
from ma2l.logs.names import Names
from ma2l.plan.spec import Plan, Site
from ma2l.supervise.system import find_program


def hand_over(plan: Plan, agent: str, names: Names, here: Site) -> Plan:
    """The plan in which the agent's process stands for the ranks.

    Raises:
        CommandNotFound: there is no Python on PATH.
        ConfigError: as ``check_name`` and ``handed_over``.
    """
    check_name(agent)
    path = here.environ.get("PATH", "")
    try:
        python = find_program("python", path)
    except CommandNotFound:
        python = find_program("python3", path)
    return handed_over(plan, agent, python, here.run_dir, names.agent())
