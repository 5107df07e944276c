"""Data-parallel training of a tiny model with PyTorch, on Ascend NPUs (torch_npu, HCCL) or on the CPU (gloo).

    ma2l --mode torch python examples/torch_ddp.py

Rank, world size and the address of rank 0 all come from the environment. Leaves with 1 when the ranks do not add up
or nothing is learned.
"""

from __future__ import annotations

import importlib.util
import os
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

STEPS = 20


def pick_device() -> tuple[str, torch.device]:
    """The communication backend of this machine and the device of this rank."""
    if importlib.util.find_spec("torch_npu") is None:
        return "gloo", torch.device("cpu")
    import torch_npu  # noqa: F401 - adds torch.npu and the hccl backend

    device = torch.device("npu", int(os.environ["LOCAL_RANK"]))
    torch.npu.set_device(device)
    return "hccl", device


def say(line: str) -> None:
    """Write a line in one piece: ranks of torchrun share one file, and ``print`` writes the line end by itself."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def ranks_add_up(device: torch.device, who: str) -> bool:
    """Add 1 .. world size across the ranks and compare with the known sum."""
    total = torch.tensor([dist.get_rank() + 1], device=device)
    dist.all_reduce(total)
    size = dist.get_world_size()
    right = int(total) == size * (size + 1) // 2
    say(f"{who}: all_reduce sum {int(total)} {'ok' if right else 'WRONG'}")
    return right


def loss_falls(device: torch.device, who: str) -> bool:
    """Fit a line through noisy points, other points on every rank; DDP averages the gradients."""
    torch.manual_seed(dist.get_rank())
    x = torch.rand(256, 4, device=device)
    y = x.sum(1, keepdim=True) + 0.01 * torch.randn(256, 1, device=device)
    model = DistributedDataParallel(nn.Linear(4, 1).to(device))  # rank 0's first weights go to all ranks
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    losses = []
    for _ in range(STEPS):
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    say(f"{who}: loss first {losses[0]:.4f} last {losses[-1]:.4f}")
    return losses[-1] < losses[0]


def main() -> int:
    backend, device = pick_device()
    dist.init_process_group(backend)
    who = f"rank {dist.get_rank()} of {dist.get_world_size()}"
    good = all([ranks_add_up(device, who), loss_falls(device, who)])
    dist.destroy_process_group()
    if backend == "gloo":
        # DDP keeps gloo's threads alive, and one may still want the interpreter that a normal exit is taking down:
        # now and then a finished rank would abort ("terminate called without an active exception").
        sys.stdout.flush()
        os._exit(0 if good else 1)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
