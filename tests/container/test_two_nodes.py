"""Two containers with addresses of their own are one training: real MindSpore on the CPU, over a real network.

Each gets what ModelArts gives node 0 and node 1, and nothing else. MindSpore comes from .venv-frameworks, mounted where
the image's own Python looks for packages, as if the image had it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.container import modelarts
from tests.container.conftest import ADDRESSES, ROOT, packages_of
from tests.container.engine import Container, Engine, Volumes

TRAINED = re.compile(r"rank (\d+) of 2: done, loss fell from (\d+\.\d+) to (\d+\.\d+)")
KILL_WORKER = """\
import os
killed = 0
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        words = open(f"/proc/{pid}/cmdline").read().split("\\0")
        variables = open(f"/proc/{pid}/environ").read().split("\\0")
    except OSError:
        continue
    if words[0] == "python" and "MS_ROLE=MS_WORKER" in variables:
        os.kill(int(pid), 9)
        killed += 1
print(killed)
"""


@pytest.fixture(scope="module")
def mindspore(engine: Engine, image: str) -> Volumes:
    """The volume that adds MindSpore to the image."""
    return packages_of(ROOT / ".venv-frameworks", "mindspore", engine, image)


Nodes = Callable[[int], AbstractContextManager["list[Container]"]]


@pytest.fixture
def start(engine: Engine, image: str, network: str, mindspore: Volumes, tmp_path: Path) -> Nodes:
    """Start both nodes of a job with one NPU each, training for so many epochs."""
    tmp_path.chmod(0o755)
    config = modelarts.ConfigMap(tmp_path / "config", "jobstart_hccl.json", modelarts.rank_table([[0], [0]]))

    def node(number: int, epochs: int) -> Container:
        mount = modelarts.make_mount(tmp_path / f"node{number}")
        for name in ("mindspore_mnist.py", "make_mnist.py"):
            shutil.copy(ROOT / "examples" / name, mount / "user-job-dir/code")
        options = [
            *modelarts.USER,
            "--network",
            network,
            "--ip",
            ADDRESSES[number],
            "--hostname",
            modelarts.pod(number),
        ]
        for other, address in enumerate(ADDRESSES):
            options += ["--add-host", f"{modelarts.dns_name(other)}:{address}"]
        return Container(
            engine,
            image,
            *("--mode", "dynamic-cluster", "python", f"{modelarts.JOB_DIR}/code/mindspore_mnist.py"),
            *("--epochs", str(epochs)),
            env=modelarts.variables(number, 2, [0], ADDRESSES[number]),
            volumes={**mindspore, config.folder: "/user/config", mount: f"{modelarts.MOUNT}:rw"},
            options=options,
        )

    @contextmanager
    def both(epochs: int) -> Iterator[list[Container]]:
        with node(0, epochs) as first, node(1, epochs) as second:
            yield [first, second]

    return both


def test_two_containers_train_together(start: Nodes) -> None:
    with start(2) as nodes:
        ended = [node.finish() for node in nodes]
    for rank, one in enumerate(ended):
        print(one.out[-3000:], one.err[-3000:])
        assert one.code == 0
        ((own, first, last),) = TRAINED.findall(one.out)
        assert int(own) == rank
        assert float(last) < float(first) / 2


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker_ends_both_containers(start: Nodes, victim: int) -> None:
    with start(1000) as nodes:
        for rank, node in enumerate(nodes):
            node.wait_for(f"rank {rank} of 2: epoch 0 step 10 ")
        assert nodes[victim].execute("python", "-c", KILL_WORKER) == "1"
        ended = [node.finish() for node in nodes]
    for one in ended:
        print(one.out[-3000:], one.err[-3000:])
    assert ended[victim].code == 137
    assert ended[1 - victim].code not in (0, 137)
