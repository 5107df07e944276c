"""What is brought in around a run: the figures of its ranks when it has ended well, its files into a bucket always."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ma2l import log
from ma2l.errors import ConfigError, IncompleteResults
from ma2l.execution import Prepared
from ma2l.plan import figures
from ma2l.plan.spec import Plan
from ma2l.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ma2l.diagnose.outcome import Outcome
    from ma2l.linux.wait import Waiter
    from ma2l.obs.request import Root
    from ma2l.results.collect import Stamps


PATIENCE_AFTER_STOP = 10.0
"""Seconds for an upload after a stop signal: who stops a job kills it some 30 s later."""


class Harvest:
    """One run's.

    Args:
        settings: the user's options.
        command: as the user wrote it. Where it names the directory of figures it may want to make that itself.
    """

    def __init__(self, settings: Settings, command: tuple[str, ...]) -> None:
        self._settings = settings
        self._named = bool(figures.named_in(command))
        self._before: Stamps = {}

    def look_ahead(self, prepared: Prepared, environ: Mapping[str, str]) -> None:
        """What an upload needs, before the first attempt: days later nobody should hear that it never could work.

        Raises:
            ConfigError: the destination is no place in OBS.
        """
        settings = self._settings
        if not settings.upload or prepared.plan.mode == "mock":
            return
        from ma2l.obs import access, url

        url.parse(settings.upload)
        try:
            access.access(environ, settings.obs_endpoint, settings.obs_hosts, settings.obs_ca_file)
        except ConfigError as error:  # a secret may yet be mounted
            log.warning(f"as it is now nothing can be uploaded at the end: {error}")

    def begin(self, prepared: Prepared) -> None:
        """Before an attempt starts: figures that lie there already are not its own."""
        directory = _directory(prepared.plan)
        if directory is None:
            return
        if not self._named:
            try:
                os.makedirs(directory, exist_ok=True)
            except OSError as error:
                log.warning(f"the directory for figures {directory} cannot be made: {error.strerror}")
        if _holds_something(directory):
            from ma2l.results.collect import stamps

            self._before = stamps(directory)

    def finish(self, prepared: Prepared, code: int, outcome: Outcome | None) -> int:
        """After the last attempt; returns the exit code, which only missing results that were required can change."""
        if code != 0 or prepared.plan.mode == "mock":  # the launchers of its nodes do this themselves
            return code
        directory = _directory(prepared.plan)
        if directory is None:
            return self._without_directory(prepared, code)
        if not self._settings.require_results and not _holds_something(directory):
            return code
        return self._collect(prepared, directory, outcome) or code

    def send(
        self, prepared: Prepared, stop_asked: bool, environ: Mapping[str, str], waiter: Waiter, guard_fd: int | None
    ) -> None:
        """Send logs, outcome and results to the bucket, after a failure too; what fails there is only said."""
        settings, plan = self._settings, prepared.plan
        if not settings.upload or plan.mode == "mock":
            return
        from ma2l.obs import at_end
        from ma2l.obs.request import Request, as_json

        request = Request(
            settings.upload, roots_of(prepared), settings.obs_endpoint, settings.obs_hosts, settings.obs_ca_file
        )
        log.flush()
        try:
            with open(prepared.names.upload(), "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(as_json(request))
        except OSError as error:
            log.error(f"nothing is uploaded: cannot write {prepared.names.upload()}: {error.strerror}")
            return
        patience = min(settings.upload_timeout, PATIENCE_AFTER_STOP) if stop_asked else settings.upload_timeout
        why = at_end.send((prepared.names.upload(),), environ, waiter, guard_fd, patience)
        if why:
            log.error(f"NOT UPLOADED to {settings.upload}: {why}; repeat it with: ma2l upload {plan.log_dir}")

    def _collect(self, prepared: Prepared, directory: str, outcome: Outcome | None) -> int:
        from ma2l.results import collect, show

        plan = prepared.plan
        request = collect.Request(
            directory=directory,
            log_dir=plan.log_dir,
            name=os.path.basename(prepared.names.result()),
            ranks=own_ranks(plan),
            world_size=plan.world_size,
            server=plan.part.server if plan.part else None,
            servers=plan.part.servers if plan.part else 0,
            mock=bool(prepared.environ.get("MA2L_MOCKED")),
            started=outcome.started_at if outcome else None,
            ended=outcome.ended_at if outcome else None,
            job=prepared.job,
            required=self._settings.require_results,
        )
        found = collect.collect(request, self._before)
        if found is None:
            return 0
        for line in (*found.result.problems, *found.complaints):
            log.warning(f"results: {line}")
        log.info(f"{show.summary(found.result)}{f'; see {found.path}' if found.path else ''}")
        if found.whole:
            log.info(f"{show.summary(found.whole)}; see {os.path.join(directory, collect.WHOLE)}")
        if self._settings.require_results and not found.result.complete:
            missing = IncompleteResults("take this run for a success", "its results are not complete", "see above")
            log.error(str(missing))
            return missing.exit_code
        return 0

    def _without_directory(self, prepared: Prepared, code: int) -> int:
        place = figures.results_dir(self._settings, prepared.environ, prepared.plan.processes[0].argv)
        if place:
            log.info(f"the figures of the ranks are in the bucket; merge them with: ma2l results {place}")
        if not self._settings.require_results or place:
            return code
        missing = IncompleteResults(
            "take this run for a success", "nothing says where its figures are", "pass --results-dir"
        )
        log.error(str(missing))
        return missing.exit_code


def roots_of(prepared: Prepared) -> tuple[Root, ...]:
    """This node's own files: other nodes may share its directories, and send theirs."""
    import glob

    from ma2l.obs.request import Root

    plan, names = prepared.plan, prepared.names
    logs = [spec.log for spec in plan.processes if spec.log] + [path for _, path in plan.rank_logs]
    logs += [f"{names.device_logs(rank)}/*" for rank in own_ranks(plan)]
    own = [os.path.relpath(path, plan.log_dir) for path in logs]
    patterns = [glob.escape(path.rstrip("*")) + "*" * path.endswith("*") for path in own]
    roots = [Root(plan.log_dir, "logs", (f"{names.node}.*", *patterns))]
    directory = _directory(plan)
    if directory:
        server = f"{plan.part.server}/" if plan.part else ""
        figures_ = [f"{server}throughput_{rank}.json" for rank in own_ranks(plan)]
        if plan.part:
            figures_ += [f"throughput_{rank}.json" for rank in own_ranks(plan)]
        rest = ("accuracy*.json", "ranksize.json", f"{names.node}.*", "result.json")
        roots.append(Root(directory, "", (*figures_, *rest)))
    return tuple(roots)


def own_ranks(plan: Plan) -> tuple[int, ...]:
    """The ranks that this plan runs on this node."""
    ranks = [spec.rank for spec in plan.processes if spec.role == "rank" and spec.rank is not None]
    if ranks or plan.rank_logs:
        return tuple(ranks or (rank for rank, _ in plan.rank_logs))
    env = plan.processes[-1].env
    local = int(env.get("LOCAL_WORLD_SIZE") or 0)  # the command starts them itself, as torchrun numbers them
    return tuple(range(plan.node_rank * local, (plan.node_rank + 1) * local))


def _holds_something(directory: str) -> bool:
    try:
        return bool(os.listdir(directory))
    except FileNotFoundError:
        return False
    except OSError as error:  # a mounted bucket may go away; a training that ended well stays one
        log.warning(f"the directory for figures {directory} cannot be read: {error.strerror}")
        return False


def _directory(plan: Plan) -> str | None:
    return plan.processes[0].env.get("MA2L_RESULTS_DIR") if plan.processes else None
