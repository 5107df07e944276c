"""Whether to mock: when asked, or on a machine where nothing at all speaks of a platform or an accelerator."""

from __future__ import annotations

from ma2l.errors import UsageError
from ma2l.mock.shape import DEFAULT_DEVICES, Shape, default_devices, parse_shape
from ma2l.platforms.base import Environ
from ma2l.platforms.signs import signs
from ma2l.settings import Settings


def decide(settings: Settings, environ: Environ) -> tuple[Shape | None, str]:
    """The job to pretend, if any, and a line to say about it.

    Raises:
        UsageError: the shape asked for makes no sense, or only one of its nodes is asked for.
    """
    if settings.mock == "0":
        return None, ""
    if settings.mock:
        shape = parse_shape(settings.mock)
        if settings.rank_table_file:
            raise UsageError("mock with a rank table of your own", "a mock makes its table", "drop --mock or the table")
        if shape.nodes > 1 and settings.node_rank is not None:
            raise UsageError(
                f"be node {settings.node_rank} of a mock job", "all of its nodes are started here", "drop --node-rank"
            )
        if shape.nodes > 1 and settings.mode == "mpirun":
            raise UsageError(
                "mock several nodes in the mode mpirun", "mpirun would look for them by ssh", "write --mock DEVICES"
            )
        return shape, f"MOCK: a pretended {settings.mock_platform} job, {_words(shape)}; no NPU is used"
    if settings.host or settings.hostfile:  # somebody else's machines
        return None, ""
    if settings.nnodes or settings.master_addr or settings.rank_table_file or signs(environ):
        return None, ""
    if settings.nproc_per_node:
        shape = parse_shape(str(settings.nproc_per_node))
    else:
        with open("/proc/meminfo", encoding="ascii") as file:
            shape = Shape(1, default_devices(file.read()))
    reason = "this machine has no NPU and no sign of a platform; MA2L_MOCK=0 forbids it"
    if not settings.nproc_per_node and shape.devices < DEFAULT_DEVICES:
        reason = f"not {DEFAULT_DEVICES}, for want of memory; {reason}"
    return shape, f"MOCK: a pretended {settings.mock_platform} job, {_words(shape)} ({reason})"


def _words(shape: Shape) -> str:
    return f"{shape.nodes} node{'s'[: shape.nodes > 1]} with {shape.devices} NPU{'s'[: shape.devices > 1]}"
