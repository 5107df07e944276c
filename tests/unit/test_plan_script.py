"""One rank as a script: run by real shells, it is what the launcher would have started, byte for byte."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ma2l.errors import ConfigError
from ma2l.plan.script import script
from ma2l.plan.spec import Plan, PlannedFile, ProcessSpec, applied
from tests.unit.scenario import mock_nodes, plan

SHELLS = [["dash"], ["bash", "--posix"], ["busybox", "sh"]]
SHOW = (
    "import os, sys; sys.stdout.buffer.write(b'\\0'.join([os.fsencode(os.getcwd()), *map(os.fsencode, sys.argv[1:])]))"
)
DUMP = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(sorted(k + b'=' + v for k, v in os.environb.items())))"
BASE = {"PATH": os.environ["PATH"], "LEFT": "over"}
BYTES = st.binary(min_size=1, max_size=8).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"'")))


def made(
    *argv: str, env: dict[str, str | None] | None = None, files: tuple[PlannedFile, ...] = (), **spec: object
) -> Plan:
    one = ProcessSpec("rank", ("python", *argv), sys.executable, env or {}, None, rank=0, **spec)  # type: ignore[arg-type]
    return Plan("RUN", "torch", 0, 1, 1, "h", 1, "/logs", (one,), files, (), ())


def ran(text: bytes, shell: list[str], env: dict[str, str] | None = None) -> bytes:
    done = subprocess.run([*shell, "-c", text], env={**BASE, **(env or {})}, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(BYTES, max_size=4))
def test_words_of_any_bytes(shell: list[str], words: list[str]) -> None:
    from ma2l.secrets import mask_argv

    if list(mask_argv(words)) != words:
        return
    expected = [os.fsencode(os.getcwd()), *map(os.fsencode, words)]
    assert ran(script(made("-c", SHOW, *words), 0), shell).split(b"\0") == expected


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(env=st.dictionaries(st.sampled_from(["A", "B.b", "C-c", "LEFT", "x"]), BYTES | st.none() | st.just("")))
def test_an_environment_of_any_names_and_bytes(shell: list[str], env: dict[str, str | None]) -> None:
    expected = {os.fsencode(f"{name}={value}") for name, value in applied(env, BASE).items()}
    found = set(ran(script(made("-c", DUMP, env=env), 0), shell).split(b"\0"))
    ours = {b"PWD", b"OLDPWD", b"SHLVL", b"_", b"LC_CTYPE"}  # the shell's own, and Python's in the C locale
    assert {item for item in found if item.partition(b"=")[0] not in ours} == expected


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_files_of_the_run_are_made_anew(tmp_path: Path, shell: list[str]) -> None:
    content = b'{"a": "it\'s", "b": 1}\n'
    read = "import os; print(open(os.environ['RANK_TABLE_FILE']).read(), end=''); print(os.environ['RANK_TABLE_FILE'])"
    env: dict[str, str | None] = {"RANK_TABLE_FILE": "/gone/rank_table.json"}
    text = script(made("-c", read, env=env, files=(PlannedFile("/gone/rank_table.json", content),)), 0)
    out = ran(text, shell, {"TMPDIR": str(tmp_path)}).decode()
    assert out.startswith(content.decode())
    path = Path(out.splitlines()[-1])
    assert path.parent.parent == tmp_path
    assert path.stat().st_mode & 0o077 == 0


def test_directory_and_cpus_are_the_ranks_own(tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    show = "import os; print(os.getcwd(), os.sched_getaffinity(0))"
    text = script(made("-c", show, cwd=str(tmp_path), cpus=(cpu,)), 0)
    assert ran(text, ["sh"]).decode() == f"{tmp_path} {{{cpu}}}\n"


def test_a_program_with_an_equal_sign_is_no_variable(tmp_path: Path) -> None:
    program = tmp_path / "a=b"
    shutil.copy(shutil.which("echo") or "", program)
    one = ProcessSpec("rank", ("a=b", "x y"), str(program), {}, None, rank=0)
    text = script(Plan("RUN", "torch", 0, 1, 1, "h", 1, "/logs", (one,), (), (), ()), 0)
    assert ran(text, ["sh"]) == b"x y\n"


def test_secrets_are_asked_for() -> None:
    words = ("-c", SHOW, "--hub-token", "s3cret", "--api_key=s3cret", "https://u:s3cret@h/", "HF_TOKEN=s3cret x")
    text = script(made(*words, env={"MY_TOKEN": "s3cret", "MY.KEY": "s3cret"}), 0)
    assert b"s3cret" not in text
    done = subprocess.run(["sh", "-c", text], env=BASE, capture_output=True, text=True)
    assert done.returncode != 0
    assert "SECRET_" in done.stderr
    assert "ma2l prints no secrets" in done.stderr
    values = dict.fromkeys(("MY_TOKEN", "VALUE", "HUB_TOKEN", "API_KEY"), "s3cret")
    values |= {"WORD_6": "https://u:s3cret@h/", "HF_TOKEN": "s3cret x"}
    out = ran(text, ["sh"], {f"SECRET_{name}": value for name, value in values.items()})
    assert [word.decode() for word in out.split(b"\0")[1:]] == list(words[2:])


def test_another_nodes_rank_is_not_ours(tmp_path: Path) -> None:
    there = plan(mock_nodes("modelarts", "2x2", str(tmp_path))[1])
    with pytest.raises(ConfigError) as error:
        script(there, 0)
    assert (
        str(error.value)
        == "cannot print rank 0: here run the ranks 2-3 of 4; ask on the node of that rank, or for one of these"
    )
    assert b"RANK_ID=3" in script(there, 3)
    once = plan(mock_nodes("bare", "1x4", str(tmp_path / "b"))[0], ("torchrun", "x"))
    with pytest.raises(ConfigError, match="in mode torch ma2l does not start ranks"):
        script(once, 0)
