"""The NPUs of this host: what a job on a bare Ascend server may use."""

from __future__ import annotations

from collections.abc import Mapping

from ma2l.ascend import hccn, npu_smi
from ma2l.ascend.devices import device_files
from ma2l.records import dataclass


@dataclass(frozen=True)
class HostNpus:
    """NPUs found on this host."""

    device_ids: tuple[int, ...]
    """Physical ids, ascending; the index of an id is its logical id."""
    ips: Mapping[int, str]
    """Address of each NPU's own port by physical id; absent where unknown."""
    how: str
    """Where the ids come from, for messages."""


def find(
    environ: Mapping[str, str], *, want_ips: bool = True, dev: str = "/dev", hccn_conf: str = hccn.HCCN_CONF
) -> HostNpus | str:
    """Look for NPUs: device files first (free and certain), then npu-smi.

    Variables that cut the devices (``ma2l.ascend.devices``) are not applied here.

    Args:
        environ: environment for the tools.
        want_ips: also look up the addresses of the NPUs' ports, which may run a tool for each NPU.

    Returns:
        The NPUs, or the reason why there are none.
    """
    ids, how = device_files(dev), f"{dev}/davinci*"
    if not ids:
        chips = npu_smi.query(environ)
        if isinstance(chips, str):
            return f"no {dev}/davinci* and {chips}"
        known = {chip.physical_id for chip in chips if chip.physical_id is not None}
        if len(known) != len(chips):
            return f"no {dev}/davinci* and npu-smi does not tell the physical ids of its {len(chips)} chips"
        ids, how = tuple(sorted(known)), "npu-smi info"
    return HostNpus(ids, hccn.device_ips(ids, environ, hccn_conf) if want_ips else {}, how)
