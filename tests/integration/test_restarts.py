"""A failed run on one node is started again in place: the whole group, as often as allowed, and never after a stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ma2l.linux import net, processes
from ma2l.mock.publish import configmap
from ma2l.ranktable import canonical, fingerprint
from tests.integration.harness import PATIENCE, Running, assert_nothing_left, run, until
from tests.integration.test_rank_table import INITIALIZING, NAME, one_server

Script = Callable[..., str]
RECORD = 'at="$MA2L_RESTART_COUNT.$RANK"; env > "new.$at"; mv "new.$at" "env.$at"; echo "count $MA2L_RESTART_COUNT"; '
BOTH = 'while [ ! -e "env.$MA2L_RESTART_COUNT.$((1 - RANK))" ]; do sleep 0.01; done; '
"""A failure stops the other rank, however little that has done."""
FAIL_TWICE = f'{RECORD}{BOTH}[ "$RANK" = 0 ] || [ "$MA2L_RESTART_COUNT" = 2 ] || exit 9'
WAIT = "while :; do sleep 1000 & wait; done"


def environment(here: str, restarts: int, rank: int) -> dict[str, str]:
    """What a rank saw in one attempt."""
    lines = Path(here, f"env.{restarts}.{rank}").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def outcome(here: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(here, "logs", name).read_text())
    return found


def said(err: str) -> list[str]:
    """What was said of attempts."""
    return [
        line.partition("attempt ")[2] for line in err.splitlines() if line.startswith("ma2l:") and "attempt " in line
    ]


def test_the_whole_group_is_started_again_until_it_succeeds(here: str, script: Script) -> None:
    words = ("--mock", "2", "--max-restarts", "3", "--restart-on", "9", "--log-dir", "logs")
    finished = run(*words, script(FAIL_TWICE), cwd=here)
    assert finished.code == 0
    assert said(finished.err) == [
        "1 of 4 ended with exit code 9; starting attempt 2 of 4",
        "2 of 4 ended with exit code 9; starting attempt 3 of 4",
    ]
    seen = [[environment(here, restarts, rank) for rank in (0, 1)] for restarts in (0, 1, 2)]
    assert len({rank["MASTER_PORT"] for attempt in seen for rank in attempt}) == 3
    assert all(first["MASTER_PORT"] == second["MASTER_PORT"] for first, second in seen)
    assert {rank["MA2L_RUN_ID"] for attempt in seen for rank in attempt} == {seen[0][0]["MA2L_RUN_ID"]}


def test_every_attempt_has_logs_and_an_outcome_of_its_own(here: str, script: Script) -> None:
    words = ("--mock", "2", "--max-restarts", "2", "--restart-on", "9", "--log-dir", "logs")
    assert run(*words, script(FAIL_TWICE), cwd=here).code == 0
    marks = ("", ".attempt2", ".attempt3")
    assert [Path(here, f"logs/worker_1{mark}.log").read_text() for mark in marks] == [
        f"count {number}\n" for number in range(3)
    ]
    ends = [outcome(here, f"node0.outcome{mark}.json") for mark in marks]
    assert [(end["cause"], end["exit_code"]) for end in ends] == [("failure", 9), ("failure", 9), ("success", 0)]
    assert all(Path(here, f"logs/node0.{what}").exists() for mark in marks for what in (f"plan{mark}.json",))


def test_every_attempt_reads_the_same_rank_table(here: str, script: Script) -> None:
    worker = script(f'cp "$RANK_TABLE_FILE" "table.$MA2L_RESTART_COUNT.$RANK"; {FAIL_TWICE}')
    assert run("--mock", "2", "--max-restarts", "2", "--restart-on", "9", worker, cwd=here).code == 0
    assert len(list(Path(here).glob("table.*"))) == 6
    assert len({path.read_bytes() for path in Path(here).glob("table.*")}) == 1


def test_the_last_attempt_gives_the_exit_code(here: str, script: Script) -> None:
    worker = script("exit $((7 + MA2L_RESTART_COUNT))")
    finished = run("--mock", "1", "--max-restarts", "1", "--restart-on", "1-99", worker, cwd=here)
    assert finished.code == 8
    assert said(finished.err)[-1] == "2 of 2 ended with exit code 8"


def test_a_death_by_signal_is_restarted_by_its_shell_code(here: str, script: Script) -> None:
    worker = script('[ "$MA2L_RESTART_COUNT" = 1 ] || kill -KILL $$')
    assert run("--mock", "1", "--max-restarts", "1", "--restart-on", "137", worker, cwd=here).code == 0


@pytest.mark.parametrize(
    ("options", "end", "code"),
    [
        ((), "exit 1", 1),  # it fails within the first seconds of its very first start
        (("--restart-on", "7"), "exit 8", 8),
        (("--restart-on", "9"), "exit 0", 0),
    ],
    ids=["early", "other code", "success"],
)
def test_what_is_not_to_be_restarted_is_started_once(
    here: str, script: Script, options: tuple[str, ...], end: str, code: int
) -> None:
    worker = script(f'touch "started.$MA2L_RESTART_COUNT"; {end}')
    finished = run("--mock", "1", "--max-restarts", "5", *options, worker, cwd=here)
    assert finished.code == code
    assert [path.name for path in Path(here).glob("started.*")] == ["started.0"]
    assert ("and there is no other" in finished.err) is bool(code)


def test_a_program_that_cannot_be_executed_is_not_tried_again(here: str, script: Script) -> None:
    worker = script("#!/no/such/interpreter\n")
    finished = run("--mock", "1", "--max-restarts", "5", worker, cwd=here)
    assert finished.code == 126
    assert said(finished.err) == [
        "1 of 6 ended with exit code 126, and there is no other: no restart helps against this code"
    ]


def test_a_stop_signal_ends_the_run_in_a_later_attempt_as_in_the_first(here: str, script: Script) -> None:
    worker = script(f'[ "$MA2L_RESTART_COUNT" = 1 ] || exit 9; touch "ready.$RANK"; {WAIT}')
    with Running("--mock", "2", "--max-restarts", "9", "--restart-on", "1-255", worker, cwd=here) as running:
        until(lambda: len(list(Path(here).glob("ready.*"))) == 2)
        running.send(signal.SIGTERM)
        finished = running.finish()
    assert finished.code == 143
    assert said(finished.err) == ["1 of 10 ended with exit code 9; starting attempt 2 of 10"]


def test_a_stop_signal_after_a_failure_forbids_the_restart(here: str, script: Script) -> None:
    worker = script(
        f"""touch "started.$MA2L_RESTART_COUNT"
[ "$RANK" = 0 ] || {{ while [ ! -e ready ]; do sleep 0.01; done; exit 9; }}
trap 'touch asked' TERM; touch ready; {WAIT}"""
    )
    words = ("--mock", "2", "--max-restarts", "9", "--restart-on", "9", "--stop-grace", "3600", worker)
    with Running(*words, cwd=here) as running:
        until(lambda: Path(here, "asked").exists())
        running.send(signal.SIGTERM)  # the failure has asked the workers already, so this one changes nothing for them
        running.send(signal.SIGINT)
        assert running.finish().code == 9
    assert [path.name for path in Path(here).glob("started.*")] == ["started.0"]


def test_the_guard_ends_every_attempt(here: str, script: Script) -> None:
    worker = script(f'[ "$MA2L_RESTART_COUNT" = 1 ] || exit 9; touch "ready.$RANK"; {WAIT}')
    with Running("--mock", "2", "--max-restarts", "9", "--restart-on", "9", worker, cwd=here) as running:
        until(lambda: len(list(Path(here).glob("ready.*"))) == 2)
        os.kill(running.launcher, signal.SIGKILL)
        assert running.finish().code == 137


def test_what_an_attempt_leaves_behind_is_gone_before_the_next(here: str, script: Script) -> None:
    worker = script(
        '[ "$MA2L_RESTART_COUNT" = 0 ] && { setsid sleep 1000 & echo $! > stray; exit 9; }\n'
        'kill -0 "$(cat stray)" 2>/dev/null && exit 3; exit 0'
    )
    assert run("--mock", "1", "--max-restarts", "1", "--restart-on", "9", worker, cwd=here).code == 0


def test_several_nodes_are_left_to_the_platform(here: str, script: Script) -> None:
    together = 'while [ ! -e "started.0.$((1 - RANK))" ]; do sleep 0.01; done'  # nodes stopped earlier say nothing
    worker = script(f'touch "started.$MA2L_RESTART_COUNT.$RANK"; {together}; exit 9')
    finished = run("--mock", "2x1", "--max-restarts", "3", "--restart-on", "9", worker, cwd=here)
    assert finished.code == 9
    assert sorted(path.name for path in Path(here).glob("started.*")) == ["started.0.0", "started.0.1"]
    assert finished.err.count("--max-restarts has no effect here: other parts of the job run elsewhere") == 2


def test_a_run_inside_a_run_leaves_restarts_to_the_outer_one(here: str, script: Script) -> None:
    inner = script("echo once more >> started; exit 9", "inner.sh")
    outer = script(f"{sys.executable} -m ma2l --mock 1 {inner}", "outer.sh")
    env = {"MA2L_MAX_RESTARTS": "2", "MA2L_RESTART_ON": "9"}
    finished = run("--mock", "1", "--per-node", outer, cwd=here, env=env)
    assert finished.code == 9
    assert Path(here, "started").read_text() == "once more\n" * 3
    assert said(finished.err)[-1] == "3 of 3 ended with exit code 9"


def test_codes_that_make_no_sense_are_told_before_anything_runs(here: str) -> None:
    finished = run("--mock", "1", "--max-restarts", "1", "--restart-on", "0-9", "touch", "started", cwd=here)
    assert finished.code == 78
    assert not Path(here, "started").exists()


def test_without_max_restarts_the_codes_have_no_effect(here: str) -> None:
    finished = run("--mock", "1", "--restart-on", "1", "false", cwd=here)
    assert finished.code == 1
    assert "--restart-on has no effect without --max-restarts" in finished.err


def test_a_rank_that_fails_while_the_others_go_on_did_not_fail_at_the_very_start(here: str, script: Script) -> None:
    """mpirun ends well with ``--keep-going``, so only its end tells when: after the ten seconds of a mistake."""
    worker = script('[ "$RANK$MA2L_RESTART_COUNT" = 10 ] && exit 9; [ "$MA2L_RESTART_COUNT" = 1 ] || sleep 11')
    words = ("--mode", "mpirun", "--mock", "2", "--keep-going", "--max-restarts", "1")
    finished = run(*words, worker, cwd=here)
    assert finished.code == 0
    assert said(finished.err) == ["1 of 2 ended with exit code 9; starting attempt 2 of 2"]


def test_an_mpirun_on_one_host_is_restarted_as_a_whole(here: str, script: Script) -> None:
    worker = script(
        'touch "started.$MA2L_RESTART_COUNT.$RANK"; [ "$RANK" = 0 ] || [ "$MA2L_RESTART_COUNT" = 1 ] || exit 9'
    )
    words = ("--mode", "mpirun", "--mock", "2", "--max-restarts", "1", "--restart-on", "9")
    finished = run(*words, worker, cwd=here)
    assert finished.code == 0
    assert said(finished.err) == ["1 of 2 ended with exit code 9; starting attempt 2 of 2"]
    assert {path.name for path in Path(here).glob("started.1.*")} == {"started.1.0", "started.1.1"}


def test_many_attempts_need_no_more_descriptors_than_one(here: str) -> None:
    few = ("sh", "-c", 'ulimit -n 40; exec "$@"', "sh")
    words = ("--mock", "1", "--max-restarts", "60", "--restart-on", "1", "false")
    with Running(*words, cwd=here, before=few) as running:
        finished = running.finish()
    assert finished.code == 1
    assert said(finished.err)[-1] == "61 of 61 ended with exit code 1"


@pytest.mark.parametrize(("restarts", "text"), [("1", ""), ("0", "rank 0 failed first: exit code 9")])
def test_the_termination_message_is_about_the_last_attempt(here: str, script: Script, restarts: str, text: str) -> None:
    message = Path(here, "message")
    message.touch()
    env = {"RANK_TABLE_FILE": f"{here}/table.json", "MA_TERMINATION_MESSAGE_PATH": str(message)}
    Path(here, "table.json").write_text(one_server(0))
    worker = script('[ "$MA2L_RESTART_COUNT" = 1 ] || exit 9')
    run("--max-restarts", restarts, "--restart-on", "9", worker, cwd=here, env=env)
    assert message.read_text().startswith(text)
    assert bool(message.read_text()) is bool(text)


def test_a_console_that_was_paused_at_a_failure_shows_later_attempts(here: str, script: Script) -> None:
    flood = "yes | head -c 1000000; exit 9"
    worker = script(
        f'if [ "$MA2L_RESTART_COUNT" = 0 ]; then {flood}; fi; while [ ! -e go ]; do sleep 0.01; done; echo on'
    )
    words = ("--mock", "1", "--max-restarts", "1", "--restart-on", "9", "--log-dir", "logs", worker)
    with Running(*words, cwd=here) as running:
        until(lambda: Path(here, "logs/worker_0.attempt2.log").exists())
        assert running.process.stdout is not None
        paused = os.read(running.process.stdout.fileno(), 2**20)
        Path(here, "go").touch()
        finished = running.finish()
    assert set(paused.split(b"\n")[:-1]) == {b"[0] y"}
    assert finished.code == 0
    assert finished.out.splitlines()[-1] == "[0] on"


FULL_DISK = """\
import os, sys
from ma2l import cli, ranktable
from ma2l.errors import SystemRefused
write, written = ranktable.write, []
def refused(content, path):
    written.append(path)
    if len(written) > 1:
        raise SystemRefused("write the rank table", "No space left on device")
    write(content, path)
ranktable.write = refused
os._exit(cli.main(sys.argv[1:]))
"""
"""ma2l on a node whose disk is full when a second attempt is to start."""


def test_an_attempt_that_cannot_start_ends_the_run_with_the_failure_before_it(here: str, script: Script) -> None:
    Path(here, "message").touch()
    Path(here, "table.json").write_text(one_server(0))
    env = {**os.environ, "RANK_TABLE_FILE": f"{here}/table.json", "MA_TERMINATION_MESSAGE_PATH": f"{here}/message"}
    command = (sys.executable, "-c", FULL_DISK, "--max-restarts", "2", "--restart-on", "9", script("exit 9"))
    done = subprocess.run(command, cwd=here, env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 9
    assert "ma2l: warning: not started again: cannot write the rank table: No space left on device" in done.stderr
    assert Path(here, "message").read_text().startswith("rank 0 failed first: exit code 9")


MSRUN = ("msrun", "--worker_num=2", "--local_worker_num=2", "--log_dir=logs")


def test_msrun_has_it_as_variables_and_keeps_the_names_of_its_logs(here: str, script: Script) -> None:
    worker = script('echo "count $MA2L_RESTART_COUNT"; [ "$MA2L_RESTART_COUNT$DEVICE_ID" != 01 ] || exit 9')
    env = {"MA2L_MAX_RESTARTS": "1", "MA2L_RESTART_ON": "9"}
    words = (*MSRUN, "--join=True", f"--master_port={net.free_ports(1)[0]}")
    finished = run(*words, worker, cwd=here, env=env)
    assert finished.code == 0
    assert [Path(here, "logs", f"worker_1.log{end}").read_text() for end in ("", ".1")] == ["count 1\n", "count 0\n"]
    ends = [outcome(here, f"node0.outcome.json{end}")["exit_code"] for end in ("", ".1")]
    assert ends == [0, 9]


def test_a_detached_run_is_restarted_and_can_be_stopped_all_the_same(here: str, script: Script) -> None:
    worker = script(
        f"""[ "$MS_ROLE" = MS_SCHED ] && exec sleep 1000
touch "ready.$MA2L_RESTART_COUNT.$LOCAL_RANK"
while [ ! -e fail ]; do sleep 0.01; done
[ "$MA2L_RESTART_COUNT" = 1 ] || exit 9; {WAIT}"""
    )
    env = {
        "MA2L_MAX_RESTARTS": "1", "MA2L_RESTART_ON": "9", "TMPDIR": here,
        "KUBERNETES_SERVICE_HOST": None, "MA2L_RUN_ID": None,
    }  # fmt: skip
    words = (*MSRUN, f"--master_port={net.free_ports(1)[0]}")
    with Running(*words, worker, cwd=here, env=env) as running:
        running.process.communicate(timeout=PATIENCE)
        assert running.process.returncode == 0
    (entry,) = Path(here).glob("ma2l-*/run.json")
    guard = json.loads(entry.read_text())["pid"]
    Path(here, "fail").touch()
    until(lambda: len(list(Path(here).glob("ready.1.*"))) == 2)
    with Running("stop", json.loads(entry.read_text())["run_id"], cwd=here, env=env) as stopping:
        stopping.process.communicate(timeout=PATIENCE)
        assert stopping.process.returncode == 0
    assert processes.exit_code(os.waitstatus_to_exitcode(os.waitpid(guard, 0)[1])) == 143
    assert_nothing_left()


START_CNT = {"MA_JOB_DIR": "/job", "MA_PROC_START_CNT": "2"}
"""A ModelArts container whose processes the platform has restarted in place."""


def in_place(here: str, **more: str) -> dict[str, str | None]:
    return {**START_CNT, "RANK_TABLE_FILE": f"{here}/config", **more}


def first_start(here: str, table: str) -> None:
    """A start that leaves the fingerprint of its table in the log directory."""
    configmap(f"{here}/config", NAME, table)
    assert run("--log-dir", "logs", "true", cwd=here, env=in_place(here, MA_PROC_START_CNT="1")).code == 0


def test_the_table_of_the_start_before_is_given_time_to_change(here: str, script: Script) -> None:
    first_start(here, one_server(0, 1, server_id="old"))
    words = ("--log-dir", "logs", "--rank-table-settle", "3600", script('cp "$RANK_TABLE_FILE" "table.$RANK"'))
    with Running(*words, cwd=here, env=in_place(here)) as running:
        assert running.process.stderr is not None
        assert "restarted in place: 3600 s for the rank table" in running.process.stderr.readline()
        configmap(f"{here}/config", NAME, INITIALIZING)
        configmap(f"{here}/config", NAME, one_server(0, 1, 2, server_id="new"))
        assert running.finish().code == 0
    assert sorted(path.name for path in Path(here).glob("table.*")) == ["table.0", "table.1", "table.2"]
    assert all("new" in path.read_text() for path in Path(here).glob("table.*"))


def test_a_table_that_no_start_before_has_used_is_not_waited_for(here: str) -> None:
    first_start(here, one_server(0, 1, server_id="old"))
    configmap(f"{here}/config", NAME, one_server(0, 1, server_id="new"))
    finished = run("--log-dir", "logs", "--rank-table-settle", "3600", "true", cwd=here, env=in_place(here))
    assert finished.code == 0
    assert "restarted in place" not in finished.err


def test_a_table_that_stays_the_same_is_used_after_that_time(here: str, script: Script) -> None:
    first_start(here, one_server(0, 1))
    finished = run("--log-dir", "logs", "--rank-table-settle", "0.2", "true", cwd=here, env=in_place(here))
    assert finished.code == 0
    assert "restarted in place: 0.2 s" in finished.err


def test_a_table_that_changes_while_links_come_up_ends_the_run_with_both_fingerprints(
    here: str, script: Script
) -> None:
    old, new = one_server(0, 1, server_id="old"), one_server(0, 1, server_id="new")
    configmap(f"{here}/config", NAME, old)
    worker = script(f'cp "$RANK_TABLE_FILE" "table.$RANK"; touch "ready.$RANK"; {WAIT}')
    words = ("--log-dir", "logs", "--rank-table-settle", "0", "--max-restarts", "3", "--restart-on", "1-255", worker)
    with Running(*words, cwd=here, env=in_place(here)) as running:
        until(lambda: len(list(Path(here).glob("ready.*"))) == 2)
        configmap(f"{here}/config", NAME, INITIALIZING)
        configmap(f"{here}/config", NAME, new)
        finished = running.finish()
    assert finished.code == 203
    used = fingerprint(Path(here, "table.0").read_bytes())
    replaced = fingerprint(canonical(json.loads(new)))
    assert f"the platform has replaced it since this restart, SHA-256 {used} by {replaced}" in finished.err
    assert said(finished.err) == []
    assert outcome(here, "node0.outcome.attempt2.json")["cause"] == "called off"
    explained = run("explain", "logs", cwd=here)
    assert "does not know" not in explained.out + explained.err
    assert explained.code == 0


def test_a_first_start_trusts_its_table(here: str) -> None:
    first_start(here, one_server(0, 1))
    words = ("--log-dir", "logs", "--rank-table-settle", "3600", "true")
    assert run(*words, cwd=here, env=in_place(here, MA_PROC_START_CNT="1")).code == 0
