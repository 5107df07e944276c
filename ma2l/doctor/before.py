"""``ma2l --doctor CMD``: look first, run then."""

from __future__ import annotations

import os

from ma2l import log
from ma2l.doctor.checks import examine, exit_code
from ma2l.doctor.finding import FAIL, WARN
from ma2l.doctor.scene import Scene
from ma2l.errors import ConfigError, NoUsableDevice


def look(scene: Scene, path: str) -> None:
    """Say what is not well.

    Args:
        path: file for what the driver's tools say now, which `ma2l collect` puts beside what they say afterwards.

    Raises:
        ConfigError, NoUsableDevice: something failed.
    """
    findings = examine(scene)
    for check, finding in findings:
        if finding.status == WARN:
            log.warning(f"{check.name}: {finding.text}; {finding.fix}")
        elif finding.status == FAIL:
            log.error(f"{check.name}: {finding.text}; {finding.fix}")
    code = exit_code(findings)
    if code:
        failed = ", ".join(check.name for check, finding in findings if finding.status == FAIL)
        error = NoUsableDevice if code == NoUsableDevice.exit_code else ConfigError
        raise error("start on this node", f"--doctor found what will go wrong: {failed}", "see above, or ma2l doctor")
    _write_down(scene, path)  # only beside the logs of a run that starts
    log.info("--doctor found nothing that will go wrong")


def _write_down(scene: Scene, path: str) -> None:
    from ma2l.ascend import inventory

    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(inventory.text(scene.npus, scene.environ))
    except OSError as error:
        log.warning(f"cannot write {path}: {error.strerror}")
