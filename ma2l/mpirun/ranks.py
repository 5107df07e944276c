"""The ranks below an mpirun: asks those on this host to stop, and learns how each of them ended."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping

from ma2l import log
from ma2l.diagnose.outcome import Outcome, ProcessEnd
from ma2l.linux import processes
from ma2l.plan.mpi_rank import NAME, report_prefix
from ma2l.plan.spec import Plan, ProcessSpec
from ma2l.records import replace
from ma2l.supervise import killer


def signal_mpirun(mpirun: int, signum: int, spec: ProcessSpec) -> dict[int, bool]:
    """Carry a signal for the leader ``mpirun`` to the ranks it started.

    mpirun must not see a SIGTERM while it has ranks: it would kill them within a second. It passes SIGURG on to
    those on other hosts; those on this host are our descendants, and asked directly.

    Returns:
        As ``killer.signal_leader``.
    """
    shells = [pid for pid in processes.children(mpirun) if _is_rank(pid)]  # its other children are ssh
    if signum in (signal.SIGSTOP, signal.SIGCONT):
        for pid in (mpirun, *shells):
            killer.signal_leader(pid, signum)
        return {}
    if signum == signal.SIGTERM:
        _create(spec.stop_file)
        if spec.elsewhere and processes.catches(mpirun, signal.SIGURG):
            killer.signal_leader(mpirun, signal.SIGURG)
        elif not shells:
            killer.signal_leader(mpirun, signum)
    heirs: dict[int, bool] = {}
    for rank in (rank for shell in shells for rank in processes.children(shell)):
        heirs[rank] = not processes.only_forked(rank)
        heirs.update(killer.signal_leader(rank, signum))
    return heirs


def _create(stop_file: str | None) -> None:
    """Tell ranks that are yet to start; the directory may have been removed by somebody who cleans up."""
    try:
        os.close(os.open(stop_file or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        log.warning(f"cannot make {stop_file}: {error.strerror}; ranks that start now will be killed")


def _is_rank(pid: int) -> bool:
    """Whether the process is the shell of a rank."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return NAME.encode() in file.read().split(b"\0")
    except OSError:  # it has gone
        return False


def judged(outcome: Outcome, plan: Plan, keep_going: bool) -> Outcome:
    """The outcome, corrected by what the ranks said of their ends.

    The rank that failed first is named instead of mpirun where the codes agree. mpirun's own 0 is no success where a
    rank failed, and where failures were kept from it or a host can be lost none either until every rank has said how it
    ended.
    """
    mpirun = outcome.processes[0]
    if outcome.cause not in ("success", "failure") or mpirun.returncode is None:
        return outcome
    ends = _ends(plan)
    failed = [(rank, code, pid) for rank, (code, pid) in ends.items() if code and mpirun.returncode in (0, code)]
    if failed:
        rank, code, pid = failed[0]
        path = _log_of(rank, plan, mpirun)
        first = replace(mpirun, name=f"rank {rank}", rank=rank, pid=pid, returncode=_returncode(code), log=path)
        return replace(outcome, cause="failure", first=first, exit_code=code)
    silent = [rank for rank in range(plan.world_size) if rank not in ends]
    all_say_it = keep_going or (plan.nodes > 1 and plan.rank_logs)  # else mpirun keeps what they say in its own files
    if all_say_it and mpirun.returncode == 0 and silent:
        first = replace(mpirun, name=f"rank {silent[0]}", rank=silent[0], returncode=1)
        return replace(outcome, cause="failure", first=first, exit_code=1)
    return outcome


def _ends(plan: Plan) -> Mapping[int, tuple[int, int]]:
    """Exit code and pid by rank, in the order in which they ended, of those that said it."""
    path = plan.processes[0].log
    ends: dict[int, tuple[int, int]] = {}
    said = re.compile(re.escape(report_prefix(plan.run_id)) + r"(\d+) ended with exit code (\d+) \(pid (\d+)\)")
    try:
        with open(path or os.devnull, encoding="utf-8", errors="replace") as file:
            for line in file:
                for rank, code, pid in said.findall(line):
                    ends[int(rank)] = int(code), int(pid)
    except OSError:  # it was never written
        return {}
    return ends


def _returncode(code: int) -> int:
    """What a shell's view of an end most probably was: 128 + N is a death by signal N, or else ``exit 128+N``."""
    return 128 - code if code - 128 in signal.valid_signals() else code


def _log_of(rank: int, plan: Plan, mpirun: ProcessEnd) -> str | None:
    """The rank's own log where it is on this host, else mpirun's, which has the lines of all others."""
    path = dict(plan.rank_logs).get(rank)
    return path if path and os.path.exists(path) else mpirun.log
