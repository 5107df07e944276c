"""Commands that start ranks themselves."""

from __future__ import annotations

import pytest

from ma2l.plan.launchers import foreign_launcher


@pytest.mark.parametrize(
    ("command", "launcher"),
    [
        ("torchrun x.py", "torchrun"),
        ("/opt/bin/msrun x.py", "msrun"),
        ("deepspeed x.py", "deepspeed"),
        ("accelerate launch x.py", "accelerate"),
        ("mpirun -n 8 x", "mpirun"),
        ("mpirun.openmpi -n 8 x", "mpirun.openmpi"),
        ("ray job submit", "ray"),
        ("python -m torch.distributed.run x.py", "torch.distributed.run"),
        ("python3.9 -u -m torch.distributed.launch x.py", "torch.distributed.launch"),
        ("python -um deepspeed x.py", "deepspeed"),
        ("python -mtorch.distributed.run x.py", "torch.distributed.run"),
        ("python -W ignore -X dev -m accelerate.commands.launch x", "accelerate.commands.launch"),
        ("python -Wonce -Xcpu_count=1 /opt/bin/torchrun x.py", "torchrun"),
    ],
)
def test_launchers(command: str, launcher: str) -> None:
    assert foreign_launcher(command.split()) == launcher


@pytest.mark.parametrize(
    "command",
    [
        "python train.py", "python train.py -m deepspeed", "python -m train --launcher torchrun", "bash x torchrun",
        "python -c import_m -m deepspeed", "python -m", "python", "rayon", "torchrun_wrapper x", "python -",
        "python -Wmodule train.py",
    ],
)  # fmt: skip
def test_programs_that_are_none(command: str) -> None:
    assert foreign_launcher(command.split()) is None
