"""Real trainings: MindSpore and PyTorch learn something under ma2l, and their failures are told well.

The frameworks live in an environment of their own, as in a real image; ma2l never imports them.
"""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.integration.harness import Finished, Running, run, until

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-frameworks/bin/python"
MNIST = str(ROOT / "examples/mindspore_mnist.py")
TORCH_DDP = str(ROOT / "examples/torch_ddp.py")
TRAINED = re.compile(r"rank (\d+) of (\d+): done, loss fell from (\d+\.\d+) to (\d+\.\d+)")
STEP = re.compile(r"rank (\d+) of (\d+): epoch (\d+) step \d+ loss (\d+\.\d+)")
SUM = re.compile(r"rank (\d+) of (\d+): all_reduce sum (\d+) (\w+)")
LOSS = re.compile(r"rank (\d+) of (\d+): loss first (\d+\.\d+) last (\d+\.\d+)")

ONLY_LOOPBACK = """\
case "${MASTER_ADDR}" in 127.*) ;; *) echo "refused: node 0 is ${MASTER_ADDR}"; exit 99 ;; esac
case "${MS_SCHED_HOST-127.}" in 127.*) ;; *) echo "refused: the scheduler is ${MS_SCHED_HOST}"; exit 99 ;; esac
exec "$@"
"""
"""Keeps a wrong address of node 0 from sending a test's traffic into a real network."""

Script = Callable[..., str]


@pytest.fixture
def python() -> str:
    """The interpreter that has the frameworks."""
    if not PYTHON.exists():
        pytest.skip("run `make frameworks`")
    return str(PYTHON)


def train(here: str, *words: str, env: Mapping[str, str | None] | None = None) -> Finished:
    """Run with all logs in ``logs`` and temporary files below ``here``, and show everything when a test fails."""
    finished = run("--log-dir", "logs", "--console-ranks", "all", *words, cwd=here, env={"TMPDIR": here, **(env or {})})
    print(finished.out[-4000:], finished.err[-4000:])
    return finished


def mnist_losses(log: str) -> tuple[list[float], tuple[str, str, str, str]]:
    """The loss of the shown steps, and what the last line says of rank, size, first and last loss."""
    done = TRAINED.findall(log)
    assert len(done) == 1
    return [float(loss) for *_, loss in STEP.findall(log)], done[0]


def assert_trained(here: str, size: int) -> None:
    """Every rank of the group has trained, and its loss fell to less than half, as told step by step."""
    for rank in range(size):
        log = Path(here, f"logs/worker_{rank}.log").read_text()
        steps, (own, of, first, last) = mnist_losses(log)
        assert (own, of) == (str(rank), str(size))
        assert steps[0] == pytest.approx(float(first), abs=0.01)
        assert float(last) < float(first) / 2
        assert max(steps[-3:]) < min(steps[:3])


@pytest.mark.mindspore
@pytest.mark.parametrize("shape", ["2", "2x1"])
def test_mindspore_trains_on_one_node_and_across_two(here: str, python: str, script: Script, shape: str) -> None:
    finished = train(here, "--mock", shape, "--mode", "dynamic-cluster", script(ONLY_LOOPBACK), python, MNIST)
    assert finished.code == 0
    assert_trained(here, size=2)
    assert sorted(TRAINED.findall(finished.out))[0][:2] == ("0", "2")
    assert Path(here, "logs/scheduler.log").exists()


@pytest.mark.mindspore
def test_the_example_without_the_mode_names_the_mode(here: str, python: str) -> None:
    finished = train(here, "--mock", "2", python, MNIST)
    assert finished.code == 1
    assert "run ma2l --mode dynamic-cluster" in finished.err


@pytest.mark.mindspore
def test_mindspores_own_error_without_the_mode_is_explained(here: str, python: str, script: Script) -> None:
    program = script("#!/usr/bin/env python3\nimport mindspore.communication\nmindspore.communication.init()\n", "i.py")
    finished = train(here, "--mock", "2", python, program)
    assert finished.code == 1
    hints = [line for line in finished.err.splitlines() if line.startswith("ma2l: ") and "MindSpore" in line]
    assert len(hints) == 1
    assert "--mode dynamic-cluster" in hints[0]


@pytest.mark.mindspore
def test_a_scheduler_port_that_is_taken_is_explained(here: str, python: str, script: Script) -> None:
    program = script("#!/usr/bin/env python3\nimport mindspore.communication\nmindspore.communication.init()\n", "i.py")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = ("--mock", "2", "--mode", "dynamic-cluster", "--master-port", str(taken.getsockname()[1]))
        finished = train(here, *words, python, program)
    assert finished.code == 1
    assert "another process uses the port of MindSpore's scheduler; end it, or choose another port" in finished.err
    assert "scheduler failed first" in finished.err


FAILS_AFTER_AN_EPOCH = f"""\
#!/usr/bin/env python3
import os, sys
sys.path.insert(0, {str(ROOT / "examples")!r})
import mindspore_mnist
allreduce = mindspore_mnist.nn.DistributedGradReducer
class Fails(allreduce):
    calls = 0
    def __call__(self, gradients):
        Fails.calls += 1
        if Fails.calls == 20 and os.environ.get("RANK") == "1":
            print("giving up on purpose", flush=True)
            os._exit(3)
        return super().__call__(gradients)
mindspore_mnist.nn.DistributedGradReducer = Fails
sys.exit(mindspore_mnist.main())
"""


@pytest.mark.mindspore
def test_a_worker_that_fails_in_training_ends_scheduler_and_peers_at_once(
    here: str, python: str, script: Script
) -> None:
    program = script(FAILS_AFTER_AN_EPOCH, "fails.py")
    grace = "3600"  # MindSpore notices a lost peer after 30 to 60 s; only ma2l's SIGTERM ends it within the patience
    finished = train(here, "--mock", "2", "--mode", "dynamic-cluster", "--stop-grace", grace, python, program)
    assert finished.code == 3
    assert "rank 1 failed first: exit code 3" in finished.err
    assert "giving up on purpose" in finished.err
    assert STEP.search(Path(here, "logs/worker_0.log").read_text()), "it failed before the training had begun"
    assert not TRAINED.search(Path(here, "logs/worker_0.log").read_text())


def has_begun(log: Path) -> bool:
    """Whether the rank has trained a step."""
    return log.exists() and STEP.search(log.read_text()) is not None


@pytest.mark.mindspore
def test_sigterm_in_training_stops_mindspore(here: str, python: str) -> None:
    words = ("--mock", "2", "--mode", "dynamic-cluster", "--log-dir", "logs", python, MNIST, "--epochs", "100000")
    with Running(*words, cwd=here, env={"TMPDIR": here}) as running:
        logs = [Path(here, f"logs/worker_{rank}.log") for rank in range(2)]
        until(lambda: all(map(has_begun, logs)) or running.process.poll() is not None)
        running.send(signal.SIGTERM)
        assert running.finish().code == 143


def assert_torch_learned(output: str, size: int) -> None:
    """All ranks took part, agree on the sum of 1 .. size, and every loss fell."""
    total = str(size * (size + 1) // 2)
    assert sorted(SUM.findall(output)) == [(str(rank), str(size), total, "ok") for rank in range(size)]
    losses = sorted(LOSS.findall(output))
    assert [(rank, of) for rank, of, *_ in losses] == [(str(rank), str(size)) for rank in range(size)]
    assert all(float(last) < float(first) / 10 for *_, first, last in losses)


@pytest.mark.torch
def test_torch_trains_across_two_nodes(here: str, python: str, script: Script) -> None:
    finished = train(here, "--mock", "2x2", "--mode", "torch", script(ONLY_LOOPBACK), python, TORCH_DDP)
    assert finished.code == 0
    assert_torch_learned(finished.out, size=4)
    logs = [Path(here, f"logs/worker_{rank}.log").read_text() for rank in range(4)]
    assert [f"rank {rank} of 4" in log for rank, log in enumerate(logs)] == [True] * 4


@pytest.mark.torch
def test_torchrun_runs_once_and_trains(here: str, python: str) -> None:
    path = f"{PYTHON.parent}:{os.environ['PATH']}"
    words = ("--mock", "2", "torchrun", TORCH_DDP)
    finished = train(here, *words, env={"PATH": path})
    assert finished.code == 0
    assert_torch_learned(finished.out, size=2)
    assert "started 1 process " in finished.err
