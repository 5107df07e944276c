"""A program named msrun that is ours, for run scripts that call msrun themselves."""

from __future__ import annotations

import os
import shlex
import sys

from ma2l.plan.make import PRELOAD
from ma2l.plan.spec import EnvDiff, PlannedFile, Site
from ma2l.settings import Settings


def program(run_dir: str) -> PlannedFile:
    """The program, in a directory of its own, so that nothing else of this run gets into anybody's ``PATH``.

    It starts the very ma2l that this process runs, with this interpreter and as isolated, whatever the script does to
    its working directory and ``PYTHONPATH``. Everything else is looked up where ma2l lies last.
    """
    place = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    start = (
        f"import sys; sys.path[:] = [{place!a}, *filter(None, sys.path)]; "  # an empty entry: the working directory
        "import ma2l; sys.path.append(sys.path.pop(0)); from ma2l.__main__ import main; main()"
    )
    isolated = ["-I"] if sys.flags.isolated else []
    lines = (
        "#!/bin/sh",
        f'if [ -n "$LD_PRELOAD" ]; then export {PRELOAD}="$LD_PRELOAD"; unset LD_PRELOAD; fi',  # it is for workers
        f'exec {shlex.join([sys.executable, *isolated, "-c", start])} msrun "$@"',
    )
    return PlannedFile(f"{run_dir}/shim/msrun", os.fsencode("\n".join(lines) + "\n"), kind="program")


def names(settings: Settings, site: Site) -> EnvDiff:
    """What lets the run script find it, and what it then knows of this launcher's options."""
    env = {"PATH": f"{site.run_dir}/shim:{site.environ.get('PATH') or os.defpath}"}
    if settings.profile:
        env["MA2L_PROFILE"] = settings.profile
    if settings.failure_grace is not None:
        env["MA2L_FAILURE_GRACE"] = f"{settings.failure_grace:g}"
    return {**env, "MA2L_STOP_GRACE": f"{settings.stop_grace:g}", "MA2L_SHIM_MSRUN": None}  # it is no shim itself
