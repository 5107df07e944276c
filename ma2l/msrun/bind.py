"""The plan of msrun's workers bound as ``--bind_core`` and ``--bind_numa`` ask.

Source: ``process_entity/_bind.py`` of ``mindspore/parallel/cluster`` in MindSpore 2.10. Device ids are msrun's: what
``ASCEND_RT_VISIBLE_DEVICES`` holds, else the index of the worker. Where both options speak of a worker, ``--bind_core``
decides its CPUs and ``--bind_numa`` its memory; ``bind_config`` decides alone. The scheduler is bound only where a map
names it. Neither taskset nor numactl is used: affinity and memory policy are set around each start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ma2l.ascend.devices import rt_visible_devices
from ma2l.errors import ConfigError
from ma2l.linux import cpulist, mempolicy, numa
from ma2l.msrun.bind_value import SCHEDULER, Wish
from ma2l.plan.binding import Binding, Processors, attach, bind, threads_notes
from ma2l.plan.spec import Plan
from ma2l.records import replace


def bound(plan: Plan, core: Wish, by_node: Wish, here: Processors, environ: Mapping[str, str]) -> Plan:
    """Bind the processes of a plan. Asks the kernel whether memory may be bound where that is wanted.

    Args:
        core: from ``--bind_core``.
        by_node: from ``--bind_numa``.
        here: from ``ma2l.site.processors``.

    Raises:
        ConfigError: a device, a CPU or a NUMA node of a map is not here, or ``ASCEND_RT_VISIBLE_DEVICES`` is wrong.
    """
    warnings = []
    if core and by_node.alone:
        core = Wish()
        warnings.append("--bind_core has no effect: bind_config of --bind_numa decides")
    _check(core, by_node, here)
    ids = worker_ids(environ, sum(spec.role == "rank" for spec in plan.processes))
    names = [SCHEDULER if spec.local_rank is None else str(ids[spec.local_rank]) for spec in plan.processes]
    automatic = _automatic(core, by_node, here, ids)
    own = dict(zip(map(str, ids), automatic.cpus))
    cpus = [_cpus(name, core, by_node, here, own.get(name, ())) for name in names]
    memory, refused = _memory(by_node)
    unbound = [name for name, chosen in zip(names, cpus) if not chosen and name != SCHEDULER]
    if unbound and (core.cpus or by_node.nodes or by_node.cpus):
        warnings.append(f"no CPUs are named for device {', '.join(unbound)}: not bound")
    processes = [
        replace(spec, memory=memory.get(name, ()), env={**spec.env, **by_node.env})
        for name, spec in zip(names, attach(plan.processes, cpus, environ, plan.mode))
    ]
    notes = [note for note in plan.notes if unbound or not note.startswith("OMP_NUM_THREADS=")]
    notes += [automatic.note] if automatic.note else []
    notes += threads_notes([spec for spec in processes if spec.role == "rank"], environ) if not unbound else []
    said = (*plan.warnings, *warnings, *automatic.warnings, *refused)
    return replace(plan, processes=tuple(processes), notes=tuple(notes), warnings=said)


def worker_ids(environ: Mapping[str, str], workers: int) -> list[int]:
    """The device id of each worker, as msrun counts."""
    chosen = rt_visible_devices(environ) or ()
    return [*chosen[:workers], *range(len(chosen), workers)]


def _automatic(core: Wish, by_node: Wish, here: Processors, ids: Sequence[int]) -> Binding:
    """What True asks for; msrun's ids count the NPUs that are seen here in the order of their physical ids."""
    if not ids or not (core.automatic or by_node.automatic):
        return Binding(((),) * len(ids), "")
    seen = here.npus.devices
    return bind("cores" if core.automatic else "numa", here, [seen[i] if i < len(seen) else i for i in ids])


def _cpus(name: str, core: Wish, by_node: Wish, here: Processors, automatic: tuple[int, ...]) -> tuple[int, ...]:
    if name in core.cpus:
        return core.cpus[name]
    if core.automatic and automatic:
        return automatic
    if name in by_node.nodes:
        return _of_nodes(by_node.nodes[name], here)
    return by_node.cpus.get(name, automatic)


def _memory(by_node: Wish) -> tuple[Mapping[str, tuple[int, ...]], list[str]]:
    """Nodes for strict memory, or none and why: a container's seccomp filter often forbids it."""
    wanted = sorted({node for nodes in by_node.memory.values() for node in nodes})
    why = mempolicy.refusal(wanted)
    return ({}, [f"memory is not bound to NUMA nodes: {why}"]) if why else (by_node.memory, [])


def _of_nodes(nodes: Sequence[int], here: Processors) -> tuple[int, ...]:
    allowed = set(here.allowed)
    return tuple(sorted(cpu for node in nodes for cpu in here.nodes.get(node, ()) if cpu in allowed))


def _check(core: Wish, by_node: Wish, here: Processors) -> None:
    for option, places in (("--bind_core", core.cpus), ("--bind_numa", by_node.cpus)):
        for name, cpus in places.items():
            beyond = set(cpus) - set(here.allowed)
            if beyond:
                _refuse(option, name, "CPU", beyond, here.allowed)
    for name, nodes in by_node.nodes.items():
        useless = {node for node in nodes if not _of_nodes((node,), here)}
        if useless:
            usable = [node for node in here.nodes if _of_nodes((node,), here)]
            _refuse("--bind_numa", name, "NUMA node", useless, usable)
    usable = list(numa.memory_allowed())
    for name, nodes in by_node.memory.items():
        beyond = set(nodes) - set(usable)
        if beyond:
            _refuse("--bind_numa", name, "memory of NUMA node", beyond, usable)
    _check_devices(core, by_node, here)


def _check_devices(core: Wish, by_node: Wish, here: Processors) -> None:
    """As msrun: an id beyond the last NPU is a mistake, one that is only not ours may serve other nodes."""
    places = (core.cpus, by_node.cpus, by_node.nodes, by_node.memory)
    named = [int(name) for place in places for name in place if name != SCHEDULER]
    if here.npus.devices and named and max(named) > max(here.npus.devices):
        last = max(here.npus.devices)
        raise ConfigError(f"bind device{max(named)}", f"the last NPU here is {last}", "name devices that exist")


def _refuse(option: str, name: str, what: str, beyond: set[int], usable: Sequence[int]) -> None:
    place = name if name == SCHEDULER else f"device{name}"
    raise ConfigError(
        f"bind {place} as {option} says",
        f"{what}{'s'[: len(beyond) > 1]} {cpulist.text(beyond)} cannot be used here",
        f"choose from {cpulist.text(usable) or 'none: leave it out'}",
    )
