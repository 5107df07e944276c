"""The image as a whole: what it says about itself, whom it runs as, and that it gets out of a command's way.

``override-cmd``, ``no-hard-coded-passwords`` and ``utc`` are the tests that docker-library/official-images runs on
every image.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.container.conftest import ROOT
from tests.container.engine import Engine

MOCK = {"MA2L_MOCK": "2", "MA2L_CONSOLE_RANKS": "all"}
RANK = "import os; print('rank', os.environ['RANK'], 'of', os.environ['WORLD_SIZE'], 'node', os.environ['NODE_RANK'])"
RAN = re.compile(r"rank (\d+) of (\d+) node (\d+)$", re.MULTILINE)
SIZE_LIMIT = 40 * 2**20
"""Bytes that ma2l may add to a base image."""

AWKWARD_BASE = """\
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN useradd --uid 1000 --user-group HwHiAiUser \\
    && printf '#!/bin/sh\\nexit 1\\n' >/usr/bin/python3.8 \\
    && printf '#!/bin/sh\\ncase $2 in *venv*) exit 1 ;; esac\\nexec python3 "$@"\\n' >/usr/bin/python-without-venv \\
    && chmod +x /usr/bin/python3.8 /usr/bin/python-without-venv
ENV PYTHONPATH=/home/training
USER HwHiAiUser
"""


@pytest.fixture(scope="module")
def awkward_base(engine: Engine, base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Uid 1000 is taken, as in Ascend images; it has interpreters that will not do; its user is not root."""
    context = tmp_path_factory.mktemp("awkward")
    (context / "Dockerfile").write_text(AWKWARD_BASE)
    return engine.build(context, tmp_path_factory.mktemp("awkward-work"), BASE_IMAGE=base)


def test_override_cmd(engine: Engine, image: str) -> None:
    assert engine.run(image, "hello", options=["--entrypoint", "echo"]).out == "hello\n"
    ended = engine.run(image, "echo", "hello", "  two words ")
    assert (ended.code, ended.out, ended.err) == (0, "hello   two words \n", "")


def test_no_hard_coded_passwords(engine: Engine, image: str) -> None:
    users = engine.run(image, "cat", "/etc/passwd", options=["--user", "0"]).out
    hashes = engine.run(image, "cat", "/etc/shadow", options=["--user", "0"]).out
    assert "root:" in users
    assert "root:" in hashes
    passwords = [line.split(":")[1] for line in (users + hashes).splitlines()]
    assert {word for word in passwords if word != "x" and not word.startswith(("!", "*"))} == set()


def test_utc(engine: Engine, image: str) -> None:
    assert engine.run(image, "date", "+%Z").out == "UTC\n"


def test_without_a_command_it_explains_itself(engine: Engine, image: str) -> None:
    ended = engine.run(image)
    assert ended.code == 0
    assert "usage: ma2l" in ended.out


def test_labels_and_size(engine: Engine, base: str, image: str) -> None:
    labels = engine.config(image)["Labels"]
    assert isinstance(labels, dict)
    assert labels["org.opencontainers.image.title"] == "ma2l"
    assert labels["org.opencontainers.image.base.name"] == base
    added = engine.size(image) - engine.size(base)
    print(f"ma2l adds {added / 2**20:.1f} MiB to its base image")
    assert 0 < added <= SIZE_LIMIT


def test_nothing_of_the_build_stays(engine: Engine, image: str) -> None:
    gone = "/run/secrets /etc/pip.conf /root/.config /root/.cache /usr/src/ma2l /opt/ma2l/bin/pip"
    ended = engine.run(image, "sh", "-c", f"ls -d {gone} 2>/dev/null; ls -A /opt/ma2l/pre-start.d")
    assert (ended.code, ended.out) == (0, "")


def test_python_runs_on_every_mock_npu(engine: Engine, image: str, job: Path) -> None:
    (job / "train.py").write_text(RANK)
    env = {"MA2L_CONSOLE_RANKS": "all"}
    ended = engine.run(image, "python", "/job/train.py", volumes={job: "/job"}, env=env)
    ranks = sorted(int(rank) for rank, _, _ in RAN.findall(ended.out))
    assert ended.code == 0
    assert ranks == list(range(int(RAN.findall(ended.out)[0][1])))
    assert "MOCK" in ended.err


def test_a_mock_job_has_the_nodes_it_is_asked_for(engine: Engine, image: str) -> None:
    ended = engine.run(image, "python", "-c", RANK, env={**MOCK, "MA2L_MOCK": "2x4"})
    assert ended.code == 0
    found = {(int(rank), int(size), int(node)) for rank, size, node in RAN.findall(ended.out)}
    assert found == {(rank, 8, rank // 4) for rank in range(8)}


@pytest.mark.parametrize("code", [0, 7, 137])
@pytest.mark.parametrize("program", ["python", "sh"])
def test_exit_codes_come_through(engine: Engine, image: str, program: str, code: int) -> None:
    leave = f"raise SystemExit({code})" if program == "python" else f"exit {code}"
    assert engine.run(image, program, "-c", leave, env=MOCK).code == code


def test_a_rank_that_is_killed_gives_137(engine: Engine, image: str) -> None:
    assert engine.run(image, "python", "-c", "import os; os.kill(os.getpid(), 9)", env=MOCK).code == 137


@pytest.mark.parametrize("user", ["1000:100", "12345:6789", "0:0"])
def test_any_user_on_a_read_only_root(engine: Engine, image: str, user: str) -> None:
    options = ["--user", user, "--read-only", "--tmpfs", "/tmp"]
    if engine.name == "podman":
        options.append("--read-only-tmpfs=false")
    ended = engine.run(image, "python", "-c", f"{RANK}; print(os.getuid(), os.getgid())", env=MOCK, options=options)
    assert ended.code == 0, ended.err
    assert {(rank, size) for rank, size, _ in RAN.findall(ended.out)} == {("0", "2"), ("1", "2")}
    assert ended.out.count(user.replace(":", " ")) == 2


def test_modelarts_user_is_there(engine: Engine, image: str) -> None:
    names = "import os, pwd; user = pwd.getpwuid(1000); print(user.pw_name, user.pw_gid, os.stat(user.pw_dir).st_uid)"
    assert engine.run(image, "/usr/bin/env", "python", "-c", names).out == "ma-user 100 1000\n"


def test_the_training_cannot_shadow_what_ma2l_imports(engine: Engine, image: str, job: Path) -> None:
    for module in ("json", "loguru", "ma2l", "sitecustomize"):
        (job / f"{module}.py").write_text("raise SystemExit(99)\n")
    inside = {job: "/job"}
    env = {"PYTHONPATH": "/job", "PYTHONHOME": "/job"}
    assert engine.run(image, "version", options=["--entrypoint", "ma2l"], volumes=inside, env=env).code == 0
    assert engine.run(image, "echo", "hello", volumes=inside, env=env).out == "hello\n"


def test_an_ascend_images_own_user_stays(engine: Engine, awkward_base: str, tmp_path: Path) -> None:
    image = engine.build(ROOT, tmp_path, BASE_IMAGE=awkward_base, RUN_AS="HwHiAiUser")
    assert engine.config(image)["User"] == "HwHiAiUser"
    users = engine.run(image, "cat", "/etc/passwd").out
    assert "HwHiAiUser:x:1000:" in users
    assert "ma-user" not in users
    assert engine.run(image, "id", "-un").out == "HwHiAiUser\n"
    assert engine.run(image, "python", "-c", RANK, env=MOCK).code == 0


@pytest.mark.parametrize(
    ("python", "reason"),
    [
        ("python3.99", "it has no python3.99"),
        ("python3.8", "its python3.8 is older than 3.9"),
        ("python-without-venv", "its python-without-venv lacks venv"),
    ],
)
def test_a_base_without_a_fitting_python_is_refused_in_one_line(
    engine: Engine, awkward_base: str, tmp_path: Path, python: str, reason: str
) -> None:
    built = engine.try_build(ROOT, tmp_path, BASE_IMAGE=awkward_base, PYTHON=python)
    assert built.code != 0
    said = next(line for line in built.err.splitlines() if "cannot build ma2l into" in line and reason in line)
    assert "--build-arg PYTHON=" in said
