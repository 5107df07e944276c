"""What every ssh login to a node runs: node 0's watch over the node, or what mpirun wants to run here.

usage, as sshd's forced command: python -I session.py RUN_DIR

It tells the node's ``ma2l.mpirun.host`` through the pipe RUN_DIR/words, a line at a time:

node0
    Node 0 is there.
end CODE
    Node 0 says how it has ended.
lost
    mpirun on node 0 is gone.
session PID
    mpirun's daemon is going to be this process.

sshd gives a session nearly no environment. RUN_DIR/environ holds the launcher's, as /proc/PID/environ would.
Stands alone: it imports nothing of ma2l.
"""

from __future__ import annotations

import os
import sys

WATCH, END = "ma2l-watch", "ma2l-end"  # as in ma2l.plan.mpi_nodes
READY = b"ready\n"


def main(run_dir: str) -> int:
    """Serve one login; returns its exit code, or does not return."""
    command = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    if command == WATCH:
        return _watch(run_dir)
    if command.startswith(f"{END} "):
        _tell(run_dir, f"end {command[len(END) + 1 :]}")
        return 0
    return _run(run_dir, command)


def _run(run_dir: str, command: str) -> int:
    """Become what mpirun wants to run here."""
    with open(f"{run_dir}/environ", "rb") as file:
        entries = [entry.partition(b"=") for entry in file.read().split(b"\0") if b"=" in entry]
    _tell(run_dir, f"session {os.getpid()}")
    os.execve("/bin/sh", ["sh", "-c", command], {name: value for name, _, value in entries})


def _watch(run_dir: str) -> int:
    """Say that all is ready here, and wait for the end of node 0's connection."""
    _tell(run_dir, "node0")
    os.write(1, READY)
    while os.read(0, 1024):
        pass
    _tell(run_dir, "lost")
    return 0


def _tell(run_dir: str, line: str) -> None:
    """Write to the pipe; where nobody reads it any more there is nothing to join, and the login fails."""
    pipe = os.open(f"{run_dir}/words", os.O_WRONLY | os.O_NONBLOCK)
    os.write(pipe, f"{line}\n".encode())
    os.close(pipe)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
