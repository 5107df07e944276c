"""The report made again from files alone: those of several nodes and attempts, and whatever else may lie there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ma2l.diagnose.explain import explain
from ma2l.diagnose.outcome import Hang, Outcome, ProcessEnd, as_json
from ma2l.diagnose.report import compose
from ma2l.diagnose.saved import LARGEST, parse, read_directory
from ma2l.records import replace

TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\nValueError: bad batch\n'
EI0006 = "EI0006: Getting socket times out.\n"


def end(rank: int, returncode: int, at: float) -> ProcessEnd:
    return ProcessEnd(f"rank {rank}", rank, 100 + rank, returncode, 5.0, f"/gone/worker_{rank}.log", str(rank), at)


def write(
    directory: Path, node: int, ends: Mapping[int, tuple[int, float]], logs: Mapping[int, str], **fields: Any
) -> Outcome:
    """What a node leaves; the first of ``ends`` that failed was the first in time."""
    directory.mkdir(parents=True, exist_ok=True)
    processes = tuple(end(rank, code, at) for rank, (code, at) in ends.items())
    failed = next((process for process in processes if process.returncode not in (0, -15)), None)
    cause = "failure" if failed else "success"
    given = {
        "exit_code": failed.returncode if failed else 0,
        "signum": None,
        "cause": cause,
        "first": failed,
        "processes": processes,
        **fields,
    }
    outcome = Outcome(run_id="R", node_rank=node, host=f"host{node}", **given)
    (directory / f"node{node}.outcome.json").write_text(as_json(outcome, compose(outcome)))
    for rank, text in logs.items():
        (directory / f"worker_{rank}.log").write_text(text)
    return outcome


def said(*directories: Path) -> list[str]:
    return explain(map(str, directories)).text.splitlines()


def test_an_outcome_is_read_back_as_it_was(tmp_path: Path) -> None:
    outcome = write(tmp_path, 0, {0: (-15, 100.0), 1: (3, 99.5)}, {})
    assert parse((tmp_path / "node0.outcome.json").read_bytes()) == outcome


def test_one_node_is_explained_as_at_the_end_of_the_run(tmp_path: Path) -> None:
    outcome = write(tmp_path, 0, {0: (-15, 100.0), 1: (3, 99.5)}, {0: "step\n", 1: TRACEBACK})
    here = replace(end(1, 3, 99.5), log=str(tmp_path / "worker_1.log"))
    report = compose(replace(outcome, first=here))
    lines = said(tmp_path)
    assert lines[:3] == TRACEBACK.splitlines()
    assert lines[3:-1] == [f"--- from {tmp_path}/worker_1.log", *report.others]
    assert lines[-1] == f"node 0 (host0, {tmp_path}): {report.verdict}"


def test_the_first_failure_of_the_job_is_the_earliest(tmp_path: Path) -> None:
    write(tmp_path / "a", 0, {0: (1, 110.0)}, {0: EI0006})
    write(tmp_path / "b", 1, {1: (7, 100.0)}, {1: TRACEBACK})
    write(tmp_path / "c", 2, {2: (0, 120.0)}, {2: "step\n"})
    for order in ("abc", "bca", "cba"):
        lines = said(*(tmp_path / name for name in order))
        assert lines[:3] == TRACEBACK.splitlines()
        assert lines[-1].startswith(
            f"the first failure of the job: node 1 (host1, {tmp_path}/b): rank 1 failed first: exit code 7"
        )
        assert any("node 0 (host0" in line and "rank 0 failed first: exit code 1" in line for line in lines)
        assert f"node 2 (host2, {tmp_path}/c): all ended well" in lines
        assert not any("clocks" in line for line in lines)


def test_failures_that_clocks_cannot_put_in_order_are_said_to_be_such(tmp_path: Path) -> None:
    write(tmp_path / "a", 0, {0: (1, 100.0)}, {0: TRACEBACK})
    write(tmp_path / "b", 1, {1: (7, 101.5)}, {1: TRACEBACK})
    assert any(
        "node 1" in line and "failed within 2 s of it, and clocks may differ" in line
        for line in said(tmp_path / "a", tmp_path / "b")
    )


def test_a_symptom_does_not_hide_the_cause_on_another_node(tmp_path: Path) -> None:
    write(tmp_path / "a", 0, {0: (1, 100.0)}, {0: EI0006})
    write(tmp_path / "b", 1, {1: (7, 130.0)}, {1: TRACEBACK})
    lines = said(tmp_path / "a", tmp_path / "b")
    assert f"rank 1's log on node 1 (host1, {tmp_path}/b) names the likely cause: ValueError: bad batch" in lines
    assert lines[-1].startswith("the first failure of the job: node 0")


def test_whoever_is_accused_is_followed_to_another_node(tmp_path: Path) -> None:
    write(tmp_path / "a", 0, {0: (1, 100.0)}, {0: "EI0002 Notify record from remote rank [1].\n"})
    write(tmp_path / "b", 1, {1: (-15, 130.0)}, {1: "step\nerror: disk is slow\n"})
    assert f"rank 1 is on node 1 (host1, {tmp_path}/b); its log says: error: disk is slow" in said(
        tmp_path / "a", tmp_path / "b"
    )


def test_several_nodes_may_share_a_directory_and_be_named_twice(tmp_path: Path) -> None:
    write(tmp_path, 0, {0: (-15, 103.0)}, {0: "step\n"}, cause="signal", signum=15)
    write(tmp_path, 1, {1: (7, 100.0)}, {1: TRACEBACK})
    assert said(tmp_path, tmp_path / ".") == said(tmp_path)
    assert said(tmp_path)[-1].startswith("the first failure of the job: node 1")


HANG_OF_1 = Hang("rank 1", "no rank has written for 60 s; rank 1 stands in f (a.py:1)", ("f (a.py:1)",), "/gone/st.txt")


def hang(directory: Path, at: float = 100.0, found: Hang | None = HANG_OF_1) -> Outcome:
    suspect = end(1, -15, at)
    return write(directory, 0, {0: (-15, at), 1: (-15, at)}, {}, cause="hang", exit_code=252, first=suspect, hang=found)


def test_a_hang_is_explained_as_at_the_end_of_the_run(tmp_path: Path) -> None:
    outcome = hang(tmp_path)
    assert parse((tmp_path / "node0.outcome.json").read_bytes()) == outcome
    assert said(tmp_path) == [
        "--- rank 1 stands in",
        "    f (a.py:1)",
        f"--- all stacks are in {tmp_path}/st.txt",
        f"node 0 (host0, {tmp_path}): hang: {HANG_OF_1.sentence}; exit code 252",
    ]


def test_a_hang_of_which_nothing_was_known_is_one_all_the_same(tmp_path: Path) -> None:
    hang(tmp_path, found=None)
    assert said(tmp_path) == [f"node 0 (host0, {tmp_path}): hang; exit code 252"]


def test_what_fails_after_a_hang_on_another_node_is_not_the_first(tmp_path: Path) -> None:
    hang(tmp_path / "a")
    write(tmp_path / "b", 1, {2: (1, 110.0)}, {2: EI0006})
    lines = said(tmp_path / "b", tmp_path / "a")
    assert lines[-1].startswith(f"the first failure of the job: node 0 (host0, {tmp_path}/a): hang: no rank")
    assert any("rank 2 failed first: exit code 1" in line for line in lines)


def test_the_newest_attempt_is_explained_and_earlier_ones_are_named(tmp_path: Path) -> None:
    write(tmp_path, 0, {0: (7, 100.0)}, {0: EI0006})
    outcome = write(tmp_path / "x", 0, {0: (9, 200.0)}, {})
    again = end(0, 9, 200.0)
    again = replace(again, log="/gone/worker_0.attempt2.log")
    second = replace(outcome, first=again, processes=(again,))
    (tmp_path / "node0.outcome.attempt2.json").write_text(as_json(second))
    (tmp_path / "worker_0.attempt2.log").write_text(TRACEBACK)
    lines = said(tmp_path)
    assert lines[0].startswith(f"attempt before: node 0 (host0, {tmp_path}): rank 0 failed first: exit code 7")
    assert lines[1:4] == TRACEBACK.splitlines()
    assert "exit code 9" in lines[-1]


def test_files_that_msrun_set_aside_are_older(tmp_path: Path) -> None:
    for suffix, code in ((".1", 3), (".2", 4), ("", 5)):
        write(tmp_path, 0, {0: (code, 100.0)}, {0: f"error {code}\n"})
        for name in ("node0.outcome.json", "worker_0.log"):
            os.rename(tmp_path / name, tmp_path / f"{name}{suffix}")
    lines = said(tmp_path)
    assert ["exit code 3" in lines[0], "exit code 4" in lines[1], "exit code 5" in lines[-1]] == [True] * 3


MODELARTS = {"job-1-proc-rank-0-device-0.txt": "step\n", "job-1-proc-rank-1-device-1.txt": TRACEBACK}


@pytest.mark.parametrize(
    "logs",
    [
        {"worker_0.log": "step\n", "worker_1.log": TRACEBACK},
        {"worker_0.log": EI0006, "worker_1.log": TRACEBACK, "scheduler.log": "error\n"},
        MODELARTS,
        {"worker_0.attempt2.log": "step\n", "worker_1.attempt2.log": TRACEBACK, "worker_0.log": "step\n"},
    ],
)
def test_without_an_outcome_file_the_logs_tell(tmp_path: Path, logs: dict[str, str]) -> None:
    for number, (name, text) in enumerate(logs.items()):
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, (100 + number, 100 + number))
    lines = said(tmp_path)
    start = next(n for n, line in enumerate(lines) if line.startswith("Traceback"))
    assert lines[start : start + 3] == TRACEBACK.splitlines()
    assert lines[-1].startswith(f"the node of {tmp_path}: rank 1 failed first: its log shows an error")
    assert "an outcome file is missing, so this is concluded from the logs alone" in lines


def test_logs_without_any_error_are_said_to_be_such(tmp_path: Path) -> None:
    (tmp_path / "worker_0.log").write_text("step 1\n")
    assert said(tmp_path) == [f"the node of {tmp_path}: no log shows an error"]


def test_a_node_whose_outcome_is_missing_on_shared_storage_is_seen_by_its_logs(tmp_path: Path) -> None:
    write(tmp_path, 0, {0: (-15, 103.0)}, {0: "step\n", 1: TRACEBACK}, cause="signal", signum=15)
    assert any("rank 1 failed first: its log shows an error" in line for line in said(tmp_path))


def test_a_hang_whose_suspect_could_not_be_ended_is_one_all_the_same(tmp_path: Path) -> None:
    stuck = replace(end(1, 0, 100.0), returncode=None, ended_at=None)
    write(tmp_path, 0, {0: (-15, 100.0)}, {}, cause="hang", exit_code=252, first=stuck, hang=HANG_OF_1)
    assert said(tmp_path)[-1] == f"node 0 (host0, {tmp_path}): hang: {HANG_OF_1.sentence}; exit code 252"


def test_a_run_that_was_called_off_is_said_to_be_such(tmp_path: Path) -> None:
    write(tmp_path, 0, {0: (-15, 100.0)}, {}, cause="called off", exit_code=203)
    assert said(tmp_path) == [f"node 0 (host0, {tmp_path}): called off; exit code 203"]


@pytest.mark.parametrize("name", ["node-pod-7.outcome.json", "scheduler.outcome.json"])
def test_the_outcome_of_a_node_without_a_number_is_found(tmp_path: Path, name: str) -> None:
    write(tmp_path, 0, {0: (7, 100.0)}, {0: TRACEBACK})
    os.rename(tmp_path / "node0.outcome.json", tmp_path / name)
    assert "rank 0 failed first: exit code 7" in said(tmp_path)[-1]


def test_a_log_that_is_missing_is_not_said_to_be_empty(tmp_path: Path) -> None:
    write(tmp_path, 0, {0: (7, 100.0)}, {})
    assert said(tmp_path)[:-1] == [f"there is no log of rank 0 in {tmp_path} that could be read"]


def test_of_many_nodes_those_that_failed_first_are_named(tmp_path: Path) -> None:
    for node in range(64):
        write(tmp_path / str(node), node, {node: (7, 100.0 + 3 * node)}, {node: TRACEBACK})
    lines = said(*(tmp_path / str(node) for node in reversed(range(64))))
    assert len(lines) <= 25
    assert [f"node {node} (" in line for node, line in zip(range(1, 9), lines[4:])] == [True] * 8
    assert lines[12] == "and 55 other nodes"


def test_without_a_time_nothing_is_said_of_when(tmp_path: Path) -> None:
    first = replace(end(0, 7, 0.0), ended_at=None)
    write(tmp_path, 0, {0: (7, 1e9), 1: (7, 1e9)}, {0: TRACEBACK, 1: TRACEBACK}, first=first)
    assert "rank 1 ended the same way" in said(tmp_path)


def test_a_text_of_somebody_else_stays_one_line_and_leaves_the_terminal_alone(tmp_path: Path) -> None:
    first = replace(end(0, 7, 100.0), name="rank 0\n\x1b[2Jall is well\r", device="\ud800" * 10_000)
    write(tmp_path, 0, {0: (7, 100.0)}, {0: "step\n"}, first=first, processes=(first,))
    lines = said(tmp_path)
    assert len(lines) == 4
    assert "\x1b" not in lines[-1]
    assert len(lines[-1]) < 10_000


@pytest.mark.parametrize("digits", [10, 5000])
def test_a_rank_of_many_digits_is_a_name(tmp_path: Path, digits: int) -> None:
    odd = replace(end(1, 7, 101.0), name=f"rank {'9' * digits}")
    write(tmp_path, 0, {0: (7, 100.0)}, {0: TRACEBACK}, processes=(end(0, 7, 100.0), odd))
    assert any(line.startswith("rank 999") for line in said(tmp_path))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"{}", b"\xff\x00", b"[" * 100_000, b'{"processes": 3, "cause": "failure"}',
     b'{"processes": [], "cause": "plague"}', b'{"processes": ' + b"9" * 5000 + b"}", b"x" * (LARGEST + 1)],
    ids=lambda content: repr(content[:20]),
)  # fmt: skip
def test_an_outcome_file_that_is_none_is_said_and_the_logs_tell(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "node0.outcome.json").write_bytes(content)
    (tmp_path / "worker_1.log").write_text(TRACEBACK)
    found = explain([str(tmp_path)])
    assert found.text.startswith(TRACEBACK)
    (complaint,) = found.complaints
    assert complaint.startswith(f"{tmp_path}/node0.outcome.json cannot be used (it is ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["rank", "name", "log"]), inner),
    max_leaves=8,
)
FIELDS = (
    "run_id",
    "node_rank",
    "exit_code",
    "first",
    "signum",
    "host",
    "started_at",
    "oom_kills",
    "hang",
    "schema",
)
ENDS = ("name", "rank", "pid", "returncode", "seconds", "log", "device", "ended_at")
HANG = st.fixed_dictionaries({"sentence": st.text(max_size=5)}, optional=dict.fromkeys(("frames", "stacks"), JSON))
PROCESS = st.fixed_dictionaries({}, optional=dict.fromkeys(ENDS, JSON))
OUTCOMES = st.fixed_dictionaries(
    {
        "cause": st.sampled_from(["success", "failure", "not started", "signal", "hang", "guard died"]) | JSON,
        "processes": st.lists(PROCESS | JSON, max_size=3) | JSON,
    },
    optional={**dict.fromkeys(FIELDS, JSON), "first": PROCESS | JSON, "hang": HANG | JSON},
)


@settings(deadline=None)  # a busy machine is no failure
@given(OUTCOMES)
def test_whatever_stands_in_an_outcome_file_is_explained_or_refused(
    tmp_path_factory: Any, data: dict[str, Any]
) -> None:
    directory = tmp_path_factory.mktemp("logs")
    (directory / "node0.outcome.json").write_text(json.dumps(data))
    found = explain([str(directory)]) if read_directory(str(directory))[0] else None
    assert found is None or found.text


def test_whatever_else_lies_there_is_no_obstacle(tmp_path: Path) -> None:
    write(tmp_path, 0, {0: (7, 100.0), 1: (7, 100.1), 2: (7, 100.2), 3: (7, 100.3)}, {0: TRACEBACK})
    (tmp_path / "worker_1.log").write_bytes(bytes(range(256)) * 1000)
    os.mkfifo(tmp_path / "worker_2.log")
    (tmp_path / "worker_3.log").mkdir()
    os.symlink("nowhere", tmp_path / "worker_4.log")
    os.mkfifo(tmp_path / "node1.outcome.json")
    (tmp_path / "node2.outcome.json").mkdir()
    (tmp_path / "notes.txt").write_text("Traceback\n")
    os.close(os.open(os.fsencode(tmp_path) + b"/worker_\xff.log", os.O_CREAT | os.O_WRONLY))
    with (tmp_path / "scheduler.log").open("wb") as file:
        file.truncate(1 << 33)
    found = explain([str(tmp_path)])
    assert found.text.startswith(TRACEBACK)
    assert len(found.complaints) == 2


def test_a_path_in_an_outcome_file_is_not_followed_out_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the secret\n")
    write(tmp_path / "logs", 0, {0: (7, 100.0)}, {})
    path = tmp_path / "logs/node0.outcome.json"
    path.write_text(path.read_text().replace("/gone/worker_0.log", str(tmp_path / "secret")))
    assert "the secret" not in explain([str(tmp_path / "logs")]).text


def test_nothing_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LookupError):
        explain([str(tmp_path)])
    (tmp_path / "node0.outcome.json").write_text("{")
    with pytest.raises(LookupError, match="cannot be used"):
        explain([str(tmp_path)])
    with pytest.raises(FileNotFoundError):
        explain([str(tmp_path / "gone")])


def test_an_empty_directory_beside_others_is_said(tmp_path: Path) -> None:
    write(tmp_path / "a", 0, {0: (7, 100.0)}, {0: TRACEBACK})
    (tmp_path / "b").mkdir()
    assert explain([str(tmp_path / "a"), str(tmp_path / "b")]).complaints == (
        f"there are no logs of ma2l in {tmp_path}/b",
    )
