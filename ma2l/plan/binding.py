"""Which CPUs each rank gets. Pure.

``cores``: a set of its own, cut from the CPUs beside its NPU. Those are dealt to *all* NPUs beside them, also to those
that are not ours: jobs that share a server, each with some of its NPUs, do not meet on a CPU as long as they see the
same NPUs and are allowed the same CPUs. ``numa``: all CPUs beside its NPU, shared with the other ranks there. Memory
follows by the kernel's own rule, which takes it from the node that a thread runs on: a full node then costs speed and
not the job, as a strict policy would.

Where nobody knows which CPUs are beside an NPU, or too few of them are allowed, all ranks get an even share of the
allowed CPUs (``numa``: of the NUMA nodes), in the order of the physical ids of all NPUs that are seen. A container that
sees only its own NPUs and yet all CPUs of the server deals them all out; only a cpuset can part it from its neighbours.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ma2l.ascend.topo import Affinity
from ma2l.linux import cpulist
from ma2l.plan.spec import ProcessSpec
from ma2l.records import dataclass, replace

_MINDSPORE_MODES = ("ranktable", "dynamic-cluster", "mpirun")


@dataclass(frozen=True)
class Processors:
    """The CPUs of this host, as far as binding needs to know them."""

    allowed: tuple[int, ...]
    """CPUs that this process may use; the hardware threads of one core are neighbours."""
    nodes: Mapping[int, tuple[int, ...]]
    """CPUs of each NUMA node, allowed or not; empty where the kernel knows no nodes."""
    npus: Affinity
    """Where the NPUs are."""


@dataclass(frozen=True)
class Binding:
    """CPUs of each rank, ascending, in the order in which the devices were given, and what there is to say."""

    cpus: tuple[tuple[int, ...], ...]
    note: str
    warnings: tuple[str, ...] = ()


def bind(strategy: str, here: Processors, own: Sequence[int]) -> Binding:
    """CPUs for the ranks of this node.

    Args:
        strategy: ``cores`` or ``numa``.
        own: physical id of each rank's NPU, in the order of local ranks.
    """
    if strategy == "numa":
        shares, problem = _beside_shared(here, own)
        shares = shares if not problem else _even_nodes(here, own)
        evenly = "NUMA nodes"
    elif len(own) > len(here.allowed):
        return _too_few(here, own)
    else:
        shares, problem = _beside_split(here, own)
        shares = shares if not problem else _deal(here.allowed, {*here.npus.devices, *own}, own)
        evenly = _named(here.allowed)
    note = f"{evenly} dealt out evenly, because {problem}" if problem else f"CPUs beside each NPU, from {here.npus.how}"
    return Binding(tuple(tuple(sorted(shares[device])) for device in own), f"bind {strategy}: {note}")


def bind_ranks(
    specs: Sequence[ProcessSpec],
    strategy: str,
    here: Processors,
    own: Sequence[int],
    environ: Mapping[str, str],
    mode: str,
) -> tuple[list[ProcessSpec], list[str], tuple[str, ...]]:
    """Bind the ranks of a plan.

    Args:
        specs: the ranks of this node; ``own`` has the physical id of each one's NPU.

    Returns:
        The ranks with their CPUs, notes and warnings.
    """
    binding = bind(strategy, here, own)
    bound = attach(specs, binding.cpus, environ, mode)
    return bound, [binding.note, *threads_notes(bound, environ)], binding.warnings


def attach(
    specs: Sequence[ProcessSpec], cpus: Sequence[tuple[int, ...]], environ: Mapping[str, str], mode: str
) -> list[ProcessSpec]:
    """The processes with these CPUs, none leaving one as it is, and the variables that follow from them.

    ``OMP_NUM_THREADS`` is the rank's share of its set; ranks with the same set part it among them. ``MSRUN_CPU_LIST``
    is msrun's word to ``mindspore.runtime.set_cpu_affinity`` (``thread_bind_core.py`` of MindSpore 2.10): without it
    that function works out sets of its own and moves the threads out of ours. The user's values win.
    """
    bound = []
    for spec, own in zip(specs, cpus):
        env: dict[str, str | None] = {}
        if own and "OMP_NUM_THREADS" not in environ:
            env["OMP_NUM_THREADS"] = str(max(1, len(own) // cpus.count(own)))
        if own and spec.role == "rank" and mode in _MINDSPORE_MODES and "MSRUN_CPU_LIST" not in environ:
            env["MSRUN_CPU_LIST"] = str(list(own))
        bound.append(replace(spec, cpus=own, env={**spec.env, **env}) if own else spec)
    return bound


def threads_notes(bound: Sequence[ProcessSpec], environ: Mapping[str, str]) -> list[str]:
    """A line about ``OMP_NUM_THREADS`` where it is ours."""
    if "OMP_NUM_THREADS" in environ:
        return []
    values = sorted({int(spec.env["OMP_NUM_THREADS"] or 1) for spec in bound if "OMP_NUM_THREADS" in spec.env})
    said = " or ".join(map(str, values))
    return [f"OMP_NUM_THREADS={said}: each rank's share of the CPUs it is bound to"] if values else []


def split(cpus: Sequence[int], parts: int) -> list[tuple[int, ...]]:
    """Neighbours stay together, and sizes differ by one at most."""
    size, rest = divmod(len(cpus), parts)
    starts = [part * size + min(part, rest) for part in range(parts + 1)]
    return [tuple(cpus[start:end]) for start, end in zip(starts, starts[1:])]


def _too_few(here: Processors, own: Sequence[int]) -> Binding:
    cpus = here.allowed
    warning = f"{len(own)} ranks share {_named(cpus)}: each is bound to one CPU"
    return Binding(tuple((cpus[i % len(cpus)],) for i in range(len(own))), "bind cores: one CPU per rank", (warning,))


def _beside_split(here: Processors, own: Sequence[int]) -> tuple[dict[int, tuple[int, ...]], str]:
    """A set of its own for each device from the CPUs beside it, or why that cannot be."""
    shares: dict[int, tuple[int, ...]] = {}
    problem = _unknown(here, own)
    for cpus, members in _groups(here):
        mine = [device for device in own if device in members]
        if len(mine) > len(cpus):
            return {}, f"the NPUs {cpulist.text(mine)} have only {_named(cpus)} beside them"
        shares.update(_deal(cpus, members, mine))
    return shares, problem


def _beside_shared(here: Processors, own: Sequence[int]) -> tuple[dict[int, tuple[int, ...]], str]:
    """All allowed CPUs beside each device, or why that cannot be."""
    near = here.npus.near
    return {device: _allowed(here, near.get(device, ())) for device in own}, _unknown(here, own)


def _even_nodes(here: Processors, own: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """Whole NUMA nodes, each rank several or several ranks one."""
    nodes = [cpus for cpus in (_allowed(here, node) for node in here.nodes.values()) if cpus] or [here.allowed]
    seats = sorted({*here.npus.devices, *own})
    shares = {}
    for seat, device in enumerate(seats):
        first, end = seat * len(nodes) // len(seats), (seat + 1) * len(nodes) // len(seats)
        shares[device] = tuple(cpu for node in nodes[first : max(end, first + 1)] for cpu in node)
    return shares


def _unknown(here: Processors, own: Sequence[int]) -> str:
    """Why the CPUs beside some device cannot be used; empty if all can."""
    near = here.npus.near
    for device in own:
        if not near:
            return here.npus.how
        if device not in near:
            return f"{here.npus.how} does not tell which CPUs are beside NPU {device}"
        if not _allowed(here, near[device]):
            return f"none of the CPUs beside NPU {device} ({cpulist.text(near[device])}) is allowed here"
    return ""


def _groups(here: Processors) -> list[tuple[tuple[int, ...], set[int]]]:
    """The allowed CPUs beside NPUs, and those NPUs; where two overlap without being alike they count as one."""
    groups: list[tuple[set[int], set[int]]] = []
    for device, near in here.npus.near.items():
        cpus, members = set(_allowed(here, near)), {device}
        apart = []
        for group in groups:
            if group[0] & cpus:
                cpus, members = cpus | group[0], members | group[1]
            else:
                apart.append(group)
        groups = [*apart, (cpus, members)] if cpus else groups
    return [(_allowed(here, cpus), members) for cpus, members in groups]


def _deal(cpus: Sequence[int], members: Collection[int], mine: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """A share for each of mine; the others among the members count as long as there is a CPU for everybody."""
    seats = sorted(members if len(members) <= len(cpus) else set(mine))
    return {device: share for device, share in zip(seats, split(cpus, len(seats))) if device in mine} if seats else {}


def _named(cpus: Sequence[int]) -> str:
    return f"CPU{'s'[: len(cpus) > 1]} {cpulist.text(cpus)}"


def _allowed(here: Processors, cpus: Collection[int]) -> tuple[int, ...]:
    wanted = set(cpus)
    return tuple(cpu for cpu in here.allowed if cpu in wanted)
