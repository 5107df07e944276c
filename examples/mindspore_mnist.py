"""Data-parallel training of a small network with MindSpore, on Ascend NPUs or on the CPU.

    ma2l --mode dynamic-cluster python examples/mindspore_mnist.py

Every rank trains on its own part of the images. The ranks average their gradients, so all of them keep the same
weights. Images come from ``--data`` or ``DATA_PATH``: the folder that holds ``train-images-idx3-ubyte``. Without
either, a small set is made in the temporary directory. Leaves with 1 when the loss did not fall.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile

import mindspore as ms
import mindspore.dataset as ds
from make_mnist import make_mnist
from mindspore import nn
from mindspore.communication import get_group_size, get_rank, init


class Network(nn.Cell):
    """28 x 28 pixels -> 64 -> 10 digits."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.SequentialCell(nn.Flatten(), nn.Dense(28 * 28, 64), nn.ReLU(), nn.Dense(64, 10))

    def construct(self, images: ms.Tensor) -> ms.Tensor:
        return self.layers(images)


def join_the_other_ranks() -> None:
    """Connect all ranks. The scheduler, which the launcher starts with the same command, never returns from here."""
    if ms.get_context("device_target") == "CPU" and "MS_ROLE" not in os.environ:
        sys.exit(
            "cannot join the other ranks: MindSpore on the CPU has no rank tables; run ma2l --mode dynamic-cluster"
        )
    ms.set_auto_parallel_context(parallel_mode=ms.ParallelMode.DATA_PARALLEL, gradients_mean=True)
    init()


def make_data() -> str:
    """A small data set of our own; ranks of one server write the same files, each of which appears whole."""
    folder = os.path.join(tempfile.gettempdir(), f"mnist-{os.getuid()}")
    make_mnist(folder)
    return os.path.join(folder, "train")


def images_of(rank: int, size: int, folder: str, batch_size: int) -> ds.Dataset:
    """The training images that belong to this rank, in batches of float32 pixels and int32 labels."""
    prepare = [ds.vision.Rescale(1 / 255, 0), ds.vision.Normalize((0.1307,), (0.3081,)), ds.vision.HWC2CHW()]
    images = ds.MnistDataset(folder, num_shards=size, shard_id=rank)
    images = images.map(prepare, "image").map(ds.transforms.TypeCast(ms.int32), "label")
    return images.batch(batch_size)


def train(net: nn.Cell, images: ds.Dataset, epochs: int, lr: float, who: str) -> list[float]:
    """Train ``net`` and return the loss of every step."""
    # One fused operator. nn.CrossEntropyLoss gives the same loss, but slower here and with NumPy 2 warnings.
    loss_of = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")
    optimizer = nn.SGD(net.trainable_params(), lr)
    average_over_ranks = nn.DistributedGradReducer(optimizer.parameters)
    gradients_of = ms.value_and_grad(lambda x, label: loss_of(net(x), label), None, optimizer.parameters)
    losses = []
    for epoch in range(epochs):
        for step, (x, label) in enumerate(images):
            loss, gradients = gradients_of(x, label)
            optimizer(average_over_ranks(gradients))
            losses.append(float(loss))
            if step % 10 == 0:
                print(f"{who}: epoch {epoch} step {step} loss {losses[-1]:.4f}", flush=True)
    return losses


def main() -> int:
    parser = argparse.ArgumentParser(description="Train a small network on MNIST, data-parallel.")
    parser.add_argument("--epochs", type=int, default=3, help="passes over the images (default: 3)")
    parser.add_argument("--batch-size", type=int, default=32, help="images per rank and step (default: 32)")
    parser.add_argument("--data", default=os.environ.get("DATA_PATH"), help="folder with train-images-idx3-ubyte")
    parser.add_argument("--lr", type=float, default=0.05, help="learning rate (default: 0.05)")
    args = parser.parse_args()
    if args.epochs < 1:
        parser.error("--epochs must be at least 1")

    join_the_other_ranks()
    ms.set_seed(1)  # the same first weights and the same shuffling on every rank
    rank, size = get_rank(), get_group_size()
    who = f"rank {rank} of {size}"
    images = images_of(rank, size, args.data or make_data(), args.batch_size)
    losses = train(Network(), images, args.epochs, args.lr, who)
    fell = losses[-1] < losses[0]
    print(
        f"{who}: done, loss {'fell' if fell else 'DID NOT FALL'} from {losses[0]:.2f} to {losses[-1]:.2f}", flush=True
    )
    return 0 if fell else 1


if __name__ == "__main__":
    sys.exit(main())
