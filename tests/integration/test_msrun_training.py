"""The same training with the real msrun and with ``ma2l msrun``: same seed, same data, the same losses to the digit.

The script is that of MindSpore's msrun tutorial. Only its loss is one fused operator, because ``nn.CrossEntropyLoss``
of MindSpore 2.10 complains about NumPy 2; it has fewer epochs; and it writes each line in one piece, because threads of
MindSpore write to the same log.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from ma2l.linux.net import free_ports
from tests.integration.harness import Running, run
from tests.integration.msrun import FRAMEWORKS, real_msrun
from tests.integration.network import Host, two_hosts

MAKE_MNIST = Path(__file__).resolve().parents[2] / "examples/make_mnist.py"
NET = """\
import os
import mindspore as ms
import mindspore.dataset as ds
from mindspore import nn
from mindspore.communication import get_group_size, get_rank, init

ms.set_context(mode=ms.GRAPH_MODE)
ms.set_auto_parallel_context(parallel_mode=ms.ParallelMode.DATA_PARALLEL, gradients_mean=True)
init()
ms.set_seed(1)
print("rank %s of %s\\n" % (get_rank(), get_group_size()), end="")

class Network(nn.Cell):
    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()
        self.fc = nn.Dense(28*28, 10, weight_init="normal", bias_init="zeros")
        self.relu = nn.ReLU()

    def construct(self, x):
        x = self.flatten(x)
        logits = self.relu(self.fc(x))
        return logits
net = Network()

def create_dataset(batch_size):
    dataset_path = os.getenv("DATA_PATH")
    rank_id = get_rank()
    rank_size = get_group_size()
    dataset = ds.MnistDataset(dataset_path, num_shards=rank_size, shard_id=rank_id)
    image_transforms = [
        ds.vision.Rescale(1.0 / 255.0, 0),
        ds.vision.Normalize(mean=(0.1307,), std=(0.3081,)),
        ds.vision.HWC2CHW()
    ]
    label_transform = ds.transforms.TypeCast(ms.int32)
    dataset = dataset.map(image_transforms, 'image')
    dataset = dataset.map(label_transform, 'label')
    dataset = dataset.batch(batch_size)
    return dataset

data_set = create_dataset(32)
loss_fn = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")
optimizer = nn.SGD(net.trainable_params(), 1e-2)

def forward_fn(data, label):
    logits = net(data)
    loss = loss_fn(logits, label)
    return loss, logits

grad_fn = ms.value_and_grad(forward_fn, None, net.trainable_params(), has_aux=True)
grad_reducer = nn.DistributedGradReducer(optimizer.parameters)

for epoch in range(2):
    i = 0
    for data, label in data_set:
        (loss, _), grads = grad_fn(data, label)
        grads = grad_reducer(grads)
        optimizer(grads)
        if i % 10 == 0:
            print("epoch: %s, step: %s, loss is %s\\n" % (epoch, i, loss), end="")
        i += 1
"""
LOSS = re.compile(r"^epoch: \d+, step: \d+, loss is (\d+\.\d+)$", re.MULTILINE)
WHO = re.compile(r"^rank (\d+) of (\d+)$", re.MULTILINE)
ONE_NODE = "--worker_num=2 --local_worker_num=2 --log_dir=msrun_log --join=True --cluster_time_out=300 net.py"
OF_TWO_NODES = (
    "--worker_num=2 --local_worker_num=1 --master_addr={} --master_port=8118 --log_dir=msrun_log --join=True"
    " --cluster_time_out=300"
)

LONGEST = 300.0
"""Seconds until a training counts as hung. MindSpore's scheduler may look for a worker that has left for a minute."""

pytestmark = pytest.mark.mindspore


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What both launchers get: the data, an interpreter with MindSpore, one thread so that sums have one order."""
    folder = tmp_path_factory.mktemp("mnist")
    subprocess.run([sys.executable, str(MAKE_MNIST), str(folder)], check=True, stdout=subprocess.DEVNULL)
    return {
        "PATH": f"{FRAMEWORKS}:{os.environ['PATH']}",
        "DATA_PATH": str(folder / "train"),
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory, env: Mapping[str, str]) -> dict[str, list[str]]:
    """The losses of each rank with the real msrun: every line, as printed."""
    directory = node_directory(tmp_path_factory.mktemp("theirs"), "node")
    words = [real_msrun(), f"--master_port={free_ports(1)[0]}", *ONE_NODE.split()]
    with (directory / "console").open(
        "w"
    ) as console:  # its exit code says 1 if the scheduler stumbles after a good run
        subprocess.run(words, cwd=directory, env={**os.environ, **env}, timeout=LONGEST, stdout=console, stderr=console)
    print((directory / "console").read_text()[-4000:])
    losses = losses_by_rank(directory)
    assert {rank: len(lines) for rank, lines in losses.items()} == {"0": 8, "1": 8}
    assert all(float(lines[-1]) < float(lines[0]) for lines in losses.values()), "it learns nothing"
    return losses


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    with two_hosts() as both:
        yield both


def node_directory(parent: Path, name: str) -> Path:
    """Where one node's launcher is started."""
    directory = parent / name
    directory.mkdir()
    (directory / "net.py").write_text(NET)
    return directory


def losses_by_rank(*directories: Path) -> dict[str, list[str]]:
    """The losses that each rank printed, whatever its log is called."""
    found = {}
    for log in (path for directory in directories for path in directory.glob("msrun_log/worker_*.log")):
        text = log.read_text()
        ((rank, size),) = WHO.findall(text)
        assert size == "2"
        assert rank not in found
        found[rank] = LOSS.findall(text)
    return found


def test_losses_on_one_node_are_those_of_the_real_msrun(
    here: str, env: Mapping[str, str], theirs: Mapping[str, list[str]]
) -> None:
    directory = node_directory(Path(here), "node")
    words = (f"--master_port={free_ports(1)[0]}", *ONE_NODE.split())
    finished = run("msrun", *words, cwd=str(directory), env=env)
    print(finished.out[-4000:], finished.err[-4000:])
    assert finished.code == 0
    assert losses_by_rank(directory) == theirs


@pytest.mark.parametrize("ranks", ["given", "assigned by MindSpore"])
def test_losses_on_two_nodes_are_the_same(
    here: str, env: Mapping[str, str], theirs: Mapping[str, list[str]], hosts: tuple[Host, Host], ranks: str
) -> None:
    directories = [node_directory(Path(here), f"node{number}") for number in range(2)]
    with ExitStack() as running:
        nodes = []
        for number, (host, directory) in enumerate(zip(hosts, directories)):
            words = [*OF_TWO_NODES.format(hosts[0].address).split(), "net.py"]
            if ranks == "given":
                words.insert(0, f"--node_rank={number}")
            console = running.enter_context((directory / "console").open("w"))
            node = Running(
                "msrun", *words, cwd=str(directory), env=env, before=host.enter, stdout=console, stderr=console
            )
            nodes.append(running.enter_context(node))
        codes = [node.process.wait(LONGEST) for node in nodes]
    for directory in directories:
        print((directory / "console").read_text()[-4000:])
    assert codes == [0, 0]
    assert losses_by_rank(*directories) == theirs
    assert [(directory / "msrun_log/scheduler.log").exists() for directory in directories] == [True, False]
