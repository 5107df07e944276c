"""The NPUs of this node: there, well, free, and ours to use."""

from __future__ import annotations

import os

from ma2l.doctor.finding import Finding, fail, ok, unknown, warn
from ma2l.doctor.scene import Scene
from ma2l.errors import Ma2lError
from ma2l.linux import cpulist

_BESIDE = ("davinci_manager", "devmm_svm", "hisi_hdc")
"""Device files that every process on an NPU opens besides the NPU's own ("Using Ascend Docker Runtime")."""
_HEALTH = {"OK": 0, "Warning": 1}


def present(scene: Scene) -> Finding:
    """Device files and npu-smi, and whether they agree."""
    files, chips = scene.device_ids, scene.chips
    if isinstance(chips, str):
        if not files:
            return fail(f"no /dev/davinci* and {chips}", "run on an Ascend node, or mount its devices", elsewhere=True)
        return warn(f"NPU {cpulist.text(files)}, but {chips}", "mount npu-smi; without it health is not known")
    if not files and scene.environ.get("MA2L_MOCKED"):
        return ok(f"{len(chips)} pretended chips ({chips[0].name})")
    listed = [chip.physical_id for chip in chips if chip.physical_id is not None]
    if not files:
        return warn(
            f"npu-smi lists {len(chips)} chips, but there is no /dev/davinci*", "mount the devices into this container"
        )
    missing = sorted(set(files) - set(listed)) if len(listed) == len(chips) else []
    if missing:
        return warn(f"npu-smi does not list NPU {cpulist.text(missing)}", "restart the node, or have it serviced")
    return ok(f"NPU {cpulist.text(files)} ({chips[0].name})")


def healthy(scene: Scene) -> Finding:
    """The health that npu-smi prints."""
    if isinstance(scene.chips, str):
        return unknown(scene.chips)
    worst = [chip for chip in scene.chips if chip.health != "OK"]
    if not worst:
        return ok(f"{len(scene.chips)} chips are OK")
    said = ", ".join(f"NPU {chip.npu} chip {chip.chip}: {chip.health or 'no health'}" for chip in worst[:8])
    if all(_HEALTH.get(chip.health, 2) < 2 for chip in worst):
        return warn(said, "look at npu-smi info -t health -i N")
    if any(not chip.health for chip in worst):
        return unknown(said)
    return fail(said, "do not train on it: have it serviced, or choose another node", elsewhere=True)


def free(scene: Scene) -> Finding:
    """Nobody else has them open."""
    if not scene.npus:
        return unknown("there is no NPU to be held")
    held = scene.holders
    if held:
        by = ", ".join(map(str, held[:4]))
        return fail(f"in use by {by}", "end these processes, or choose other NPUs", elsewhere=True)
    return ok("nobody has them open, as far as this user and container can see")


def readable(scene: Scene) -> Finding:
    """This user may open the device files."""
    if not scene.device_ids:
        return unknown("there are no device files")
    names = [f"davinci{i}" for i in scene.device_ids] + [name for name in _BESIDE if scene.exists(f"/dev/{name}")]
    closed = [name for name in names if not os.access(f"{scene.root}/dev/{name}", os.R_OK | os.W_OK)]
    absent = [name for name in _BESIDE if not scene.exists(f"/dev/{name}")]
    if closed:
        who = f"uid {os.getuid()}, gid {os.getgid()}"
        return fail(
            f"{who} may not open /dev/{', /dev/'.join(closed[:4])}",
            "run as a member of the driver's group (HwHiAiUser)",
        )
    if absent:
        return warn(f"there is no /dev/{', /dev/'.join(absent)}", "mount it too: CANN opens it")
    return ok(f"{len(names)} device files can be opened")


def addresses(scene: Scene) -> Finding:
    """The addresses of the NPUs' ports are those in the rank table."""
    found = scene.topology
    if isinstance(found, Ma2lError):
        return unknown("this node's place in the job is not known")
    listed = {device.device_id: device.ip for device in found.cluster.own.devices if device.ip}
    if not listed or found.table is None:
        return unknown("no rank table names addresses for this node's NPUs")
    here = scene.device_ips
    if not here:
        return unknown("neither /etc/hccn.conf nor hccn_tool tells the addresses here")
    wrong = [f"NPU {i} has {here[i]}, the table says {ip}" for i, ip in listed.items() if i in here and here[i] != ip]
    if wrong:
        return fail("; ".join(wrong[:4]), "have the table made again, or set the address with hccn_tool -i N -ip -s")
    return ok(f"{len(listed)} addresses are as in the table")
