"""Driver, firmware, CANN and framework: which versions there are, whether they belong together, whether they load."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from ma2l.doctor import supported
from ma2l.doctor.finding import Finding, fail, ok, unknown, warn
from ma2l.doctor.scene import Scene

DRIVER_INFO = "/usr/local/Ascend/driver/version.info"
FIRMWARE_INFO = "/usr/local/Ascend/firmware/version.info"
DRIVER_LIBRARIES = "/usr/local/Ascend/driver/lib64"
_CANN_HOMES = (
    "/usr/local/Ascend/ascend-toolkit/latest",
    "/usr/local/Ascend/nnae/latest",
    "/usr/local/Ascend/cann",
)
_SET_ENV = (
    "/usr/local/Ascend/ascend-toolkit/set_env.sh",
    "/usr/local/Ascend/nnae/set_env.sh",
    "/usr/local/Ascend/cann/set_env.sh",
)
_PATIENCE = 120
"""Seconds for a framework's import: the first one on a node reads gigabytes."""
_ASK = """
import importlib.metadata as m, json
names = {"mindspore": "mindspore", "torch": "torch", "torch_npu": "torch-npu"}
found = {}
for name, package in names.items():
    try:
        found[name] = m.version(package)
    except m.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def driver(scene: Scene) -> Finding:
    """The driver's version, and whether the firmware suits it."""
    info = _fields(scene.read(DRIVER_INFO))
    version = info.get("package_version") or info.get("Version") or _board(scene, "Software Version")
    firmware = _fields(scene.read(FIRMWARE_INFO)).get("Version") or _board(scene, "Firmware Version")
    if not version:
        return unknown(f"neither {DRIVER_INFO} nor npu-smi tells the driver's version")
    said = f"driver {version}, firmware {firmware or 'unknown'}"
    if _board(scene, "Compatibility") not in ("", "OK"):
        return fail(
            f"{said}: npu-smi says Compatibility {_board(scene, 'Compatibility')}",
            "install the firmware of this driver",
            True,
        )
    span = info.get("compatible_version_fw", "")
    if firmware and span and supported.between(firmware, span) is False:
        return fail(f"{said}: the driver wants firmware {span}", "install the firmware of this driver", elsewhere=True)
    return ok(said)


def cann(scene: Scene) -> Finding:
    """CANN's version, and whether it was released for this driver."""
    version = _cann_version(scene)
    if not version:
        return unknown("no CANN is installed in a usual place")
    info = _fields(scene.read(DRIVER_INFO))
    running = info.get("package_version") or info.get("Version") or _board(scene, "Software Version")
    drivers = supported.drivers_of(version)
    if not running:
        return unknown(f"CANN {version}; the driver's version is not known")
    if drivers is None:
        return unknown(f"CANN {version}; no table here names its drivers")
    if supported.fits(running, drivers):
        return ok(f"CANN {version} was released for driver {running}")
    return warn(
        f"CANN {version} was released for the drivers {', '.join(drivers)}, here is {running}",
        "see CANN's release notes",
    )


def set_env(scene: Scene) -> Finding:
    """CANN's environment script was sourced."""
    script = next((path for path in _SET_ENV if scene.exists(path)), "")
    home = scene.environ.get("ASCEND_TOOLKIT_HOME") or scene.environ.get("ASCEND_HOME_PATH")
    if home:
        if scene.exists(home):
            return ok(f"CANN's environment is that of {home}")
        return fail(
            f"CANN's environment is that of {home}, which does not exist",
            "source the set_env.sh of the CANN that is installed",
        )
    if script:
        return fail(
            "CANN is installed, and its environment is not set", f"source {script}, or start with ma2l-entrypoint"
        )
    return unknown("no set_env.sh is in a usual place")


def hal_library(scene: Scene) -> Finding:
    """The driver's library can be loaded where workers are started."""
    places = [path for path in scene.environ.get("LD_LIBRARY_PATH", "").split(":") if path]
    usual = [f"{DRIVER_LIBRARIES}/{name}" for name in ("driver", "common", "")]
    there = next((place for place in (*places, *usual) if scene.exists(f"{place}/libascend_hal.so")), "")
    if not there:
        return unknown("there is no libascend_hal.so in a usual place")
    code = "import ctypes; ctypes.CDLL('libascend_hal.so')"
    problem = _ran([sys.executable, "-c", code], scene.environ, 20)[1]
    if not problem:
        return ok(f"libascend_hal.so loads ({there})")
    fix = (
        ""
        if there in places
        else f"export LD_LIBRARY_PATH={DRIVER_LIBRARIES}/driver:{DRIVER_LIBRARIES}/common:$LD_LIBRARY_PATH"
    )
    return fail(
        f"libascend_hal.so ({there}) does not load: {problem}",
        fix or "see that driver and image are of one architecture",
    )


def framework(scene: Scene) -> Finding:
    """The framework can be imported by the interpreter that workers run in, and suits CANN."""
    python = interpreter(scene)
    if not python:
        return unknown("the command names no Python whose packages could be looked at")
    printed, problem = _ran([python, "-c", _ASK], scene.environ, 30)
    if problem:
        return unknown(f"{python} cannot be asked: {problem}")
    import json

    versions: dict[str, str] = json.loads(printed)
    if not versions:
        return warn(f"{python} has neither MindSpore nor PyTorch", "see that this is the training's Python")
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    if "torch" in versions and "torch_npu" not in versions and "mindspore" not in versions and scene.npus:
        return fail(f"{said} without torch_npu", "pip install torch-npu of the same version")
    for name in ("mindspore", "torch_npu" if "torch_npu" in versions else "torch"):
        if name in versions:
            problem = _ran([python, "-c", f"import {name}"], scene.environ, _PATIENCE)[1]
            if problem:
                return fail(f"import {name} fails in {python}: {problem}", "import it by hand to see all of it")
    return _suiting(scene, versions, said)


def _suiting(scene: Scene, versions: dict[str, str], said: str) -> Finding:
    running = _cann_version(scene)
    for name in ("mindspore", "torch_npu"):
        suitable = supported.cann_of(name, versions[name]) if name in versions else None
        if running and suitable and supported.release(running) not in suitable:
            want = ", ".join(suitable)
            return warn(
                f"{name} {versions[name]} was released for CANN {want}, here is {running}", "install one of these"
            )
    return ok(f"{said} can be imported")


def interpreter(scene: Scene) -> str:
    """The Python that the command names: itself, or in the first line of its program; empty where neither is one."""
    if not scene.command:
        return ""
    from ma2l.errors import Ma2lError
    from ma2l.supervise.system import find_program

    try:
        program = find_program(scene.command[0], scene.environ.get("PATH", os.defpath))
        with open(program, "rb") as file:
            first = file.readline(4096)
    except (Ma2lError, OSError):
        return ""
    if os.path.basename(program).startswith("python"):
        return program
    words = first[2:].decode(errors="replace").split() if first.startswith(b"#!") else []
    if words and os.path.basename(words[0]) == "env":
        words = words[1:]
        from shutil import which

        words = [which(words[0], path=scene.environ.get("PATH")) or ""] if words else []
    return words[0] if words and os.path.basename(words[0]).startswith("python") else ""


def _ran(words: list[str], environ: Mapping[str, str], seconds: int) -> tuple[str, str]:
    """What a program printed, and in one line why it failed; empty where it did not."""
    try:
        done = subprocess.run(
            words,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", f"it did not end within {seconds} s"
    except OSError as error:
        return "", str(error.strerror)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return done.stdout, "" if done.returncode == 0 else (lines[-1] if lines else f"exit code {done.returncode}")


def _cann_version(scene: Scene) -> str:
    """Of the CANN whose environment is set, else of the first in a usual place."""
    named = scene.environ.get("ASCEND_TOOLKIT_HOME") or scene.environ.get("ASCEND_HOME_PATH")
    for home in (*([named] if named else []), *_CANN_HOMES):
        for arch in ("aarch64-linux", "x86_64-linux", "."):
            for name in ("ascend_toolkit_install.info", "ascend_nnae_install.info", "ascend_cann_install.info"):
                version = _fields(scene.read(f"{home}/{arch}/{name}")).get("version")
                if version:
                    return version
    return ""


def _board(scene: Scene, name: str) -> str:
    """A value of ``npu-smi info -t board``."""
    for line in scene.board.text.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == name:
            return value.strip()
    return ""


def _fields(text: str) -> dict[str, str]:
    """``name=value`` lines."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}
