"""The part of a run after the plan: start its processes, follow their logs, wait for the end, report it."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Mapping

from ma2l import log, site
from ma2l.linux import processes
from ma2l.linux.wait import STOP_SIGNALS, WRITABLE, Waiter
from ma2l.logs.follow import Follower
from ma2l.logs.names import Names
from ma2l.logs.progress import Stopping
from ma2l.logs.select import console_ranks
from ma2l.logs.sink import Sink
from ma2l.plan.spec import Plan, ProcessSpec
from ma2l.platforms import mindcluster, modelarts
from ma2l.records import dataclass
from ma2l.settings import Settings
from ma2l.supervise.machine import SCHEDULER_GRACE, Kind, Machine, Phase
from ma2l.supervise.supervisor import Later, Supervisor, Together
from ma2l.supervise.system import System

TYPE_CHECKING = False  # what only some runs want, and what explains an end, is not imported before
if TYPE_CHECKING:
    from ma2l.cluster import Cluster
    from ma2l.diagnose.outcome import Outcome
    from ma2l.diagnose.report import Report
    from ma2l.platforms.stale import TableWatch
    from ma2l.supervise.sentry import Sentry

CONSOLE_PATIENCE = 5.0
"""Seconds for a console that takes no more bytes when everything else is done."""
CONSOLE_LIMIT = 60.0
"""Seconds for one that takes them slowly: the devices wait for us to end."""
SETTLED = 0.2
"""Seconds in a phase after which there is time for what takes long; before that the next may be about to come."""
LOW_SPACE = 2**30
"""Bytes free for logs below which a warning is due: what a platform's console takes at most."""
LOW_FILES = 1000
_ALWAYS_SHOWN = ("once", "mpirun", "agent")
LAUNCHER_EXTRA_GRACE = 5.0
"""Seconds that a launcher of launchers waits beyond their own grace."""


@dataclass(frozen=True)
class Prepared:
    """A plan, the environment that its differences apply to, and what its files are called."""

    plan: Plan
    environ: Mapping[str, str]
    names: Names
    at_start: Callable[[], None] | None = None
    """Called before anything of the run is written; a plan that is only shown stops short of it."""
    at_end: Callable[[int], None] | None = None
    """Called with the exit code when nothing of the run is left."""
    again: Callable[[int], Prepared] | None = None
    """Prepares the attempt after so many restarts, of the same topology, with other ports and other files; ``None``
    where parts of the job run elsewhere."""
    corrected: Callable[[Outcome], Outcome] | None = None
    """Corrects an outcome by what its processes, which are launchers themselves, have written down of theirs."""
    npus: tuple[int, ...] = ()
    """Physical ids of the NPUs that it uses and that this host has; none where they are pretended."""
    cluster: Cluster | None = None
    """Everybody who takes part, for those who want to see the whole job."""
    job: str = ""
    """What all nodes call this start of the job, and no other is called; empty where nothing is known to be that."""
    watch: TableWatch | None = None
    """Ends the run where the rank table changes while links come up."""


class Execution:
    """One plan being carried out."""

    def __init__(
        self,
        prepared: Prepared,
        settings: Settings,
        waiter: Waiter,
        guard_fd: int | None,
        on_running: Callable[[], None] = lambda: None,
        *,
        console: Sink,
        judge: Callable[[int, float], tuple[bool, str]] | None = None,
    ) -> None:
        """Take a plan.

        Args:
            console: standard output.
            judge: asked after a failure, with its exit code and after how many seconds it came: whether the run is
                started again, and what is said about it.
        """
        self._plan = prepared.plan
        self._names = prepared.names
        self._watch = prepared.watch
        self._corrected = prepared.corrected
        self._environ = prepared.environ
        self._waiter = waiter
        self._guard_fd = guard_fd
        self._on_running = on_running
        self._judge = judge
        self._worth_another = False
        self._stop_asked = False
        self._console = console
        self.outcome: Outcome | None = None
        """How it ended, once it has."""
        self._verdict = ""
        self._oom_kills: int | None = None
        self._settings = settings
        roles = [spec.role for spec in self._plan.processes]
        grace = settings.stop_grace + (LAUNCHER_EXTRA_GRACE if "launcher" in roles or settings.shim_msrun else 0)
        schedulers = [role == "scheduler" and len(roles) > 1 for role in roles]
        ranks = roles.count("rank") or len(self._plan.rank_logs)
        alone = ranks == self._plan.world_size  # else ranks of other launchers may need the scheduler yet
        self._failure_grace = settings.failure_grace
        if self._failure_grace is None:
            self._failure_grace = mindcluster.dying_checkpoint(prepared.environ)
        self._machine = Machine(
            schedulers,
            grace,
            SCHEDULER_GRACE if alone else None,
            failure_grace=self._failure_grace,
            hang_stops=settings.hang_action == "stop",
        )
        self._system = System(self._plan.processes, prepared.environ, waiter)

    def run(self) -> int:
        """Run the plan; returns the exit code."""
        from ma2l.ranktable import write

        self._make_log_dir()
        for file in self._plan.files:
            if file.kind == "rank table":
                write(file.content, file.path)
            else:
                site.write_file(file.content, file.path, 0o700 if file.kind == "program" else 0o600)
        if not modelarts.keeps_core_files(self._environ):
            _, hard = resource.getrlimit(resource.RLIMIT_CORE)
            resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
        self._follower = self._follow()
        self._sentry = self._watch_for_hangs()
        self._stopping = Stopping(lambda: len(self._supervisor.pids) - len(self._machine.ended))
        self._later = Later(_load)
        companion = Together(self._follower, self._stopping, self._later, *([self._watch] if self._watch else ()))
        self._supervisor = Supervisor(
            self._machine, self._system, self._guard_fd, companion, self._on_phase, self._sentry
        )
        if self._watch:
            self._watch.call_off = self._supervisor.call_off
        self._supervisor.run()
        stuck = processes.descendants(os.getpid())
        self._drain()
        code = self._report(stuck)
        log.flush()
        self._drain()
        self._follower.close()
        if self._watch:
            self._watch.close()
        self._system.close()
        return code

    @property
    def stop_asked(self) -> bool:
        """Whether a stop signal came, before or after the cause."""
        return self._stop_asked or self._machine.stop_asked

    @property
    def again(self) -> bool:
        """Whether the run is to be started again."""
        return self._worth_another and not self._stop_asked

    def _make_log_dir(self) -> None:
        """Make it, and warn of a disk that will be full: then workers fail in the middle of the night."""
        log_dir = self._plan.log_dir
        try:
            os.makedirs(log_dir, exist_ok=True)
            disk = os.statvfs(log_dir)
        except OSError as error:
            log.warning(f"the log directory {log_dir} cannot be made: {error.strerror}; workers write to this console")
            return
        free = disk.f_bavail * disk.f_frsize
        if free < LOW_SPACE:
            log.warning(f"only {free // 2**20} MiB are free in the log directory {log_dir}")
        elif disk.f_files and disk.f_favail < LOW_FILES:  # a file system without a limit of files says 0
            log.warning(f"only {disk.f_favail} more files can be made in the log directory {log_dir}")

    def _follow(self) -> Follower:
        """Follow the ranks that the console shows."""
        plan = self._plan
        shown = console_ranks(self._settings.console_ranks, plan.world_size, self._console.terminal)
        files = [
            (spec.log, _prefix(spec))
            for spec in plan.processes
            if spec.log and (spec.role in _ALWAYS_SHOWN or (spec.number is not None and shown(spec.number)))
        ]
        files += [(path, f"[{rank}] ") for rank, path in plan.rank_logs if shown(rank)]
        try:
            return Follower(files, self._console, [log.console()])
        except OSError as error:
            log.warning(f"the console does not follow the logs in {plan.log_dir}: {error.strerror}")
            return Follower([], self._console, [log.console()])

    def _watch_for_hangs(self) -> Sentry | None:
        if self._settings.hang_timeout is None:
            return None
        from ma2l.diagnose.watch import sentry

        return sentry(self._plan, self._settings, self._environ, self._names, self._waiter.inherited_mask)

    def _on_phase(self, phase: Phase) -> None:
        self._later.begin(SETTLED)
        if phase is Phase.RUNNING:
            self._announce()
            self._on_running()
        elif phase is Phase.STOPPING:
            self._announce_stop()
            self._stopping.begin(self._settings.stop_grace)
        elif phase is Phase.PARTING:
            self._stopping.begin(self._failure_grace or 0.0)
            self._announce_stop(
                f"the others have {self._failure_grace:g} s to save a checkpoint; a stop signal ends that"
            )
        elif phase is Phase.SWEEPING:
            self._stopping.end()
        elif phase is Phase.KILLING:
            self._stopping.end()
            log.warning("killing what did not stop in time")

    def _announce(self) -> None:
        """Now that the workers run there is time to say what was decided and to write it down."""
        from ma2l.diagnose import oom
        from ma2l.plan.show import counted, node_of

        self._oom_kills = oom.kills()
        plan = self._plan
        log.info(
            f"started {counted(len(plan.processes), 'process')} of a job of {counted(plan.world_size, 'rank')}, "
            f"{node_of(plan.node_rank, plan.nodes)}{f' ({plan.part})' if plan.part else ''}, "
            f"mode {plan.mode}; logs in {plan.log_dir}"
        )
        self._record()

    def _announce_stop(self, instead: str = "") -> None:
        """Say at once why the run stops: a stop may take the whole grace, and somebody is watching."""
        from ma2l.diagnose.outcome import manner
        from ma2l.plan.show import counted

        cause = self._machine.cause
        left = len(self._supervisor.pids) - len(self._machine.ended)
        patience = instead or (
            f"stopping {counted(left, 'process')} within {self._settings.stop_grace:g} s; a second stop signal kills"
        )
        if cause is None:
            log.info("the scheduler lingers after all workers ended well; stopping it")
        elif cause.kind is Kind.EXITED:
            log.error(f"{self._plan.processes[cause.worker].name} failed: {manner(cause.value)}; {patience}")
        elif cause.kind is Kind.CALLED_OFF:
            log.error(f"{self._supervisor.refusal}; {patience}")
        elif cause.kind is Kind.HANG:
            log.error(f"a hang ends the run; {patience}")
        elif cause.kind is Kind.SIGNAL:
            log.info(f"{signal.Signals(cause.value).name} received; {patience}")
        log.flush()

    def _record(self) -> None:
        """Write down the plan: a later run in the same directory sees by it that the names of these logs are taken."""
        from ma2l.plan.show import as_json

        plan = self._plan
        log.use_file(self._names.launcher())
        for line in (*plan.trail, *plan.notes, *(f"wrote {file.path}, SHA-256 {file.sha256()}" for file in plan.files)):
            log.detail(line)
        for line in plan.warnings:
            log.warning(line)
        log.flush()
        self._write(self._names.plan(), as_json(plan))

    def _drain(self) -> None:
        """Show the rest of logs and messages; a console that nobody reads is not waited for."""
        limit = time.monotonic() + CONSOLE_LIMIT
        while not self._follower.finish():
            now = time.monotonic()
            full = [(sink.fd, WRITABLE) for sink in (self._console, log.console()) if sink.pending]
            wakeup = self._waiter.wait(full, min(now + CONSOLE_PATIENCE, limit))
            stopped = any(signum in STOP_SIGNALS for signum in wakeup.signals)
            self._stop_asked |= stopped
            if stopped or now >= limit or not (wakeup.ready or wakeup.signals):
                for sink in (self._console, log.console()):
                    if sink.pending:
                        sink.abandon()

    def _report(self, stuck: list[int]) -> int:
        from ma2l.diagnose import oom
        from ma2l.diagnose.outcome import as_json, outcome

        machine = self._machine
        if len(self._supervisor.pids) < len(self._plan.processes):
            self._record()
        if machine.cause and self._supervisor.refusal:
            log.error(str(self._supervisor.refusal))
        result = outcome(
            self._plan,
            machine.cause,
            machine.exit_code,
            machine.ended,
            self._supervisor.pids,
            self._system.started_at,
            epoch=time.time() - time.monotonic(),
            oom_kills=oom.risen(self._oom_kills, oom.kills()),
        )
        if self._plan.processes[0].role == "mpirun":
            from ma2l.mpirun.ranks import judged

            result = judged(result, self._plan, self._settings.keep_going)
        if self._corrected:
            result = self._corrected(result)
        if result.cause == "hang" and self._sentry is not None:
            from ma2l.diagnose.watch import explained

            result = explained(result, self._sentry)
        self.outcome = result
        report = self._compose(result)
        self._write(self._names.outcome(), as_json(result, report))
        if report.quote:
            log.flush()
            log.quote(report.quote)
        for line in report.causes:
            log.error(line)
        for line in report.others:
            log.info(line)
        if report.verdict:
            (log.info if result.cause == "signal" else log.error)(report.verdict)
        if stuck:
            log.error(f"gave up on processes stuck in the kernel: {', '.join(map(str, stuck))}")
        elif self._judge and result.cause not in ("success", "signal", "guard died", "called off"):
            self._stop_asked |= machine.stop_asked
            self._ask_for_another(self._judge, result.exit_code)
        self._verdict = report.verdict
        if not self.again:
            self.leave_message()
        return result.exit_code

    def _ask_for_another(self, judge: Callable[[int, float], tuple[bool, str]], code: int) -> None:
        """Let the judge decide, unless a stop signal came after the failure: whoever sent it wants no further start."""
        starts = self._system.started_at.values()
        ends = [cause.at] if (cause := self._machine.cause) else [ended.at for ended in self._machine.ended]
        # of mpirun's ranks only mpirun knows the time; one that failed while the others went on counts as at the end
        seconds = max(ends) - min(starts) if ends and starts else 0.0
        if not self._stop_asked:
            self._worth_another, line = judge(code, seconds)
            (log.warning if self._worth_another else log.info)(line)

    def _compose(self, result: Outcome) -> Report:
        from ma2l.diagnose.place import rank_of
        from ma2l.diagnose.report import Report, compose, verdict

        scheduler_log = next((process.log for process in result.processes if process.name == "scheduler"), None)
        try:
            return compose(result, scheduler_log=scheduler_log, rank_of=lambda culprit: rank_of(culprit, self._plan))
        except Exception as error:  # noqa: BLE001 - the exit code must not depend on how well we explain it
            log.error(f"this is a bug in ma2l, please report it: no report, {error!r}")
            return Report(verdict=verdict(result))

    def leave_message(self) -> None:
        """Of the last attempt. Kubernetes shows this file's text as the reason of a container's end; it makes the file
        itself."""
        if not self._verdict:
            return
        path = modelarts.termination_message(self._environ) or "/dev/termination-log"
        try:
            if os.path.exists(path):
                with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:  # a mount: not replaceable
                    file.write(self._verdict + "\n")
        except OSError as error:
            log.warning(f"cannot write {path}: {error.strerror}")

    def _write(self, path: str, text: str) -> None:
        """Write a file of our own whole or not at all; failing to is no reason to end a run."""
        from ma2l.linux.files import write_whole

        try:
            write_whole(text, path)
        except OSError as error:
            log.warning(f"cannot write {path}: {error.strerror}")


def _load() -> None:
    """Load what takes long: messages go through loguru from now on, and nobody waits for what explains a failure."""
    log.start()
    try:
        import ma2l.diagnose.report  # noqa: F401 - for Execution._report
    except Exception as problem:  # noqa: BLE001 - it is not needed yet, and workers run
        log.warning(f"what explains a failure cannot be imported now: {problem!r}")


def _prefix(spec: ProcessSpec) -> str:
    """What stands in front of a process's lines: its rank, or its name where MindSpore has yet to give it one."""
    if spec.role != "rank":
        return ""
    return f"[{spec.name if spec.rank is None else spec.rank}] "
