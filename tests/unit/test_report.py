"""What a person reads at the end, from made-up outcomes and logs."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from ma2l.diagnose import place, report
from ma2l.diagnose.culprit import Culprit
from ma2l.diagnose.others import fold
from ma2l.diagnose.outcome import Hang, Outcome, ProcessEnd, as_json, manner, outcome
from ma2l.diagnose.report import Report, compose
from ma2l.plan.spec import Plan, PlannedFile, ProcessSpec
from ma2l.records import replace
from ma2l.supervise.machine import Cause, Ended, Kind
from tests.unit.scenario import server_list

TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\nValueError: bad batch\n'
EI0006 = "EI0006: Getting socket times out.\n"
OOM = "RuntimeError: NPU out of memory. Tried to allocate 5.03 GiB\n"


def plan(ranks: int, *files: PlannedFile) -> Plan:
    processes = tuple(
        ProcessSpec("rank", ("x",), "/x", {"DEVICE_ID": str(rank)}, f"/logs/{rank}", rank=rank) for rank in range(ranks)
    )
    return Plan("run", "torch", 1, 2, 2 * ranks, "host", 1, "/logs", processes, files, ("source",), ())


def end(log: str | None = None, returncode: int | None = 7, pid: int | None = 100) -> ProcessEnd:
    return ProcessEnd("rank 3", 3, pid, returncode, 1.25, log)


def ended(cause: str, first: ProcessEnd | None, code: int = 7, signum: int | None = None, others: int = 0) -> Outcome:
    rest = tuple(end(pid=200 + number) for number in range(others))
    return Outcome("run", 1, code, cause, first, signum, ((first,) if first else ()) + rest)


def rank(number: int, returncode: int | None, at: float = 100.0, pid: int | None = 100) -> ProcessEnd:
    return ProcessEnd(f"rank {number}", number, pid, returncode, at, f"/logs/{number}", str(number), at)


def told(first: int, ends: Mapping[int, tuple[int, float]], logs: Mapping[int, str], **fields: object) -> Report:
    """The report of a run whose ranks ended so, and wrote so."""
    processes = tuple(rank(number, code, at) for number, (code, at) in ends.items())
    whole = Outcome("run", 0, abs(ends[first][0]), "failure", processes[first], None, processes, **fields)  # type: ignore[arg-type]
    return compose(whole, lambda process: logs.get(process.rank or 0, "").encode())


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (ended("success", None, 0), ""),
        (ended("not started", end(returncode=None, pid=None), 127), ""),
        (ended("signal", None, 143, signal.SIGTERM), "stopped by SIGTERM; exit code 143"),
        (
            ended("guard died", None, 137),
            "the guard process was killed; all workers were killed; exit code 137",
        ),
        (
            ended("failure", end()),
            "rank 3 failed first: exit code 7 after 1.2 s (pid 100, node 1); exit code 7",
        ),
        (
            ended("failure", end(returncode=-11), 139, others=1),
            "rank 3 failed first: SIGSEGV (signal 11) after 1.2 s (pid 100, node 1); 1 other stopped; exit code 139",
        ),
        (
            ended("failure", end(), others=7),
            "rank 3 failed first: exit code 7 after 1.2 s (pid 100, node 1); 7 others stopped; exit code 7",
        ),
    ],
)
def test_the_verdict_is_one_line(result: Outcome, line: str) -> None:
    assert report.verdict(result) == line
    assert compose(result, lambda process: b"").verdict == line


def test_the_verdict_names_the_device() -> None:
    assert "(pid 100, node 0, device 2)" in told(2, {0: (0, 1.0), 1: (0, 1.0), 2: (3, 2.0)}, {}).verdict


@pytest.mark.parametrize(
    ("returncode", "text"),
    [(0, "exit code 0"), (255, "exit code 255"), (-9, "SIGKILL (signal 9)"), (-37, "signal 37")],
)
def test_the_manner_of_an_end(returncode: int, text: str) -> None:
    assert manner(returncode) == text


@pytest.mark.parametrize(
    ("returncode", "kills", "said"), [(-9, 2, True), (-9, 0, False), (-9, None, False), (-11, 2, False), (1, 2, False)]
)
def test_want_of_memory_is_said_where_the_counter_proves_it(returncode: int, kills: int | None, said: bool) -> None:
    found = told(0, {0: (returncode, 1.0)}, {}, oom_kills=kills)
    assert ("SIGKILL (signal 9), out of memory, after 1.0 s" in found.verdict) is said
    assert any("the kernel killed 2 processes of this container" in line for line in found.causes) is said


def test_want_of_memory_is_said_where_a_shell_or_a_loader_tells_of_the_kill() -> None:
    shell = told(0, {0: (137, 1.0)}, {0: "Killed\n"}, oom_kills=1)
    assert "exit code 137, out of memory, after 1.0 s" in shell.verdict
    loader = "RuntimeError: DataLoader worker (pid 17403) is killed by signal: Killed. \n"
    for kills, said in ((1, True), (0, False)):
        found = told(0, {0: (1, 1.0)}, {0: loader}, oom_kills=kills)
        assert any("the kernel killed 1 process of this container" in line for line in found.causes) is said


def test_a_crash_of_what_a_shell_ran_is_seen_as_one() -> None:
    crash = "Fatal Python error: Segmentation fault\n\nCurrent thread 0x02 (most recent call first):\n"
    log = f'{crash}  File "op.py", line 7 in run\n' + "extension\n" * 40
    assert told(0, {0: (139, 1.0)}, {0: log}).quote.startswith(b"Fatal Python error: Segmentation fault\n")


def test_plain_last_lines_stand_in_a_frame_that_names_the_file() -> None:
    found = told(0, {0: (1, 1.0)}, {0: "".join(f"line {n}\n" for n in range(99)) + "unfinished"})
    first, *lines, last = found.quote.decode().splitlines()
    assert (first, last) == ("--- last lines of /logs/0", "---")
    assert (lines[0], lines[-1], len(lines)) == ("line 85", "unfinished", 15)


def test_nothing_of_ours_stands_above_a_traceback() -> None:
    found = told(0, {0: (1, 1.0)}, {0: "noise\n" + TRACEBACK})
    assert found.quote.decode() == f"{TRACEBACK}--- from /logs/0\n"


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_silent_worker_is_said_to_be_one(content: str) -> None:
    assert told(0, {0: (1, 1.0)}, {0: content}).quote == b"ma2l: it wrote nothing to /logs/0\n"


def test_a_log_that_is_gone_or_never_was_breaks_nothing(tmp_path: Path) -> None:
    assert compose(ended("failure", end(None))).quote == b""
    assert b"wrote nothing" in compose(ended("failure", end(str(tmp_path / "gone")))).quote
    assert report.hints(end(str(tmp_path / "gone"))) == []
    assert report.hints(end(None)) == []


def test_a_known_error_is_explained(tmp_path: Path) -> None:
    log = tmp_path / "worker_3.log"
    log.write_text("[ERROR] EJ0001: Failed to initialize the HCCP process.\n")
    explained = "another process still holds the NPU (EJ0001); end it, wait 10 s and start again"
    assert report.hints(end(str(log))) == [explained]
    assert compose(ended("failure", end(str(log)))).causes == (explained,)


def test_a_symptom_does_not_hide_the_cause_in_the_log_of_another() -> None:
    ends = {0: (1, 5.0), 1: (-15, 5.1), 2: (1, 5.2), 3: (-15, 5.3)}
    found = told(0, ends, {0: EI0006, 1: "step 1\n", 2: EI0006, 3: OOM})
    assert found.verdict.startswith("rank 0 failed first: exit code 1"), "the exit code stays that of the first"
    assert found.likely == "rank 3"
    assert found.causes[0].startswith("HCCL could not connect to a peer in time (EI0006)")
    assert found.causes[1] == f"rank 3's log (/logs/3) names the likely cause: {OOM.strip()}"
    assert found.causes[2].startswith("NPU memory was too small")
    assert found.known == {"rank 0": ("EI0006",), "rank 2": ("EI0006",), "rank 3": ("npu-out-of-memory",)}


def test_a_traceback_that_nobody_knows_is_a_cause_as_well() -> None:
    found = told(0, {0: (1, 5.0), 1: (-15, 5.1)}, {0: EI0006, 1: TRACEBACK})
    assert found.likely == "rank 1"
    assert "rank 1's log (/logs/1) names the likely cause: ValueError: bad batch" in found.causes


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (OOM, OOM),  # the first has a cause of its own
        (TRACEBACK, OOM),  # nothing is known of it
        (EI0006, EI0006),
        (EI0006, TRACEBACK + "step\n" * 99),  # survived
        (EI0006, 'Traceback (most recent call last):\n  File "a.py", line 1, in f\nKeyboardInterrupt\n'),
        (EI0006, ""),
    ],
)
def test_otherwise_nobody_else_is_blamed(first: str, other: str) -> None:
    assert told(0, {0: (1, 5.0), 1: (-15, 5.1)}, {0: first, 1: other}).likely is None


VAGUE = "RuntimeError: call acl api failed\n"


def test_an_error_that_says_little_is_not_the_likely_cause_where_another_says_more() -> None:
    ends = {0: (1, 5.0), 1: (1, 5.1), 2: (1, 9.0)}
    assert told(0, ends, {0: EI0006, 1: VAGUE, 2: OOM}).likely == "rank 2"
    assert told(0, ends, {0: EI0006, 1: VAGUE, 2: "step\n"}).likely == "rank 1"


def test_the_accused_comes_before_others_whose_logs_show_a_cause() -> None:
    accusing = "EI0002: The Notify register has not received the Notify record from remote rank [2].base\n"
    ends = {0: (1, 5.0), 1: (1, 5.1), 2: (-9, 9.0)}
    assert told(0, ends, {0: accusing, 1: OOM, 2: TRACEBACK}).likely == "rank 2"
    assert told(0, ends, {0: accusing, 1: OOM, 2: "step\n"}).likely == "rank 1"


RESET = "WARNING Retrying: ConnectionResetError(104, 'Connection reset by peer')\n"
MISFIT = TRACEBACK.replace("ValueError: bad batch", "RuntimeError: The size of tensor a must match")


@pytest.mark.parametrize(
    "log",
    [
        RESET + TRACEBACK,  # survived
        RESET + MISFIT,
        TRACEBACK + "[ERROR] HCCL hdc connect down\n",  # a consequence
        TRACEBACK + "\n[ERROR] HCCL EI0006: Getting socket times out.\n",
    ],
)
def test_a_symptom_around_the_traceback_of_a_mistake_does_not_make_it_one(log: str) -> None:
    found = told(0, {0: (1, 5.0), 1: (-15, 5.1)}, {0: log, 1: OOM})
    assert (found.causes, found.likely, found.known) == ((), None, {})
    assert told(0, {0: (1, 5.0), 1: (1, 5.1)}, {0: EI0006, 1: log}).likely == "rank 1"


@pytest.mark.parametrize("text", [EI0006, f"HCCL error\n\n----\n- Ascend Error Message:\n----\n{EI0006}"])
def test_a_symptom_in_or_below_the_traceback_of_a_call_is_one(text: str) -> None:
    log = TRACEBACK.replace("ValueError: bad batch\n", f"RuntimeError: {text}")
    assert told(0, {0: (1, 5.0), 1: (-15, 5.1)}, {0: log, 1: OOM}).likely == "rank 1"


def test_who_accuses_itself_is_not_sent_to_look_elsewhere() -> None:
    found = told(0, {0: (1, 5.0)}, {0: "EI0002 Notify record from remote rank [0].base\n"})
    assert "it accuses rank 0; that is this rank itself" in found.causes


def test_whoever_is_accused_is_followed_to_its_log() -> None:
    accusing = "EI0002: The Notify register has not received the Notify record from remote rank [1].base\n"
    found = told(0, {0: (1, 5.0), 1: (-15, 5.1)}, {0: accusing, 1: "step 7\nerror: cannot read /data/7\n"})
    assert found.culprit == Culprit(ranks=(1,))
    assert "it accuses rank 1; the log of rank 1 says: error: cannot read /data/7" in found.causes


def test_whoever_is_accused_elsewhere_is_named() -> None:
    found = told(0, {0: (1, 5.0)}, {0: 'TopoDetect ERROR occur !!! "Failed to connect agent[9,11,]"\n'})
    assert "it accuses ranks 9, 11; look at that log first" in found.causes


TABLE = server_list(
    {"server_id": "10.0.0.1", "devices": [(0, 0), (1, 1)]}, {"server_id": "10.0.0.2", "devices": [(4, 2)]}
)


@pytest.mark.parametrize(
    ("server", "device", "number"),
    [("10.0.0.2", "4", 2), ("10.0.0.1", "1", 1), ("10.0.0.1", "4", None), ("x", "0", None)],
)
def test_a_device_is_placed_by_the_rank_table_of_the_run(server: str, device: str, number: int | None) -> None:
    tabled = plan(1, PlannedFile("/t.json", TABLE.encode()), PlannedFile("/x", b"#!", kind="program"))
    assert place.rank_of(Culprit(server, device), tabled) == number
    assert place.rank_of(Culprit(server, device), plan(1)) is None
    assert place.rank_of(Culprit(server, device), plan(1, PlannedFile("/t.json", b"torn"))) is None


def test_a_device_that_is_accused_gets_its_rank() -> None:
    line = b"Cluster Exception Location[IP/ID]:[10.0.0.2/4], ExceptionType:[Heartbeat Lost Occurred], Possible\n"
    found = compose(ended("failure", rank(3, 1)), lambda process: line, rank_of=lambda culprit: 2)
    assert found.culprit == Culprit("10.0.0.2", "4", (2,), "Heartbeat Lost Occurred")
    assert (
        "it accuses rank 2 (server 10.0.0.2, device 4): Heartbeat Lost Occurred; look at that log first" in found.causes
    )


@pytest.mark.parametrize(
    ("others", "lines"),
    [
        ([rank(1, 7, 100.5), rank(2, 7, 101.0)], ["ranks 1-2 ended the same way, the last 1.0 s later"]),
        ([rank(1, 7, 100.5)], ["rank 1 ended the same way, 0.5 s later"]),
        ([rank(n, -15, 100.2) for n in (1, 2, 3, 5)], ["ranks 1-3, 5 ended when asked to, the last 0.2 s later"]),
        ([rank(1, -9, 130.0)], ["rank 1 had to be killed, 30.0 s later"]),
        ([rank(1, 0, 90.0)], ["rank 1 had ended well before"]),
        ([rank(1, 0, 100.0)], ["rank 1 ended when asked to, 0.0 s later"]),
        ([rank(1, None, None)], ["rank 1 could not be ended"]),  # type: ignore[arg-type]
        ([rank(1, None, None, None)], []),  # type: ignore[arg-type]
        ([rank(4, 7, 100.1)], ["rank 4 ended with exit code 7, 0.1 s later: other error"]),
        ([rank(1, 9, 100.1), rank(2, 9, 100.3)],
         ["ranks 1-2 ended with exit code 9, the last 0.3 s later: device 1 gone"]),
        ([rank(1, -11, 100.1)], ["rank 1 ended with SIGSEGV (signal 11), 0.1 s later: device 1 gone"]),
    ],
)  # fmt: skip
def test_those_that_ended_alike_share_a_line(others: list[ProcessEnd], lines: list[str]) -> None:
    errors = {f"rank {n}": f"device {n} gone" for n in range(4)}
    errors["rank 4"] = "other error"
    first = rank(0, 7)
    assert fold(first, [first, *others], errors) == lines


def test_a_worker_without_a_rank_is_called_by_its_name() -> None:
    first = rank(0, 7)
    worker = ProcessEnd("worker 1", None, 1, -15, 1.0, None, None, 101.0)
    scheduler = ProcessEnd("scheduler", None, 2, -15, 1.0, None, None, 100.0)
    assert fold(first, [scheduler, first, worker], {}) == [
        "scheduler, worker 1 ended when asked to, the last 1.0 s later"
    ]


def test_the_report_is_short_however_much_there_is_to_say() -> None:
    ends = {n: (n % 100 + 1, 5.0 + n) for n in range(512)}
    frames = "".join(f'  File "deep.py", line {n}, in f{n}\n    f{n + 1}()\n' for n in range(90))
    log = f"Traceback (most recent call last):\n{frames}RuntimeError: {EI0006}"
    logs = {n: log if n == 0 else f"{OOM}error {chr(65 + n % 26)} of rank {n}\n" for n in range(512)}
    found = told(0, ends, logs, oom_kills=3, log_dir="/logs")
    lines = len(found.quote.splitlines()) + len(found.causes) + len(found.others) + 1
    assert lines <= 25
    assert "other ways of ending" in found.others[-2]


def test_fewer_last_lines_are_shown_where_there_is_much_else_to_say() -> None:
    accusing = "Notify record from remote rank [5].base\nEI0002\n" + EI0006
    log = "".join(f"step {n}\n" for n in range(30)) + accusing
    logs = {n: f"error {chr(65 + n % 26)}\n" for n in range(30)}
    ends = {n: (n + 1 if n else -9, 1.0 + n) for n in range(30)}
    found = told(0, ends, {**logs, 0: log, 29: OOM}, oom_kills=2, log_dir="/logs")
    assert len(found.quote.splitlines()) + len(found.causes) + len(found.others) + 1 == 25
    assert found.quote.splitlines()[-2] == EI0006.strip().encode()


def test_a_failure_names_the_process_of_the_cause() -> None:
    cause = Cause(Kind.EXITED, 9, 12.5, worker=1)
    ends = [Ended(1, 9, 12.5), Ended(0, -15, 13.0)]
    result = outcome(plan(3), cause, 9, ends, {0: 10, 1: 11, 2: 12}, {0: 1, 1: 2}, epoch=1000.0)
    assert (result.cause, result.exit_code, result.node_rank) == ("failure", 9, 1)
    assert result.first == ProcessEnd("rank 1", 1, 11, 9, 10.5, "/logs/1", "1", 1012.5)
    assert result.processes[2] == ProcessEnd("rank 2", 2, 12, None, None, "/logs/2", "2"), "stuck: never reaped"
    assert (result.started_at, result.ended_at) == (1001.0, 1013.0)


def test_a_success_has_no_cause_and_no_first() -> None:
    result = outcome(plan(1), None, 0, [Ended(0, 0, 3.0)], {0: 10}, {0: 1.0})
    assert (result.cause, result.first, result.signum) == ("success", None, None)


def test_what_was_never_started_has_no_pid() -> None:
    cause = Cause(Kind.REFUSED, 199, 1.0, worker=1)
    result = outcome(plan(2), cause, 199, [Ended(0, -15, 1.5)], {0: 10}, {0: 1.0})
    assert (result.cause, result.processes[1].pid, result.processes[1].returncode) == ("not started", None, None)
    assert report.verdict(result) == ""
    assert not result.processes[1].ran


def test_nothing_may_have_been_started_at_all() -> None:
    result = outcome(plan(2), Cause(Kind.REFUSED, 127, 1.0, worker=0), 127, [], {}, {})
    assert (result.started_at, result.ended_at) == (None, None)


def test_the_outcome_as_json_can_be_read_back() -> None:
    result = outcome(plan(1), Cause(Kind.SIGNAL, 15, 1.0), 143, [Ended(0, -15, 3.0)], {0: 10}, {0: 1.0}, epoch=5.0)
    data = json.loads(as_json(result, compose(result)))
    assert (data["schema"], data["cause"], data["signum"], data["exit_code"]) == (1, "signal", 15, 143)
    assert data["processes"][0] == {
        "name": "rank 0", "rank": 0, "pid": 10, "returncode": -15, "seconds": 2.0, "log": "/logs/0", "device": "0",
        "ended_at": 8.0
    }  # fmt: skip
    assert data["report"]["verdict"] == "stopped by SIGTERM; exit code 143"


def test_a_hang_is_reported_by_where_its_suspect_stands() -> None:
    stands = Hang("rank 3", "rank 3 has written nothing for 60 s", ("main (a:1)", "f (a:2)"), "/logs/stacks.txt")
    result = replace(ended("hang", end(returncode=-15), 252, others=1), hang=stands)
    found = compose(result, lambda process: TRACEBACK.encode())
    assert found.verdict == "hang: rank 3 has written nothing for 60 s; exit code 252"
    assert found.quote == (
        b"--- rank 3 stands in\n    f (a:2)\n    main (a:1)\n--- all stacks are in /logs/stacks.txt\n"
    )
    data = json.loads(as_json(result, found))
    assert (data["cause"], data["hang"]["suspect"], data["hang"]["frames"]) == ("hang", "rank 3", list(stands.frames))


def test_the_outcome_file_has_the_report() -> None:
    result = ended("failure", rank(3, 1))
    data = json.loads(as_json(result, compose(result, lambda process: b"\xff\n" + EI0006.encode())))["report"]
    assert data["quote"] == ["--- last lines of /logs/3", "\ufffd", EI0006.strip(), "---"]
    assert data["known"] == {"rank 3": ["EI0006"]}
    assert data["likely"] is None


def test_every_field_of_the_outcome_file_is_documented() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/reference/outcome.md").read_text()
    result = ended("failure", rank(3, 1))
    found = compose(result, lambda process: b"Waiting peer rank: 3;")
    data = json.loads(as_json(result, found))
    hang = vars(Hang("rank 3", "silent", (), None))
    names = {*data, *data["processes"][0], *data["report"], *data["report"]["culprit"], *hang}
    assert {name for name in names if f"`{name}`" not in page} == set()
