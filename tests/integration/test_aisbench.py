"""An Ais-Bench training from the job's point of view: modes, parameters, figures, results."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ma2l.mock.layout import lay_out
from ma2l.mock.node import build
from ma2l.mock.shape import Shape
from tests.integration.harness import Finished, run

TRAIN = str(Path(__file__).with_name("aisbench_train.py"))
PARAMETERS = "- {label: epoch_size, value: '5'}\n- {name: enable_modelarts, value: 'True'}\n"


def outputs(here: str) -> list[str]:
    """The directories that the nodes of a mock wrote to."""
    return sorted(map(str, Path(here).glob("ma2l-log/*/outputs/*/train_url_0")))


def train(here: str, *options: str, env: dict[str, str] | None = None) -> Finished:
    Path(here, "job.yaml").write_text(PARAMETERS + f"- {{name: sentinel, value: {here}/sentinel}}\n")
    return run("--mock", "2x8", "--parameters", "job.yaml", *options, sys.executable, TRAIN, cwd=here, env=env)


def test_a_job_of_two_servers(here: str) -> None:
    finished = train(here)
    assert finished.code == 0, finished.err
    assert "results of ranks 0-7 of 16: MOCK, no NPU was used: throughput (sum of these ranks) 828" in finished.err
    assert "results of ranks 8-15 of 16: MOCK" in finished.err
    merged = run("results", *outputs(here), "--format=json", "--output", "whole.json", cwd=here)
    assert merged.code == 0, merged.err
    result = json.loads(merged.out)
    assert (result["throughput_ratio"], result["accuracy"], result["single_server"]) == (1720.0, 0.75, False)
    assert json.loads(Path(here, "whole.json").read_text()) == result


@pytest.mark.parametrize("how", ["variable", "option"])
def test_two_servers_each_for_itself_with_code_that_cuts_the_table_too(here: str, how: str) -> None:
    env = {"SINGLESERVER_MODE": "True"}
    finished = train(here, *(("--single-server",) if how == "option" else ()), env=env)
    assert finished.code == 0, finished.err
    for server in range(2):
        assert f"(server {server} of 2, a job of its own)" in finished.err
        assert f"results of server {server} of 2: MOCK" in finished.err
    result = json.loads(run("results", *outputs(here), "--format", "json", cwd=here).out)
    assert (result["throughput_ratio"], result["accuracy"], result["single_server"]) == (828.0, 0.75, True)
    names = [path.name for path in Path(here).glob("ma2l-log/*/*proc-rank-*")]
    assert len(names) == len(set(names)) == 16


def test_servers_on_a_shared_directory_do_not_collide_and_the_last_merges(here: str) -> None:
    env = {"SINGLESERVER_MODE": "True"}
    shared = f"{here}/shared"
    Path(here, "job.yaml").write_text(PARAMETERS + f"- {{name: sentinel, value: {here}/sentinel}}\n")
    words = ("--mock", "2x8", "--parameters", "job.yaml", sys.executable, TRAIN, f"--train_url={shared}")
    Path(shared).mkdir()
    finished = run(*words, cwd=here, env=env)
    assert finished.code == 0, finished.err
    assert sorted(os.listdir(shared)) == [
        "0", "1", "accuracy_0.json", "accuracy_1.json", "node0.result.json", "node1.result.json", "ranksize.json",
        "result.json",
    ]  # fmt: skip
    assert json.loads(Path(shared, "result.json").read_text())["throughput_ratio"] == 828.0
    assert "results of the whole job: MOCK, no NPU was used: throughput 828 samples/s" in finished.err


def test_a_server_that_begins_when_another_has_ended_merges_both(here: str) -> None:
    job = build(Shape(2, 2), "modelarts", "910b", f"{here}/mock", {"PATH": os.environ["PATH"]})
    lay_out(job, completed=True)
    code = "import ma2l_record as r, os; r.throughput(10 + int(os.environ['MA2L_SERVER'])); r.accuracy(0.5)"
    options = ("--single-server", "--results-dir", f"{here}/shared", "--recorder")
    for node in job.nodes:
        finished = run(*options, sys.executable, "-c", code, cwd=here, env=node.environ)
        assert finished.code == 0, finished.err
    assert "results of the whole job: MOCK, no NPU was used: throughput 21 samples/s" in finished.err


def test_each_server_s_failure_has_a_place_in_ma2l_explain(here: str) -> None:
    """From the outcome files, and where there are none from the logs alone, which carry the node."""
    code = (
        "import os; assert os.environ['MA2L_SERVER'] + os.environ['RANK'] != '11', 'second rank of the second server'"
    )
    words = ("--mock", "2x2", "--single-server", "--log-dir", "logs", sys.executable, "-c", code)
    assert run(*words, cwd=here).code == 1
    assert "second rank" in Path(here, "logs/node1.worker_1.log").read_text()
    explained = run("explain", "logs", cwd=here).out
    assert "rank 1 failed first: exit code 1" in explained
    assert "node 1" in explained
    for outcome in Path(here, "logs").glob("node*.outcome.json"):
        outcome.unlink()
    explained = run("explain", "logs", cwd=here).out
    assert "AssertionError: second rank of the second server" in explained
    assert "logs/node1.worker_1.log" in explained


def test_training_code_may_import_the_recorder(here: str) -> None:
    code = "import ma2l_record as r, os; r.throughput(10 + int(os.environ['RANK'])); r.accuracy(0.5)"
    words = ("--mock", "4", "--recorder", "--results-dir", "out/here", sys.executable, "-c", code)
    finished = run(*words, cwd=here, env={"PYTHONPATH": ""})
    assert finished.code == 0, finished.err
    assert "results of the whole job: MOCK, no NPU was used: throughput 46 samples/s" in finished.err
    result = json.loads(Path(here, "out/here/node0.result.json").read_text())
    assert (result["throughput_ratio"], result["accuracy"], result["mock"]) == (46.0, 0.5, True)


def test_the_recorder_stands_behind_the_users_own_modules(here: str, script: Callable[..., str]) -> None:
    Path(here, "ma2l_record.py").write_text("throughput = print\n")
    words = ("--mock", "1", "--recorder", sys.executable, "-c", "import ma2l_record as r; r.throughput('mine')")
    finished = run(*words, cwd="/", env={"PYTHONPATH": here, "MA2L_LOG_DIR": f"{here}/logs"})
    assert "[0] mine" in finished.out


def test_a_shell_records_with_a_verb(here: str, script: Callable[..., str]) -> None:
    ma2l = f"{sys.executable} -m ma2l"
    path = script(f"{ma2l} record throughput 2.5 && {ma2l} record accuracy 0.25")
    env = {"PYTHONPATH": str(Path(__file__).parents[2])}
    finished = run("--mock", "2", "--results-dir", "out", path, cwd=here, env=env)
    assert finished.code == 0, finished.err
    names = ["accuracy.json", "node0.result.json", "ranksize.json", "throughput_0.json", "throughput_1.json"]
    assert sorted(os.listdir(f"{here}/out")) == names
    assert "throughput 5 samples/s" in finished.err


@pytest.mark.parametrize(
    ("words", "env", "code", "line"),
    [
        (("throughput",), {}, 2, "write ma2l record throughput|accuracy VALUE"),
        (("speed", "1"), {}, 2, "write ma2l record throughput|accuracy VALUE"),
        (("throughput", "fast"), {}, 2, "cannot record throughput 'fast': it is not a number"),
        (("throughput", "1"), {}, 78, "cannot record a figure: nothing says where to"),
        (("throughput", "1"), {"MA2L_RESULTS_DIR": "/proc/x"}, 78, "nothing says which rank this is"),
        (("throughput", "1"), {"MA2L_RESULTS_DIR": "/proc/x", "RANK": "0"}, 78, "cannot write a figure: /proc/x"),
    ],
)
def test_mistakes_in_recording(here: str, words: tuple[str, ...], env: dict[str, str], code: int, line: str) -> None:
    finished = run("record", *words, cwd=here, env=env)
    assert (finished.code, line in finished.err) == (code, True), finished.err


def test_results_that_are_required_and_missing_change_the_code(here: str) -> None:
    words = ("--mock", "2", "--log-dir", "logs", "--results-dir", "out")
    assert "ma2l: results" not in run(*words, "true", cwd=here).err
    finished = run(*words, "--require-results", "true", cwd=here)
    assert finished.code == 65
    assert "results: throughput_0.json is missing" in finished.err
    assert finished.err.endswith("cannot take this run for a success: its results are not complete; see above\n")
    assert run(*words, "--require-results", "sh", "-c", "exit 3", cwd=here).code == 3
    one = 'echo 1 > "out/throughput_$RANK.json"; echo 2 > out/ranksize.json'
    assert run(*words, "--require-results", "sh", "-c", one, cwd=here).code == 0
    stale = run(*words, "--require-results", "true", cwd=here)
    assert (stale.code, "throughput_0.json was left by an earlier run" in stale.err) == (65, True)


def test_a_missing_figure_is_named_and_changes_no_code(here: str) -> None:
    code = 'test $RANK = 1 || echo nan > "out/throughput_$RANK.json"'
    finished = run("--mock", "2", "--log-dir", "logs", "--results-dir", "out", "sh", "-c", code, cwd=here)
    assert finished.code == 0
    for line in ("throughput_0.json holds nan", "throughput_1.json is missing"):
        assert f"ma2l: warning: results: {line}" in finished.err
    verb = run("results", "out", cwd=here)
    assert verb.code == 65
    assert "throughput_ratio  unknown" in verb.out
    assert "cannot give the whole result of out: " in verb.err


def test_a_train_url_that_cannot_be_written_is_one_warning(here: str) -> None:
    """Its figures were written by somebody else; ours goes beside the logs."""
    Path(here, "out/node0.result.json").mkdir(parents=True)
    code = 'echo 1 > "out/throughput_$RANK.json"; echo 1 > out/ranksize.json'
    finished = run("--mock", "1", "--log-dir", "logs", "--results-dir", "out", "sh", "-c", code, cwd=here)
    assert finished.code == 0
    assert f"results: cannot write {here}/out/node0.result.json: Is a directory" in finished.err
    assert json.loads(Path(here, "logs/node0.result.json").read_text())["throughput_ratio"] == 1.0


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        ((), 2, "write ma2l results DIR..."),
        (("no-such",), 78, "cannot read no-such: No such file or directory; name a directory"),
        ((".",), 78, "there is no figure in it; name a train_url"),
        ((".", "--format", "xml"), 2, "choose one of table, json"),
        ((".", "--sort"), 2, "cannot use the option --sort"),
        (("obs://bkt/x",), 78, "OBS_ACCESS_KEY_ID is not set"),
    ],
)
def test_mistakes_in_asking_for_results(here: str, words: tuple[str, ...], code: int, line: str) -> None:
    finished = run("results", *words, cwd=here)
    assert (finished.code, line in finished.err) == (code, True), finished.err


def test_a_result_that_can_be_nowhere_is_the_user_s_mistake(here: str) -> None:
    Path(here, "throughput_0.json").write_text("1")
    finished = run("results", ".", "--output", "no/such/x.json", cwd=here)
    assert finished.code == 78
    assert "cannot write no/such/x.json: No such file or directory; choose another --output" in finished.err


def test_a_number_of_ranks_that_the_launcher_did_not_start_is_no_success(here: str) -> None:
    worker = "echo 5 >$MA2L_RESULTS_DIR/throughput_$RANK.json; echo 3 >$MA2L_RESULTS_DIR/ranksize.json"
    words = ("--mock", "2", "--require-results", "--results-dir", "out", "sh", "-c", worker)
    finished = run(*words, cwd=here)
    assert finished.code == 65
    assert "ranksize.json says 3 ranks, the launchers started 2" in finished.err


def test_a_job_whose_figures_are_in_the_bucket_is_told_how_to_merge_them(here: str) -> None:
    words = ("--mock", "1", "--log-dir", "logs", "echo", "--train_url=obs://bkt/out/")
    finished = run(*words, cwd=here)
    assert "merge them with: ma2l results obs://bkt/out/" in finished.err


def test_torchrun_like_commands_have_the_ranks_of_their_node(here: str) -> None:
    code = "import os; [open(f'out/throughput_{rank}.json', 'w').write('1') for rank in range(4)]"
    words = ("--mock", "4", "--per-node", "--results-dir", "out", sys.executable, "-c", code)
    finished = run(*words, cwd=here)
    assert "results of the whole job: MOCK, no NPU was used: throughput 4 samples/s" in finished.err
