"""Uploads and downloads with the real SDK: to a store that takes them, and to some that do not."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.harness import PATIENCE, Finished, Running, run, until
from tests.integration.store import (
    EMPTY,
    KEY,
    SECRET,
    Store,
    answering,
    certificate_for,
    closed_port,
    error,
    moto,
)  # fmt: skip
from tests.integration.test_rank_table import one_server
from tests.integration.test_restarts import FULL_DISK

TRAIN = Path(__file__).with_name("aisbench_train.py")


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with moto() as started:
        yield started


def ma2l(*words: str, cwd: str, env: dict[str, str]) -> Finished:
    """Run it, and see that no secret gets out."""
    finished = run(*words, cwd=cwd, env=env)
    for text in (finished.out, finished.err, *everything_in(cwd)):
        assert SECRET not in text
        assert KEY not in text
    assert "Traceback" not in finished.err
    return finished


def everything_in(directory: str) -> Iterator[str]:
    for path in Path(directory).rglob("*"):
        if path.is_file() and path.name != "secret":
            yield path.read_text(errors="replace")


def logs(here: str, **files: bytes) -> str:
    """A log directory without a note of an upload."""
    place = Path(here, "logs")
    place.mkdir()
    for name, content in (files or {"a": b"1", "b": b"22"}).items():
        (place / name).write_bytes(content)
    return str(place)


def test_a_run_of_two_nodes_is_sent_and_merged_in_the_bucket(here: str, store: Store) -> None:
    url = "obs://bkt/two-nodes"
    Path(here, "p.yaml").write_text("[]")
    words = ("--mock", "2x2", "--upload", url, "--parameters", "p.yaml", sys.executable, str(TRAIN))
    finished = ma2l(*words, cwd=here, env=store.env)
    assert finished.code == 0, finished.err
    assert finished.err.count("to obs://bkt/two-nodes/ in ") == 2
    names = {name[len("two-nodes/") :] for name in store.names("two-nodes/")}
    expected = {f"throughput_{rank}.json" for rank in range(4)} | {"accuracy.json", "ranksize.json"}
    for node in range(2):
        expected |= {f"node{node}.result.json"}
        expected |= {f"logs/node{node}.{what}" for what in ("plan.json", "outcome.json", "launcher.txt", "upload.json")}
    for rank in range(4):
        job = "modelarts-job-00000000-mock-mock-mock-000000000000"
        expected.add(f"logs/{job}-proc-rank-{rank}-device-{rank % 2}.txt")
    assert names == expected
    merged = ma2l("results", "--format", "json", url, cwd=here, env=store.env)
    assert merged.code == 0, merged.err
    result = json.loads(merged.out)
    assert (result["throughput_ratio"], result["accuracy"], result["mock"]) == (406.0, 0.75, True)
    assert [one["throughput"] for one in result["ranks"]] == [100.0, 101.0, 102.0, 103.0]
    outcome = json.loads(store.content("two-nodes/logs/node0.outcome.json"))
    assert outcome["cause"] == "success"


def test_a_failed_run_is_sent_too_and_keeps_its_code(here: str, store: Store) -> None:
    both = 'touch "said.$RANK"; while [ ! -e "said.$((1 - RANK))" ]; do sleep 0.01; done'  # or one stops the other
    command = ("sh", "-c", f"echo no; {both}; exit 7")
    words = ("--mock", "2", "--log-dir", "logs", "--upload", "obs://bkt/failed/", *command)
    finished = ma2l(*words, cwd=here, env=store.env)
    assert finished.code == 7
    assert store.content("failed/logs/worker_0.log") == b"no\n"
    assert json.loads(store.content("failed/logs/node0.outcome.json"))["exit_code"] == 7


def test_a_run_that_could_not_be_started_again_is_sent_too(here: str, store: Store) -> None:
    Path(here, "table.json").write_text(one_server(0))
    env = {**os.environ, **store.env, "RANK_TABLE_FILE": f"{here}/table.json"}
    words = ("--max-restarts", "1", "--restart-on", "7", "--log-dir", "logs", "--upload", "obs://bkt/again-not/")
    command = [sys.executable, "-c", FULL_DISK, *words, "sh", "-c", "exit 7"]
    assert subprocess.run(command, cwd=here, env=env, capture_output=True, timeout=PATIENCE).returncode == 7
    assert json.loads(store.content("again-not/logs/node0.outcome.json"))["exit_code"] == 7


def test_only_what_is_missing_is_sent_again(here: str, store: Store) -> None:
    place = logs(here, a=b"1", b=b"22", c=b"")
    words = ("upload", place, "obs://bkt/again/")
    first = ma2l(*words, cwd=here, env=store.env)
    assert (first.code, "uploaded 3 files, 0.0 MiB to " in first.err) == (0, True), first.err
    assert "uploaded 0 files, 0.0 MiB (3 were there already)" in ma2l(*words, cwd=here, env=store.env).err
    Path(place, "b").write_bytes(b"33")  # as large as before
    assert "uploaded 1 files, 0.0 MiB (2 were there already)" in ma2l(*words, cwd=here, env=store.env).err
    assert store.content("again/logs/b") == b"33"


def test_names_of_any_bytes_and_what_is_no_file(here: str, store: Store) -> None:
    place = logs(here)
    for name in (b"\xff\xfe", "中文".encode(), b"a b+c%d?e#f", b"x.part"):
        Path(os.fsdecode(os.fsencode(place) + b"/" + name)).write_bytes(b"x")
    Path(place, "link").symlink_to("/etc/passwd")
    Path(place, "below").symlink_to("/etc")
    os.mkfifo(Path(place, "pipe"))
    finished = ma2l("upload", place, "obs://bkt/names/", cwd=here, env=store.env)
    assert finished.code == 0, finished.err
    expected = ["a", "b", "%FF%FE", "中文", "a b+c%d?e#f"]
    assert sorted(store.names("names/")) == sorted(f"names/logs/{name}" for name in expected)
    for odd in ("link", "pipe"):
        assert f"{odd} is not sent: it is no regular file" in finished.err


def test_an_upload_that_is_cut_is_finished_by_a_repeat(here: str, store: Store) -> None:
    """The process dies in the middle of a file that goes in parts; small ones are there already."""
    place = logs(here, small=b"1", large=os.urandom(100 * 2**20))
    words = ("upload", place, "obs://bkt/cut/")
    with Running(*words, cwd=here, env=store.env) as running:
        record = until(lambda: next(Path(place).glob("*.upload_record"), None))
        until(lambda: '"isCompleted": true' in read_text(record))
        running.process.send_signal(signal.SIGKILL)
        assert running.finish().code == 137
    assert store.names("cut/") == ["cut/logs/small"]
    finished = ma2l(*words, cwd=here, env=store.env)
    assert finished.code == 0, finished.err
    assert "uploaded 1 files, 100.0 MiB (1 were there already)" in finished.err
    assert store.content("cut/logs/large") == Path(place, "large").read_bytes()
    assert "uploaded 0 files" in ma2l(*words, cwd=here, env=store.env).err
    assert not list(Path(place).glob("*.upload_record"))


def read_text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


@pytest.mark.parametrize(
    ("status", "code", "message", "exit_code", "do"),
    [
        (403, "InvalidAccessKeyId", "no such key", 78, "check OBS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "wrong", 78, "check OBS_SECRET_ACCESS_KEY"),
        (404, "NoSuchBucket", "none", 78, "check the bucket's name"),
        (301, "PermanentRedirect", "elsewhere", 78, "check the endpoint's region"),
        (503, "SlowDown", "later", 203, ""),
        (500, "InternalError", "oh", 203, ""),
    ],
)
def test_what_a_store_refuses(here: str, status: int, code: str, message: str, exit_code: int, do: str) -> None:
    asked = itertools.count()

    def answer(_method: str, _path: str) -> tuple[int, str]:
        next(asked)
        return status, error(code, message)

    with answering(answer) as endpoint:
        env = {"OBS_ENDPOINT": endpoint, "OBS_ACCESS_KEY_ID": KEY, "OBS_SECRET_ACCESS_KEY": SECRET}
        finished = ma2l("upload", logs(here), "obs://bkt/x/", cwd=here, env=env)
    assert finished.code == exit_code
    (line,) = [line for line in finished.err.splitlines() if "error" in line]
    assert line.startswith(f"ma2l: error: cannot list obs://bkt/x/: {endpoint} answers {status} {code} ({message})")
    assert (f"; {do}" if do else f"({message})") in line
    assert next(asked) == (1 if exit_code == 78 else 4)


def test_a_store_that_is_down_for_a_moment_is_asked_again(here: str) -> None:
    refusals = iter([(503, error("SlowDown", "later")), None])
    puts: list[str] = []

    def answer(method: str, path: str) -> tuple[int, str] | None:
        if method == "GET":
            return 200, EMPTY
        puts.append(path)
        return next(refusals, (200, ""))

    with answering(answer) as endpoint:
        env = {"OBS_ENDPOINT": endpoint, "OBS_ACCESS_KEY_ID": KEY, "OBS_SECRET_ACCESS_KEY": SECRET}
        finished = ma2l("upload", logs(here), "obs://bkt/x/", cwd=here, env=env)
    assert finished.code == 0, finished.err
    assert puts == ["/bkt/x/logs/a"] * 3 + ["/bkt/x/logs/b"]


def test_a_run_whose_store_is_gone_keeps_its_code_and_says_how_to_repeat(here: str, store: Store) -> None:
    words = ("--mock", "2", "--log-dir", "logs", "--upload", "obs://bkt/later/", "true")
    down = {**store.env, "OBS_ENDPOINT": f"http://127.0.0.1:{closed_port()}"}
    finished = ma2l(*words, cwd=here, env=down)
    assert finished.code == 0
    repeat = f"NOT UPLOADED to obs://bkt/later/: exit code 203; repeat it with: ma2l upload {here}/logs"
    assert repeat in finished.err
    assert "cannot be reached: Connection refused" in finished.err
    assert ma2l("upload", "logs", cwd=here, env=store.env).code == 0
    assert "later/logs/worker_0.log" in store.names("later/")


def test_nothing_is_missing_but_the_keys(here: str, store: Store) -> None:
    env = {"OBS_ENDPOINT": store.endpoint}
    finished = ma2l("upload", logs(here), "obs://bkt/x/", cwd=here, env=env)
    assert finished.code == 78
    assert "cannot talk to OBS: OBS_ACCESS_KEY_ID is not set; set it, or OBS_ACCESS_KEY_ID_FILE" in finished.err


def test_keys_come_from_files_too(here: str, store: Store) -> None:
    Path(here, "secret").write_text(SECRET + "\n")
    env = {"OBS_ENDPOINT": store.endpoint, "OBS_ACCESS_KEY_ID": KEY, "OBS_SECRET_ACCESS_KEY_FILE": f"{here}/secret"}
    assert ma2l("upload", logs(here), "obs://bkt/files/", cwd=here, env=env).code == 0
    env["OBS_SECRET_ACCESS_KEY_FILE"] = "/no/such"
    finished = ma2l("upload", "logs", "obs://bkt/files/", cwd=here, env=env)
    assert (finished.code, "cannot read OBS_SECRET_ACCESS_KEY_FILE=/no/such" in finished.err) == (78, True)


def test_certificates_are_checked_and_names_are_looked_up_in_the_map(here: str, tmp_path: Path) -> None:
    """A private cloud: its certificate is its own, and its names are known to nobody."""
    certificate = certificate_for(tmp_path, "obs.private.example", "*.obs.private.example")
    place = logs(here)
    with answering(lambda method, _path: (200, EMPTY if method == "GET" else ""), certificate) as endpoint:
        port = endpoint.rpartition(":")[2]
        hosts = ("--obs-hosts", "other.example=127.0.0.9,obs.private.example=127.0.0.1")
        words = ("upload", "--obs-endpoint", f"https://obs.private.example:{port}", *hosts, place, "obs://bkt/x/")
        env = {"OBS_ACCESS_KEY_ID": KEY, "OBS_SECRET_ACCESS_KEY": SECRET}
        refused = ma2l(*words, cwd=here, env=env)
        assert refused.code == 78
        assert "is not trusted: self" in refused.err
        assert "pass --obs-ca-file" in refused.err
        trusted = ("upload", "--obs-ca-file", str(tmp_path / "certificate.pem"), *words[1:])
        accepted = ma2l(*trusted, cwd=here, env=env)
        assert accepted.code == 0, accepted.err
        stranger = ma2l(*trusted[:4], f"https://127.0.0.1:{port}", *trusted[5:], cwd=here, env=env)
        assert stranger.code == 78
        assert "is not trusted: IP address mismatch" in stranger.err
        unknown = ma2l(*(word for word in trusted if word not in hosts), cwd=here, env=env)
        assert unknown.code == 203
        assert "no name server knows https://obs.private.example" in unknown.err


def test_a_store_that_never_answers_costs_only_the_time_allowed(here: str) -> None:
    never = threading.Event()

    def silent(*_: str) -> None:
        never.wait()

    try:
        with answering(silent) as endpoint:
            env = {"OBS_ENDPOINT": endpoint, "OBS_ACCESS_KEY_ID": KEY, "OBS_SECRET_ACCESS_KEY": SECRET}
            words = ("--mock", "1", "--log-dir", "logs", "--upload", "obs://bkt/x/", "--upload-timeout", "1", "true")
            finished = ma2l(*words, cwd=here, env=env)
            assert finished.code == 0
            assert "1 s were not enough; what was sent stays there" in finished.err
            assert "NOT UPLOADED" in finished.err
            never.set()
    finally:
        never.set()


def test_a_stop_signal_ends_an_upload_and_changes_no_code(here: str) -> None:
    asked, never = threading.Event(), threading.Event()

    def answer(*_: str) -> tuple[int, str] | None:
        asked.set()
        never.wait()
        return None

    try:
        with answering(answer) as endpoint:
            env = {"OBS_ENDPOINT": endpoint, "OBS_ACCESS_KEY_ID": KEY, "OBS_SECRET_ACCESS_KEY": SECRET}
            words = ("--mock", "1", "--log-dir", "logs", "--upload", "obs://bkt/x/", "false")
            with Running(*words, cwd=here, env=env) as running:
                assert asked.wait(60)
                running.send(signal.SIGTERM)
                finished = running.finish()
            never.set()
    finally:
        never.set()
    assert finished.code == 1
    assert "NOT UPLOADED to obs://bkt/x/: a stop signal came; repeat it with" in finished.err


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        ((), 2, "it takes a log directory"),
        (("no-such",), 78, "cannot read no-such: No such file or directory"),
        (("logs",), 2, "no run noted where to; name obs://BUCKET/PATH/"),
        (("logs", "bkt/x"), 78, "it does not begin with obs:// or s3://"),
        (("logs", "obs://B/x"), 78, "'B' is no bucket's name, which has 3 to 63 small letters"),
        (("logs", "obs://bkt/../x"), 78, "its path is not plain"),
        (("logs", "obs://bkt/x", "--obs-hosts", "a"), 78, "is no name=ip"),
        (("logs", "obs://bkt/x", "--obs-endpoint", "ftp://x"), 78, "it is no https:// address"),
        (("logs", "obs://bkt/x", "--obs-endpoint", "https://127.0.0.1:1", "--obs-ca-file", "/no"), 78, "No such file"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(here: str, words: tuple[str, ...], code: int, line: str) -> None:
    logs(here)
    env = {"OBS_ACCESS_KEY_ID": KEY, "OBS_SECRET_ACCESS_KEY": SECRET, "OBS_ENDPOINT": "https://127.0.0.1:1"}
    finished = ma2l("upload", *words, cwd=here, env=env)
    assert finished.code == code, finished.err
    assert line in finished.err
    assert len([text for text in finished.err.splitlines() if "error" in text]) == 1


def test_a_note_of_something_else_is_one_line(here: str, store: Store) -> None:
    place = logs(here)
    for content in ("", "[]", "{}", '{"roots": 5, "destination": ""}', "[" * 5000):
        Path(place, "node0.upload.json").write_text(content)
        finished = ma2l("upload", place, cwd=here, env=store.env)
        assert (finished.code, "it is no note of an upload" in finished.err) == (78, True), finished.err


def test_logs_that_were_moved_are_sent_from_where_they_are(here: str, store: Store) -> None:
    down = {**store.env, "OBS_ENDPOINT": f"http://127.0.0.1:{closed_port()}"}
    ma2l("--mock", "1", "--log-dir", "logs", "--upload", "obs://bkt/moved/", "true", cwd=here, env=down)
    shutil.move(f"{here}/logs", f"{here}/copy")
    assert ma2l("upload", "copy", cwd=here, env=store.env).code == 0
    assert "moved/logs/worker_0.log" in store.names("moved/")


@pytest.mark.parametrize("place", ["obs://bkt/nothing/", "obs://none-such/x/"])
def test_figures_that_are_not_in_the_bucket(here: str, store: Store, place: str) -> None:
    finished = ma2l("results", place, cwd=here, env=store.env)
    assert finished.code == 78
    assert ("there is no figure in it" if "nothing" in place else "NoSuchBucket") in finished.err


def test_an_upload_that_never_could_work_is_told_before_the_start(here: str) -> None:
    finished = ma2l("--mock", "1", "--upload", "bucket/x", "touch", "started", cwd=here, env={})
    assert finished.code == 78
    assert "cannot use 'bucket/x' as a place in OBS: it does not begin with obs:// or s3://" in finished.err
    assert not Path(here, "started").exists()
    finished = ma2l("--mock", "1", "--upload", "obs://bkt/x/", "touch", "started", cwd=here, env={})
    early, late = finished.err.split("started 1 process")
    assert "as it is now nothing can be uploaded at the end: cannot talk to OBS: OBS_ACCESS_KEY_ID is not set" in early
    assert "NOT UPLOADED" in late
    assert finished.code == 0
