"""Being one rank already: under mpirun, torchrun, msrun, a preset image's per-card boot, or ma2l itself.

Then nothing is launched: the other launcher's variables are translated and CMD takes this process's place. The tables
map our names to the names of each launcher; a launcher is recognised only by variables that nobody else sets.
"""

from __future__ import annotations

from collections.abc import Mapping

from ma2l.platforms.base import Environ
from ma2l.records import dataclass


@dataclass(frozen=True)
class Launcher:
    """A launcher and the variables by which its ranks know themselves."""

    name: str
    signs: tuple[str, ...]
    """All of them are set in its ranks."""
    rank: str
    world_size: str
    local_rank: str
    local_world_size: str = ""


LAUNCHERS = (
    Launcher("ma2l", ("MA2L_RUN_ID", "RANK", "LOCAL_RANK"), "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    Launcher(
        "mpirun",
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    Launcher("torchrun", ("TORCHELASTIC_RUN_ID", "LOCAL_RANK"), "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    # Its scheduler has no DEVICE_ID; the Ascend Operator, which sets the MS_ names as well, sets no RANK_SIZE.
    Launcher("msrun", ("MS_ROLE", "MS_SCHED_HOST", "RANK_SIZE"), "RANK_ID", "RANK_SIZE", "DEVICE_ID"),
    Launcher(
        "the platform's own launcher",
        ("RANK_ID", "RANK_SIZE", "ASCEND_DEVICE_ID", "RANK_TABLE_FILE"),
        "RANK_ID",
        "RANK_SIZE",
        "ASCEND_DEVICE_ID",
    ),
)


@dataclass(frozen=True)
class Already:
    """This process is one rank of somebody else's launch."""

    launcher: str
    env: Mapping[str, str]
    """What CMD gets in addition."""


def already(environ: Environ) -> Already | None:
    """Recognise another launcher's rank.

    Returns:
        What to add to the environment (never changing what the launcher set), or ``None``.
    """
    for launcher in LAUNCHERS:
        if all(environ.get(sign) for sign in launcher.signs):
            return Already(launcher.name, _translation(launcher, environ))
    return None


def _translation(launcher: Launcher, environ: Environ) -> dict[str, str]:
    """The names that frameworks read, where the other launcher has not set them."""
    if launcher.name == "ma2l" or environ.get("MS_ROLE") == "MS_SCHED":  # a scheduler is nobody's rank
        return {}
    local_size, size = environ.get(launcher.local_world_size), environ.get(launcher.world_size)
    device = environ.get(launcher.local_rank)
    values = {
        "RANK": environ.get(launcher.rank),
        "WORLD_SIZE": size,
        "LOCAL_RANK": device,
        "LOCAL_WORLD_SIZE": local_size,
        "DEVICE_ID": device,
        "ASCEND_DEVICE_ID": device,
    }
    if launcher.name == "mpirun":
        values |= {"RANK_ID": values["RANK"], "RANK_SIZE": size}
        from ma2l.platforms import openmpi

        if openmpi.on_one_host(environ):
            values |= {"MASTER_ADDR": openmpi.LOOPBACK, "MASTER_PORT": str(openmpi.common_port(environ))}
    return {name: value for name, value in values.items() if value and name not in environ}
