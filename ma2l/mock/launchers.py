"""A mock of several nodes: the plan of a launcher whose processes are real launchers, one per pretended node."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from ma2l.mock.node import MockJob
from ma2l.plan.spec import Plan, ProcessSpec
from ma2l.records import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ma2l.diagnose.outcome import Outcome

_FOR_US = ("mock", "mock_platform", "mock_soc", "mock_table_delay", "log_dir")


def plan(job: MockJob, flags: Mapping[str, str], command: tuple[str, ...], run_id: str, log_dir: str) -> Plan:
    """Start ``ma2l`` once per node with what that node would have.

    Args:
        flags: the options of this launcher's command line, passed on except those about the mock.
        log_dir: the nodes share it, as they would a platform's log storage; file names carry the node.
    """
    options = [f"--{name}={value}" for name, value in flags.items() if name not in _FOR_US]
    if "log_dir" in flags:
        options.append(f"--log_dir={log_dir}")
    argv = (*_ourselves(), *options, "--", *command)
    shared = {} if job.platform == "modelarts" else {"MA2L_LOG_DIR": log_dir}  # ModelArts has a log directory itself
    specs = tuple(
        ProcessSpec("launcher", argv, argv[0], {**node.environ, **shared}, log=None, local_rank=rank)
        for rank, node in enumerate(job.nodes)
    )
    return Plan(
        run_id=run_id,
        mode="mock",
        node_rank=0,
        nodes=job.shape.nodes,
        world_size=job.shape.nodes * job.shape.devices,
        master_addr="127.0.0.1",
        master_port=0,
        log_dir=log_dir,
        processes=specs,
        files=(),
        trail=(f"mock of a {job.platform} job",),
        notes=(),
    )


def judged(outcome: Outcome) -> Outcome:
    """The outcome with the launcher first whose ranks failed first, and its exit code.

    The first launcher to end may be another's: it had nothing to wait for, where the first to fail lets its other ranks
    save. The nodes' own outcomes tell, which lie in the log directory that they share.
    """
    if outcome.cause != "failure" or outcome.started_at is None:
        return outcome
    from ma2l.diagnose.saved import read_directory

    try:
        runs = read_directory(outcome.log_dir)[0]
    except OSError:
        return outcome
    last = {run.outcome.node_rank: run.outcome for run in sorted(runs, key=lambda run: run.attempt) if not run.guessed}
    failed = [
        (run.first.ended_at, node)
        for node, run in last.items()
        if run.cause == "failure" and run.first and run.first.ended_at and run.first.ended_at >= outcome.started_at
    ]
    if not failed:
        return outcome
    _, node = min(failed)
    return replace(outcome, first=outcome.processes[node], exit_code=last[node].exit_code)


def _ourselves() -> tuple[str, ...]:
    """The command that started this launcher; ``python -m ma2l`` has the path of ``__main__.py`` as its name."""
    script = sys.argv[0]
    if os.path.basename(script) == "__main__.py" or not os.path.isfile(script):
        return (sys.executable, "-m", "ma2l")
    return (sys.executable, os.path.abspath(script))
