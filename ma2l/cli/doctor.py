"""``ma2l doctor``: is this node ready, and if not, what to do."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from ma2l import log
from ma2l.cli import options, show
from ma2l.errors import UsageError
from ma2l.settings import split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ma2l.settings import Settings

USAGE = """\
usage: ma2l doctor [--format table|json] [OPTION...] [CMD...]

Looks at this node as a run would find it; starts and changes nothing. With CMD it also looks at that command and at the
framework in its Python. OPTION is any option of ma2l; see ma2l help. `ma2l --doctor CMD` looks first and runs then.
Exit code 0: nothing failed; 197: another node may do; 78: something has to be corrected.
"""
FORMATS = ("table", "json")


def doctor(words: Sequence[str]) -> int:
    """Parse, ask, print; returns the exit code."""
    flags, command = split(words, ("format",))
    if "help" in flags:
        show(USAGE)
        return 0
    form = flags.pop("format", "table")
    if form not in FORMATS:
        raise UsageError(f"use --format {form}", "no such format", f"choose one of {', '.join(FORMATS)}")
    settings = options(flags, os.environ)
    if settings.mock and settings.mock != "0":
        from ma2l import site

        run_id = site.new_run_id()
        run_dir = site.make_run_dir(run_id, os.environ)
        try:
            return _examine(settings, _mocked(settings, run_dir), command, form)
        finally:
            site.remove_run_dir(run_dir)
    return _examine(settings, os.environ, command, form)


def _mocked(settings: Settings, run_dir: str) -> Mapping[str, str]:
    """The environment of node 0 of a mock."""
    from ma2l.mock import stage
    from ma2l.mock.decide import decide
    from ma2l.plan.spec import applied

    shape, announcement = decide(settings, os.environ)
    assert shape is not None, "a shape was asked for"
    log.warning(announcement)
    job = stage.set_up(shape, settings, os.environ, f"{run_dir}/mock", run_dir)
    return applied(job.nodes[0].environ, os.environ)


def _examine(settings: Settings, environ: Mapping[str, str], command: tuple[str, ...], form: str) -> int:
    from ma2l.doctor.checks import examine, exit_code
    from ma2l.doctor.scene import Scene
    from ma2l.doctor.show import as_json, as_table

    findings = examine(Scene(settings, environ, command))
    log.flush()
    show(as_json(findings) if form == "json" else as_table(findings, os.isatty(1)))
    return exit_code(findings)
