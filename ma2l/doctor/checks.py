"""All checks, in the order of what depends on what."""

from __future__ import annotations

from collections.abc import Callable

from ma2l.doctor import command, npus, ports, software, system, table
from ma2l.doctor.finding import FAIL, Finding, unknown
from ma2l.doctor.scene import Scene
from ma2l.errors import Ma2lError, NoUsableDevice
from ma2l.records import dataclass


@dataclass(frozen=True)
class Check:
    """One question."""

    name: str
    why: str
    """What goes wrong otherwise."""
    ask: Callable[[Scene], Finding]


ALL = (
    Check("npus", "without NPUs no rank starts", npus.present),
    Check("npu health", "a sick NPU ends or slows the whole job", npus.healthy),
    Check("npus free", "a second process on an NPU fails minutes later, far from the cause", npus.free),
    Check("device files", "a rank that may not open its device fails at once", npus.readable),
    Check("driver", "a driver and firmware that do not suit each other fail in odd ways", software.driver),
    Check("cann", "CANN on a driver that it was not made for fails in odd ways", software.cann),
    Check("set_env.sh", "without CANN's environment nothing of it is found", software.set_env),
    Check("libascend_hal", "frameworks load the driver's library first of all", software.hal_library),
    Check("framework", "an import that fails here fails in every rank", software.framework),
    Check("rank table", "HCCL refuses a wrong table minutes after the start", table.complete),
    Check("own place", "a node that does not find itself in the table cannot start", table.place),
    Check("device IPs", "ranks dial the addresses of the table", npus.addresses),
    Check("host names", "ranks look up node 0 by its name", table.names),
    Check("HCCL ports", "a taken port is EI0019, or a hang", ports.hccl),
    Check("NPU port", "HCCL listens on 16666 on the NPU itself", ports.npu),
    Check("meeting port", "ranks of all nodes meet there", ports.meeting),
    Check("room", "data loaders need /dev/shm, checkpoints and logs a disk", system.room),
    Check("limits", "open files and processes run out in the first epoch", system.limits),
    Check("core files", "those of eight ranks fill a disk", system.core_files),
    Check("log directory", "the first error stands in a log", system.log_directory),
    Check("memory", "beyond the limit the kernel kills a rank", system.memory),
    Check("program", "a command that is not there cannot be started", command.program),
    Check("command", "a launcher inside a launcher starts N x N ranks", command.launcher_inside),
    Check("accelerator", "ma2l knows Ascend alone", command.accelerator),
    Check("PID 1", "a shell as PID 1 keeps SIGTERM from the ranks", command.process_1),
)


def examine(scene: Scene) -> list[tuple[Check, Finding]]:
    """Ask everything."""
    return [(check, _asked(check, scene)) for check in ALL]


def _asked(check: Check, scene: Scene) -> Finding:
    try:
        return check.ask(scene)
    except Ma2lError as error:  # a variable that nobody understands; its own check says so
        return unknown(str(error))


def exit_code(findings: list[tuple[Check, Finding]]) -> int:
    """0 where nothing failed; 197 where another node may do, else 78."""
    failed = [finding for _, finding in findings if finding.status == FAIL]
    if not failed:
        return 0
    return NoUsableDevice.exit_code if all(finding.elsewhere for finding in failed) else 78
