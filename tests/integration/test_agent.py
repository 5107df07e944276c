"""A platform's agent starts, watches and kills the ranks through msrun's four callbacks; ma2l keeps its promises."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ma2l.linux import net
from tests.integration.harness import Running, run, until

Script = Callable[..., str]
WAIT = "while :; do sleep 1000 & wait; done"
FAKE = """\
import time


class Agent:
    def __init__(self):
        self.call = {{}}

    def register_callbacks(self, name, function):
        self.call[name] = function

    def states(self):
        return self.call["MONITOR"]([-1])

    def until(self, condition):
        while not condition(self.states()):
            time.sleep(0.01)

    def start(self):
{body}
"""
WITH_ONE_RESTART = """\
        assert [state["status"] for state in self.states().values()] == [200, 200]
        assert self.call["START_ALL_WORKER"]() in (0, 1)  # 1 where the worker has failed by then
        self.until(lambda states: states[1]["status"])
        failed = self.states()[1]
        print("failed:", failed["status"], failed["global_rank"], failed["local_rank"], flush=True)
        assert self.states()[0]["status"] is None
        self.call["KILL_WORKER"]([failed["pid"]])
        assert self.call["START_WORKER_LIST"]([1]) == 0
        self.until(lambda states: all(state["status"] == 0 for state in states.values()))
"""
RAISES = """\
        self.call["START_ALL_WORKER"]()
        self.until(lambda states: states[1]["status"])
        raise RuntimeError("the master is gone")
"""
GIVES_UP = """\
        self.call["START_ALL_WORKER"]()
        self.until(lambda states: states[1]["status"])
        self.call["KILL_WORKER"]([-1])
        assert all(state["status"] for state in self.states().values())
        exit(1)
"""
GIVES_UP_OR_ENDS = """\
        self.call["START_ALL_WORKER"]()
        self.until(lambda states: all(state["status"] is not None for state in states.values()))
        exit(any(state["status"] for state in self.states().values()))
"""
STARTS_ONLY = """\
        self.call["START_ALL_WORKER"]()
"""
FAILS_ONCE = """\
echo "start of $RANK"
if [ "$RANK" = 1 ]; then [ -e again ] || { touch again; exit 9; }; touch go; exit 0; fi
while [ ! -e go ]; do sleep 0.01; done"""


def agent(here: str, body: str) -> tuple[str, str]:
    """The option that names a fake agent whose ``start`` does this."""
    Path(here, "fake.py").write_text(FAKE.format(body=body))
    return "--agent", "fake:Agent"


def outcome(here: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(here, "logs/node0.outcome.json").read_text())
    return found


def test_an_agent_restarts_one_worker_and_spares_the_other(here: str, script: Script) -> None:
    words = ("--mock", "2", "--log-dir", "logs", *agent(here, WITH_ONE_RESTART), script(FAILS_ONCE))
    finished = run(*words, cwd=here)
    assert finished.code == 0
    assert Path(here, "logs/worker_0.log").read_text() == "start of 0\n"
    assert Path(here, "logs/worker_1.log").read_text() == "start of 1\nstart of 1\n"
    assert "failed: 9 1 1" in Path(here, "logs/node0.agent.log").read_text()


def test_where_an_agent_gives_up_the_code_is_the_workers_own(here: str, script: Script) -> None:
    words = ("--mock", "2", "--log-dir", "logs", *agent(here, GIVES_UP), script(f'[ "$RANK" = 0 ] || exit 9; {WAIT}'))
    finished = run(*words, cwd=here)
    assert finished.code == 9
    assert outcome(here)["first"]["name"] == "agent"
    assert f"rank 1 failed: exit code 9; its log is {here}/logs/worker_1.log" in finished.err


def test_an_agent_that_breaks_does_not_hide_who_failed(here: str, script: Script) -> None:
    words = ("--mock", "2", "--log-dir", "logs", *agent(here, RAISES), script(f'[ "$RANK" = 0 ] || exit 9; {WAIT}'))
    finished = run(*words, cwd=here)
    assert finished.code == 9
    assert f"rank 1 failed: exit code 9; its log is {here}/logs/worker_1.log" in finished.err
    assert "RuntimeError: the master is gone" in Path(here, "logs/node0.agent.log").read_text()


def test_what_a_crashed_worker_left_is_gone_before_its_next_start(here: str, script: Script) -> None:
    """As that of a killed one: what holds the NPU would make the next start fail."""
    worker = script(
        'if [ "$RANK" = 0 ]; then while [ ! -e go ]; do sleep 0.01; done; exit 0; fi\n'
        "if [ ! -e left ]; then sleep 1000 & echo $! > left; exit 9; fi\n"
        'touch go; ! kill -0 "$(cat left)"'
    )
    assert run("--mock", "2", "--log-dir", "logs", *agent(here, WITH_ONE_RESTART), worker, cwd=here).code == 0


def test_msrun_with_an_agent_starts_again_with_files_of_its_own(here: str, script: Script) -> None:
    worker = script(
        '[ "$MS_ROLE" = MS_WORKER ] || exit 0; echo "attempt $MA2L_RESTART_COUNT"; '
        '[ "$RANK_ID" = 0 ] || [ "$MA2L_RESTART_COUNT" = 1 ] || exit 9'
    )
    env = {"MA2L_AGENT": agent(here, GIVES_UP_OR_ENDS)[1], "MA2L_MAX_RESTARTS": "1", "MA2L_RESTART_ON": "9"}
    port = f"--master_port={net.free_ports(1)[0]}"
    words = ("msrun", "--join=True", port, "--worker_num=2", "--local_worker_num=2", "--log_dir=logs", worker)
    assert run(*words, cwd=here, env=env).code == 0
    assert Path(here, "logs/worker_1.log.1").read_text() == "attempt 0\n"
    assert Path(here, "logs/worker_1.log").read_text() == "attempt 1\n"


def test_workers_are_waited_for_after_the_agents_own_end(here: str, script: Script) -> None:
    worker = script('sleep 0.2; touch "done.$RANK"; exit "$RANK"')
    assert run("--mock", "2", *agent(here, STARTS_ONLY), worker, cwd=here).code == 1
    assert sorted(path.name for path in Path(here).glob("done.*")) == ["done.0", "done.1"]


def test_a_stop_asks_every_worker_and_waits_for_it(here: str, script: Script) -> None:
    worker = script(f"""trap 'sleep 0.2; touch "saved.$RANK"; exit 0' TERM; touch "ready.$RANK"; {WAIT}""")
    with Running("--mock", "2", *agent(here, STARTS_ONLY), worker, cwd=here) as running:
        until(lambda: len(list(Path(here).glob("ready.*"))) == 2)
        running.send(signal.SIGTERM)
        assert running.finish().code == 143
    assert sorted(path.name for path in Path(here).glob("saved.*")) == ["saved.0", "saved.1"]


def test_nobody_is_watched_for_hangs_and_that_is_said(here: str, script: Script) -> None:
    """The ranks may have ended well while the agent still waits for its master."""
    body = STARTS_ONLY + "        time.sleep(2.5)\n"
    words = ("--mock", "2", "--hang-timeout", "2", "--hang-action", "stop", *agent(here, body))
    finished = run(*words, script("echo done"), cwd=here)
    assert finished.code == 0
    assert "warning: --hang-timeout has no effect with --agent" in finished.err


def test_what_was_only_told_something_is_not_waited_for(here: str, script: Script) -> None:
    """A shell passes SIGUSR1 to what it runs; the helper that stays is swept away at the end, not waited for."""
    worker = script('trap "exit 0" USR1; sleep 1000 & : > "up.$RANK"; while :; do wait; done')
    with Running("--mock", "2", "--log-dir", "logs", *agent(here, STARTS_ONLY), worker, cwd=here) as running:
        until(lambda: len(list(Path(here).glob("up.*"))) == 2)
        running.send(signal.SIGUSR1)
        assert running.finish().code == 0


def test_what_a_shell_runs_may_save_for_longer_than_strays_get(here: str, script: Script) -> None:
    inner = script(f"""trap 'sleep 4; touch "saved.$RANK"; exit 0' TERM; touch "ready.$RANK"; {WAIT}""", "inner.sh")
    with Running("--mock", "2", *agent(here, STARTS_ONLY), script(f"{inner}\necho after"), cwd=here) as running:
        until(lambda: len(list(Path(here).glob("ready.*"))) == 2)
        running.send(signal.SIGTERM)
        assert running.finish().code == 143
    assert sorted(path.name for path in Path(here).glob("saved.*")) == ["saved.0", "saved.1"]


def test_what_a_killed_worker_had_below_it_is_gone_before_the_next_start(here: str, script: Script) -> None:
    worker = script(
        """[ "$RANK" = 1 ] || exec sleep 1000
[ -e stray ] && { kill -0 "$(cat stray)" 2>/dev/null && exit 3; exit 0; }
setsid sleep 1000 & echo $! > new; mv new stray; wait"""
    )
    body = """\
        import os
        self.call["START_ALL_WORKER"]()
        self.until(lambda states: os.path.exists("stray"))
        self.call["KILL_WORKER"]([self.states()[1]["pid"]])
        self.call["START_WORKER_LIST"]([1])
        self.until(lambda states: states[1]["status"] is not None)
        self.call["KILL_WORKER"]([self.states()[0]["pid"]])
"""
    finished = run("--mock", "2", *agent(here, body), worker, cwd=here)
    assert finished.code == 0


@pytest.mark.parametrize("victim", ["agent", "launcher"])
def test_nothing_is_left_where_the_agent_or_the_launcher_is_killed(here: str, script: Script, victim: str) -> None:
    worker = script(f'echo "$PPID" > parent; setsid sleep 1000 & touch "ready.$RANK"; {WAIT}')
    with Running("--mock", "2", *agent(here, STARTS_ONLY), worker, cwd=here) as running:
        until(lambda: len(list(Path(here).glob("ready.*"))) == 2)
        pid = int(Path(here, "parent").read_text()) if victim == "agent" else running.launcher
        os.kill(pid, signal.SIGKILL)
        assert running.finish().code == 137


@pytest.mark.parametrize("words", [("--per-node",), ("--mode", "mpirun")])
def test_who_starts_no_ranks_needs_no_agent(here: str, words: tuple[str, ...]) -> None:
    finished = run("--mock", "2", *words, "--agent", "fake:Agent", "true", cwd=here)
    assert finished.code in (2, 78)
    assert "cannot use " in finished.err


NEW_TASKD = """\
from fake import Agent
agent = Agent()
register_func = agent.register_callbacks
start_taskd_agent = agent.start
def init_taskd_agent(config):
    return config == {"Framework": "MindSpore"}
"""
OLD_TASKD = "from fake import Agent as MSRunPlugin\n"


@pytest.mark.parametrize(
    ("module", "text"),
    [("taskd/api/taskd_agent_api.py", NEW_TASKD), ("taskd/python/framework/agent/ms_mgr/msrun_plugin.py", OLD_TASKD)],
    ids=["its agent", "its plug-in for msrun"],
)
def test_taskd_is_found_by_either_of_its_interfaces(here: str, script: Script, module: str, text: str) -> None:
    agent(here, WITH_ONE_RESTART)
    Path(here, module).parent.mkdir(parents=True)
    Path(here, module).write_text(text)
    env = {"PYTHONPATH": here, "PYTHONDONTWRITEBYTECODE": "1", "MA2L_AGENT": "taskd"}
    words = ("msrun", "--worker_num=2", "--local_worker_num=2", "--join=True", "--log_dir=logs")
    worker = script(f'[ "$MS_ROLE" = MS_SCHED ] && exit 0\nRANK=$DEVICE_ID\n{FAILS_ONCE}')
    finished = run(*words, f"--master_port={net.free_ports(1)[0]}", worker, cwd=here, env=env)
    assert finished.code == 0
    assert Path(here, "logs/worker_1.log").read_text() == "start of 1\nstart of 1\n"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("foo", "it is neither taskd nor MODULE:NAME; correct --agent"),
        ("foo:bar", "has no module foo; install it there, or correct --agent"),
        ("os:bar", "the module os has no bar; correct --agent"),
        ("taskd", "has no module taskd; install it there, or correct --agent"),
    ],
)
def test_an_agent_that_is_not_there_is_one_line(here: str, script: Script, name: str, why: str) -> None:
    finished = run("--mock", "2", "--agent", name, script("touch started"), cwd=here)
    assert finished.code == 78
    assert f"ma2l: error: cannot use the agent {name}: " in finished.err
    assert why in finished.err
    assert "Traceback" not in finished.err
    assert not Path(here, "started").exists()


def test_an_agent_whose_own_imports_fail_says_where(here: str, script: Script) -> None:
    Path(here, "broken.py").write_text("import no_module_of_that_name\n")
    finished = run("--mock", "2", "--agent", "broken:Agent", script("touch started"), cwd=here)
    assert finished.code == 1
    assert "No module named 'no_module_of_that_name'" in finished.err
    assert not Path(here, "started").exists()
