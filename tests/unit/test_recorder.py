"""The module that training code imports: files as Ais-Bench's, in every Python from 3.7 on."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ma2l.plan.figures import RECORDER
from ma2l.results.job import result_of
from ma2l.results.sources import of_directory

PYTHONS = sorted({sys.executable, *map(str, Path.home().glob(".pyenv/versions/3.*/bin/python3"))})
OLDEST = (3, 7)


def version(python: str) -> tuple[int, ...]:
    out = subprocess.run([python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True)
    return tuple(map(int, out.stdout.split()))


def record(code: str, python: str = sys.executable, **env: str) -> subprocess.CompletedProcess[str]:
    full = {"PATH": os.environ["PATH"], "PYTHONPATH": RECORDER, "PYTHONDONTWRITEBYTECODE": "1", **env}
    return subprocess.run([python, "-c", f"import ma2l_record as r; {code}"], env=full, capture_output=True, text=True)


@pytest.mark.parametrize("python", [python for python in PYTHONS if version(python) >= OLDEST])
def test_ranks_write_what_the_results_read(tmp_path: Path, python: str) -> None:
    for rank in range(2):
        env = {"MA2L_RESULTS_DIR": str(tmp_path), "RANK_ID": str(rank), "RANK_SIZE": "2"}
        done = record(f"print(r.throughput({rank} + 1.5), r.accuracy(0.75))", python, **env)
        assert (done.stdout, done.stderr) == (f"True {rank == 0}\n", "")
    assert sorted(os.listdir(tmp_path)) == ["accuracy.json", "ranksize.json", "throughput_0.json", "throughput_1.json"]
    assert (tmp_path / "throughput_1.json").read_text() == "2.5"
    result = result_of([of_directory(str(tmp_path))])
    assert (result.complete, result.throughput_ratio, result.accuracy) == (True, 4.0, 0.75)


def test_its_syntax_is_that_of_the_oldest() -> None:
    ast.parse(Path(RECORDER, "ma2l_record.py").read_text(), feature_version=OLDEST)
    assert sorted(name for name in os.listdir(RECORDER) if name.endswith(".py")) == ["__init__.py", "ma2l_record.py"]


def test_where_every_server_is_a_job_its_number_is_in_the_names(tmp_path: Path) -> None:
    env = {"MA2L_RESULTS_DIR": str(tmp_path), "MA2L_SERVER": "1", "RANK": "0", "WORLD_SIZE": "1"}
    assert record("r.throughput(1); r.throughput(2); r.accuracy(0.5)", **env).returncode == 0
    assert (tmp_path / "1/throughput_0.json").read_text() == "2.0"  # the last call counts
    assert sorted(os.listdir(tmp_path)) == ["1", "accuracy_1.json", "ranksize.json"]


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({"RANK": "0"}, "nothing says where to (MA2L_RESULTS_DIR)"),
        ({"MA2L_RESULTS_DIR": "/proc/x"}, "nothing says which rank this is"),
        ({"MA2L_RESULTS_DIR": "/proc/x", "RANK": "0"}, "/proc/x/throughput_0.json: No such file or directory"),
    ],
)
def test_a_figure_is_no_reason_to_end_a_training(env: dict[str, str], why: str) -> None:
    done = record("print(r.throughput(1))", **env)
    assert (done.returncode, done.stdout) == (0, "False\n")
    assert done.stderr.startswith("ma2l_record: cannot write a figure: ")
    assert why in done.stderr


def test_what_is_no_number_is_the_codes_own_mistake() -> None:
    assert "ValueError" in record("r.throughput('fast')").stderr
    assert "TypeError" in record("r.accuracy(None)").stderr
