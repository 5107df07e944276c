"""Signs of a real platform: where there is one, ma2l never falls back to a mock by itself.

An installed CANN is no sign: every Ascend image has it, on a laptop as well.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from ma2l.platforms import mindcluster, modelarts, tables, volcano
from ma2l.platforms.base import Environ

_PREFIXES = ("MA_", "VC_")
_NAMES = (
    *tables.VARIABLES,
    *mindcluster.MINDCLUSTER.signs,
    *modelarts.MODELARTS.signs,
    *volcano.VOLCANO.signs,
    "OMPI_COMM_WORLD_RANK",
    "KUBERNETES_SERVICE_HOST",
    "ASCEND_VISIBLE_DEVICES",
    "NPU_VISIBLE_DEVICES",
    "NPU-VISIBLE-DEVICES",
)
_PATHS = (modelarts.CONFIG_DIR, mindcluster.CONFIG_DIR, "/usr/local/Ascend/driver")
_DEVICES = ("davinci", "nvidia")


def signs(
    environ: Environ,
    exists: Callable[[str], bool] = os.path.exists,
    listdir: Callable[[str], list[str]] = os.listdir,
) -> tuple[str, ...]:
    """Everything that says this is not a machine to mock on."""
    found = [name for name in environ if name.startswith(_PREFIXES) or name in _NAMES]
    found += [path for path in _PATHS if exists(path)]
    found += [f"/dev/{name}" for name in sorted(listdir("/dev")) if name.startswith(_DEVICES)]
    return tuple(found)
