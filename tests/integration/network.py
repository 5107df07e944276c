"""Two nodes on one machine: network namespaces with an address each, joined by a cable, and no way out.

The test process holds the namespaces open, and nobody else does: its end takes nodes and cable away, however it ends.
Needs iproute2 and util-linux; without root a user namespace is made around them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

ROOT = os.getuid() == 0
KINDS = ("net",) if ROOT else ("user", "net")
NSENTER = shutil.which("nsenter") or "nsenter"  # with its path: a test may take PATH away
IDENTITY = () if ROOT else ("--preserve-credentials",)


@dataclass(frozen=True)
class Host:
    """One node of the network."""

    address: str
    address6: str
    enter: tuple[str, ...]
    """Put in front of a command, these words run it on this node."""


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Make the network, and let go of it in the end."""
    with ExitStack() as held:
        with _namespace(held) as (_, enter), _namespace(held, enter) as (other, other_enter):
            _run(enter, "ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", str(other))
            hosts = _connect(enter, 1), _connect(other_enter, 2)
        yield hosts


@contextmanager
def _namespace(held: ExitStack, beside: Sequence[str] = ()) -> Iterator[tuple[int, tuple[str, ...]]]:
    """A new namespace: a process in it that lives as long as the context, and the words that enter it as long as
    ``held``. ``beside`` enters the first one: moving a cable's end takes rights in both."""
    own_user = () if ROOT or beside else ("--map-root-user",)
    setup = ("sh", "-c", "ip link set lo up && echo up && exec cat")
    with subprocess.Popen(
        [*beside, "unshare", *own_user, "--net", *setup], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n", "no network namespace can be made here"
        doors = [os.open(f"/proc/{process.pid}/ns/{kind}", os.O_RDONLY) for kind in KINDS]
        for door in doors:
            held.callback(os.close, door)
        paths = (f"--{kind}=/proc/{os.getpid()}/fd/{door}" for kind, door in zip(KINDS, doors))
        yield process.pid, (NSENTER, *paths, *IDENTITY, "--")


def _connect(enter: Sequence[str], number: int) -> Host:
    """Give a node its addresses on the cable."""
    host = Host(f"10.77.0.{number}", f"fd77::{number}", tuple(enter))
    _run(enter, "ip", "address", "add", f"{host.address}/24", "dev", "cable")
    _run(enter, "ip", "address", "add", f"{host.address6}/64", "dev", "cable", "nodad")
    _run(enter, "ip", "link", "set", "cable", "up")
    return host


def _run(enter: Sequence[str], *words: str) -> None:
    subprocess.run([*enter, *words], check=True)
