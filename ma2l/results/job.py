"""The result of a whole job, from the places that its nodes wrote to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ma2l.results import merge
from ma2l.results.figures import figures
from ma2l.results.merge import Result
from ma2l.results.sources import Found


def result_of(places: Sequence[Found]) -> Result:
    """Merge all figures; the nodes' own results tell how many ranks and servers there are, and when they ran."""
    runs = [run for place in places for run in place.runs]
    sizes, servers = _said(runs, "world_size"), _said(runs, "servers_of_job")
    problems = [
        f"the nodes' results contradict each other: {name} is {' and '.join(map(str, sorted(values)))}"
        for name, values in (("world_size", sizes), ("the number of servers", servers))
        if len(values) > 1
    ]
    known = figures([place.source for place in places])
    size = next(iter(sizes), None) if len(sizes) == 1 else None
    number = next(iter(servers), None) if len(servers) == 1 else None
    scope, doubts = merge.job_scope(known, size, number)
    return merge.merge(known, scope, merge.joint(runs), (*problems, *doubts))


def _said(runs: Sequence[Mapping[str, object]], name: str) -> set[int]:
    values = (run.get(name) for run in runs)
    return {value for value in values if isinstance(value, int) and not isinstance(value, bool) and value >= 0}
