"""Which rank trains on the device that an error names, by the rank table that the run used."""

from __future__ import annotations

from ma2l.diagnose.culprit import Culprit
from ma2l.errors import Ma2lError
from ma2l.plan.spec import Plan


def rank_of(culprit: Culprit, plan: Plan) -> int | None:
    """The rank at a server and device, ``None`` where no table of the plan lists it."""
    from ma2l.ranktable import RankTable, parse

    for file in plan.files:
        if file.kind != "rank table":
            continue
        try:
            table = parse(file.content, file.path)
        except Ma2lError:  # a table that HCCL reads, yet not ours to judge at the end of a run
            continue
        for node in table.nodes if isinstance(table, RankTable) else ():
            if culprit.server in (node.server_id, *node.addresses):
                for device in node.devices:
                    if str(device.device_id) == culprit.device:
                        return device.rank
    return None
