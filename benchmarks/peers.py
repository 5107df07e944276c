"""The launchers that are compared, each as its own documentation starts a command on one node."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)


@dataclass(frozen=True)
class Place:
    """What a peer may use of the run's directory."""

    directory: str
    ranks: int


@dataclass(frozen=True)
class Peer:
    """A launcher, or what stands for one."""

    name: str
    program: str
    """Its executable, by which one sees whether it is there."""
    arguments: Callable[[Place], Sequence[str]]
    """What stands between the program and the worker's command line."""
    environment: Callable[[Place], Mapping[str, str]] = field(default=lambda place: {})
    most: int = 512
    """Ranks that it is asked for at most: what takes a second for 8 says nothing new for 512."""
    shows: Sequence[str] | None = None
    """Options by which it shows the lines of all ranks with the rank in front; ``None`` where it cannot."""
    hides: Sequence[str] = ()
    """Options by which it shows none, as far as it has them."""
    ends: bool = True
    """Whether a failing worker ends it; the floor knows no such thing."""

    def command(self, place: Place, worker: Sequence[str], options: Sequence[str] = ()) -> list[str]:
        """The command line."""
        return [self.program, *options, *self.arguments(place), *worker]

    @property
    def missing(self) -> str:
        """Why it cannot run, empty where it can."""
        return "" if shutil.which(self.program) else f"{os.path.basename(self.program)} is not installed"


def _venv(name: str, program: str) -> str:
    return os.path.join(ROOT, name, "bin", program)


def _mpirun(place: Place) -> Sequence[str]:
    return ("--allow-run-as-root", "--oversubscribe", "-n", str(place.ranks))


def _msrun(place: Place) -> Sequence[str]:
    """msrun gives every command to Python, so a script stands in between; its scheduler ends at once."""
    workers = (f"--worker_num={place.ranks}", f"--local_worker_num={place.ranks}", "--join=True")
    logs = f"--log_dir={place.directory}/msrun"
    return (*workers, logs, "--master_port=18118", os.path.join(HERE, "msrun_task.py"))


def _modelarts(place: Place) -> Mapping[str, str]:
    """A job of ModelArts on one server: a rank table, and the variables beside it."""
    path = os.path.join(place.directory, "hccl.json")
    devices = [{"device_id": str(r), "device_ip": f"10.0.0.{r % 250}", "rank_id": str(r)} for r in range(place.ranks)]
    server = {"server_id": "10.0.0.1", "device": devices}
    table = {"version": "1.0", "status": "completed", "server_count": "1", "server_list": [server]}
    with open(path, "w", encoding="ascii") as file:
        json.dump(table, file)
    return {
        "RANK_TABLE_FILE": path,
        "RANK_TABLE_FILE_V_1_0": path,
        "MA_CURRENT_HOST_IP": "10.0.0.1",
        "MA_CURRENT_INSTANCE_NAME": "job-0",
        "MA_VJ_NAME": "ma-job-benchmark",
        "MA_MOUNT_PATH": place.directory,
        "MA_LOG_DIR": place.directory,
    }


def peers(floor: str) -> tuple[Peer, ...]:
    """All of them, ma2l and the floor first.

    Args:
        floor: the program made of ``floor.c``.
    """
    ma2l = os.path.join(os.path.dirname(sys.executable), "ma2l")
    torchrun, accelerate = _venv(".venv-frameworks", "torchrun"), _venv(".venv-peers", "accelerate")
    return (
        Peer("floor", floor, lambda place: (str(place.ranks),), ends=False),
        Peer(
            "ma2l",
            ma2l,
            lambda place: ("--mock", str(place.ranks)),
            shows=("--console-ranks", "all"),
            hides=("--console-ranks", "none"),
        ),
        Peer("ma2l, job", ma2l, lambda place: (), _modelarts, most=64),
        Peer("mpirun 4.1", "/usr/bin/mpirun", _mpirun, shows=("--tag-output",)),
        Peer("mpirun 5.0", _venv(".venv-openmpi5", "mpirun"), _mpirun, shows=("--output", "tag")),
        Peer(
            "torchrun",
            torchrun,
            lambda place: ("--nproc-per-node", str(place.ranks), "--no-python"),
            most=16,
            shows=("--tee", "3", "--log-dir", "torchrun"),
            hides=("--redirects", "3", "--log-dir", "torchrun"),
        ),
        Peer("msrun", _venv(".venv-frameworks", "msrun"), _msrun, most=16),
        Peer(
            "accelerate",
            accelerate,
            lambda place: (
                "launch",
                *(["--multi_gpu"] if place.ranks > 1 else []),  # refuses it for one
                "--num_processes",
                str(place.ranks),
                "--no_python",
            ),
            most=16,
        ),
        Peer(
            "deepspeed",
            _venv(".venv-peers", "deepspeed"),
            lambda place: ("--num_accelerators", str(place.ranks), "--no_python", "--no_local_rank"),
            lambda place: {"DS_ACCELERATOR": "cpu"},
            most=16,
        ),
        Peer("ma2l 0.1.2", _venv(".venv-ma2l-0.1.2", "ma2l"), lambda place: (), _modelarts, most=16),
        Peer("davincirun", _venv(".venv-davincirun", "davincirun"), lambda place: (), _modelarts, most=16),
    )
