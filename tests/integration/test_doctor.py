"""``ma2l doctor`` and ``ma2l --doctor`` as a user types them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.integration.harness import run

NO_MOCK = {"MA2L_MOCK": "0"}


def test_a_laptop_is_told_that_it_is_none(here: str) -> None:
    finished = run("doctor", cwd=here)
    assert finished.code == 197
    assert finished.out.startswith("fail    npus")
    assert "fix: run on an Ascend node" in finished.out
    assert os.listdir(here) == []


def test_json_has_every_check(here: str) -> None:
    findings = json.loads(run("doctor", "--format", "json", cwd=here).out)
    assert len(findings) >= 20
    assert {finding["status"] for finding in findings} <= {"ok", "warn", "fail", "unknown"}
    assert all(finding["why"] and finding["text"] for finding in findings)


def test_a_mock_is_examined_like_a_node(here: str) -> None:
    finished = run("doctor", "--mock", "2x8", sys.executable, "train.py", cwd=here)
    assert finished.code == 0, finished.out
    assert "driver mock-25" in finished.out
    assert "ok      device IPs     8 addresses are as in the table" in finished.out
    assert os.listdir(here) == []


def test_a_run_that_looks_first(here: str) -> None:
    finished = run("--doctor", "--mock", "2", "--log-dir", "logs", "echo", "fine", cwd=here)
    assert finished.code == 0, finished.err
    assert finished.err.index("--doctor found nothing that will go wrong") < finished.err.index("started 2 processes")
    assert "[1] fine" in finished.out


def test_a_run_that_looks_first_and_does_not_start(here: str) -> None:
    script = Path(here, "run.sh")
    script.write_text("torchrun train.py\n")
    finished = run("--doctor", "--mock", "2", "--log-dir", "logs", "bash", "run.sh", cwd=here)
    assert finished.code == 78
    assert "command: run.sh calls torchrun, which starts the ranks itself" in finished.err
    assert finished.err.splitlines()[-1] == (
        "ma2l: error: cannot start on this node: --doctor found what will go wrong: command; see above, or ma2l doctor"
    )
    assert not Path(here, "logs").exists()


def test_mistakes_are_one_line(here: str) -> None:
    for words, line in ((("--format", "xml"), "choose one of table, json"), (("--mok", "2"), "did you mean --mock")):
        finished = run("doctor", *words, cwd=here)
        assert (finished.code, line in finished.err) == (2, True)
    finished = run("doctor", "--rank-table-file", "no.json", cwd=here, env=NO_MOCK)
    assert "no.json (--rank-table-file): No such file or directory" in finished.out
