"""``ma2l config`` and ``ma2l collect`` as a user types them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from ma2l.settings import FIELDS, Settings, load
from tests.integration.harness import run


def test_every_value_and_where_it_comes_from(here: str) -> None:
    Path(here, "ma2l.yaml").write_text("stop-grace: 60\nmode: torch\n")
    env = {"MA2L_MODE": "ranktable", "MA2L_MPI_ARGS": "-x HF_TOKEN=s3cret"}
    out = run("config", "show", "--nnodes", "4", cwd=here, env=env).out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert rows["--nnodes"] == ["4", "--nnodes"]
    assert rows["--mode"] == ["ranktable", "MA2L_MODE"]
    assert rows["--stop-grace"] == ["60", "ma2l.yaml"]
    assert rows["--log-dir"] == ["-", "default"]
    assert set(rows) == {f"--{name.replace('_', '-')}" for name in FIELDS}
    assert "s3cret" not in out


def test_the_sample_is_a_file_with_the_defaults(here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = run("config", "sample", cwd=here).out
    assert yaml.safe_load(text) is None
    known = {name: option for name, option in FIELDS.items() if option.default is not None}
    lines = [line[1:] for line in text.splitlines() if re.match(r"#[a-z-]+: ", line)]
    Path(here, "ma2l.yaml").write_text(
        "\n".join(line for line in lines if line.partition(":")[0].replace("-", "_") in known)
    )
    monkeypatch.chdir(here)
    assert load({}, {})[0] == Settings()
    assert len(lines) == len(FIELDS) - 1


def test_the_schema_knows_every_option(here: str) -> None:
    schema = json.loads(run("config", "schema", cwd=here).out)
    names = {name.replace("_", "-") for name in FIELDS} - {"config"}
    assert set(schema["properties"]) == names
    assert schema["properties"]["mode"]["enum"][0] == "auto"
    assert schema["properties"]["stop-grace"] == {
        "description": "time between SIGTERM and SIGKILL", "type": "number", "minimum": 0, "maximum": 1000000,
        "default": 25.0,
    }  # fmt: skip
    assert any(re.fullmatch(pattern, "stop_grace") for pattern in schema["patternProperties"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_options_and_verbs(here: str, shell: str) -> None:
    text = run("config", "completion", shell, cwd=here).out
    assert "stop-grace" in text
    assert "ranktable" in text
    if shell == "bash":
        ask = f'{text}\nCOMP_WORDS=(ma2l --stop); COMP_CWORD=1; _shtab_ma2l; printf "%s\\n" "${{COMPREPLY[@]}}"'
        done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=60)
        assert "--stop-grace" in done.stdout.split(), done.stderr
    elif shutil.which(shell):
        assert subprocess.run([shell, "-n", "-c", text], timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("config", "frobnicate"), "choose show, schema, sample or completion"),
        (("config", "schema", "x"), "ma2l config schema takes nothing"),
        (("config", "completion", "cmd"), "write ma2l config completion bash|zsh|fish"),
        (("config", "show", "x"), "ma2l config show takes options only"),
        (("collect",), "it takes one log directory"),
        (("collect", "-o"), "its value is missing"),
        (("collect", "a", "b"), "it takes one log directory"),
    ],
)
def test_mistakes_are_usage_errors(here: str, words: tuple[str, ...], line: str) -> None:
    finished = run(*words, cwd=here)
    assert (finished.code, line in finished.err) == (2, True), finished.err


def test_a_failed_run_is_collected(here: str) -> None:
    words = ("--doctor", "--mock", "2", "--log-dir", "logs", "sh", "-c", "echo HUB_TOKEN=s3cret; exit $RANK")
    assert run(*words, cwd=here).code == 1
    finished = run("collect", "logs", "-o", "out.tar.gz", cwd=here)
    assert finished.code == 0, finished.err
    with tarfile.open(Path(here, "out.tar.gz")) as tar:
        files = {member.name: tar.extractfile(member) for member in tar.getmembers()}
        texts = {name: file.read().decode(errors="replace") for name, file in files.items() if file}
    assert texts["out/rank-1.txt"] == "HUB_TOKEN=***\n"
    assert "npu-smi mock" in texts["out/environment_check/npu_info_before.txt"]
    assert "rank 1 failed first: exit code 1" in texts["out/ma2l/explain.txt"]
    assert "s3cret" not in "".join(texts.values())
    assert sorted(os.listdir(here)) == ["logs", "out.tar.gz"]


@pytest.mark.parametrize(("place", "output"), [("no-such", "x.tar.gz"), (".", "no/such/x.tar.gz")])
def test_what_cannot_be_collected_is_one_line(here: str, place: str, output: str) -> None:
    Path(here, "worker_0.log").touch()
    finished = run("collect", place, "-o", output, cwd=here)
    assert finished.code == 78
    assert "No such file or directory; check both paths" in finished.err


def test_an_empty_directory_is_no_run(here: str) -> None:
    Path(here, "logs").mkdir()
    finished = run("collect", "logs", cwd=here)
    assert finished.code == 78
    assert "cannot collect logs: it is empty; name the log directory of a run" in finished.err
    assert os.listdir(here) == ["logs"]


def test_two_archives_of_one_second_are_two(here: str) -> None:
    assert run("--mock", "1", "--log-dir", "logs", "true", cwd=here).code == 0
    for _ in range(2):
        assert run("collect", "logs", cwd=here).code == 0
    assert len(list(Path(here).glob("ma2l-collect-*.tar.gz"))) == 2
