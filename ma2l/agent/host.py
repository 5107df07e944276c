"""The process that runs an agent and is the parent of the workers it starts.

usage: host AGENT NODE_RANK RANKS_FILE
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence

from ma2l.agent.plan import TASKD, described_ranks
from ma2l.agent.workers import ALL, Workers
from ma2l.errors import ConfigError
from ma2l.linux import libc

TYPE_CHECKING = False  # as everywhere on the start path
if TYPE_CHECKING:
    from typing import Any


class TaskD:
    """MindX TaskD by its agent's functions, which newer versions have, else by its plug-in for msrun."""

    def __init__(self) -> None:
        try:
            from taskd.api import taskd_agent_api as api  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            from taskd.python.framework.agent.ms_mgr import msrun_plugin  # type: ignore[import-not-found,unused-ignore]

            plugin = msrun_plugin.MSRunPlugin()
            self.register_callbacks, self.start = plugin.register_callbacks, plugin.start
        else:
            if not api.init_taskd_agent({"Framework": "MindSpore"}):
                raise RuntimeError("TaskD's agent says that it cannot be used here")
            self.register_callbacks, self.start = api.register_func, api.start_taskd_agent


def main(words: Sequence[str]) -> int:
    """Run the agent to its end, and the workers to theirs; returns the exit code."""
    name, node, path = words
    with open(path, encoding="utf-8") as file:
        specs = described_ranks(file.read())
    libc.become_subreaper()  # what a killed worker had below it is waited for before it is started again
    inherited = frozenset(signal.pthread_sigmask(signal.SIG_BLOCK, []))
    workers = Workers(specs, os.environ, int(node), inherited)

    def stop(signum: int, _frame: object) -> None:
        """The launcher asks this process alone: every worker is asked as it would be, and waited for."""
        workers.signal(signal.SIGTERM)
        workers.wait()
        os._exit(128 + signum)

    signal.signal(signal.SIGTERM, stop)
    for notice in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(notice, lambda signum, _frame: workers.signal(signum))
    try:
        agent = _load(name)
        for callback, function in workers.callbacks().items():
            agent.register_callbacks(callback, function)
        agent.start()
    except ConfigError as error:
        print(f"ma2l: error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except SystemExit as end:
        if end.code not in (None, 0):
            workers.kill([ALL])
            return _said(workers) or (end.code if isinstance(end.code, int) else 1)
    except Exception:  # noqa: BLE001 - an agent may raise anything, and must not hide which rank failed before
        traceback.print_exc()
        workers.kill([ALL])
        return _said(workers) or 1
    workers.wait()
    return _said(workers)


def _said(workers: Workers) -> int:
    """The code of the worker that failed, after naming it: the launcher's report shows the end of this log."""
    failed = workers.failed
    if failed:
        print(
            f"{failed.name} failed: exit code {workers.exit_code}; its log is {failed.log}", file=sys.stderr, flush=True
        )
    return workers.exit_code


def _load(name: str) -> Any:
    """Make the agent.

    Raises:
        ConfigError: there is none of that name.
    """
    if name == TASKD:
        with _found(name, TASKD):
            return TaskD()
    module, _, attribute = name.partition(":")
    sys.path.insert(0, os.getcwd())
    with _found(name, module):
        found = importlib.import_module(module)
    if not hasattr(found, attribute):
        raise ConfigError(f"use the agent {name}", f"the module {module} has no {attribute}", "correct --agent")
    return getattr(found, attribute)()


@contextlib.contextmanager
def _found(name: str, module: str) -> Iterator[None]:
    """Tell a module that is not there from one whose own imports are not.

    Raises:
        ConfigError: it is not there.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if f"{module}.".startswith(f"{error.name}."):
            why = f"{sys.executable} has no module {error.name}"
            raise ConfigError(f"use the agent {name}", why, "install it there, or correct --agent") from None
        raise
