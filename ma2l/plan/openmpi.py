"""OpenMPI's mpirun as the one process of a job: hosts, command line per version, plan. Pure.

mpirun starts the ranks, on this host and on others by ssh; ma2l supervises mpirun and everything below it.

Sources: mpirun(1) of OpenMPI 4.1 and 5.0, and behaviour measured with 4.1.4 and 5.0.11: ``--prtemca`` is unknown to
4.1, one dash before a long option understood by 4.1 alone; 5.0 either shows what ranks write or keeps it in files.
Neither is told to keep going when a rank fails (``orte_abort_on_non_zero_status``, ignored without a word by 5.0): 4.1
hangs then when a rank dies of a signal. The shell around each rank sees to that as well.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping

from ma2l.ascend.devices import rt_visible_devices
from ma2l.cluster import Cluster
from ma2l.errors import ConfigError
from ma2l.linux import cpulist
from ma2l.plan import figures, hccl, mpi_rank, torch
from ma2l.plan.make import names_of, port_in, shared_env
from ma2l.plan.spec import EnvDiff, Plan, PlannedFile, ProcessSpec, Site
from ma2l.platforms.topology import Topology
from ma2l.records import dataclass
from ma2l.settings import Settings

KNOWN = (4, 5)
"""Major versions that this module was tried with."""
FORWARDED = "SIGURG"
"""By which mpirun tells ranks on other hosts to stop: nobody else sends it, and it hurts nobody without a handler."""

NO_MINDSPORE_CLUSTER: EnvDiff = {
    **hccl.NO_DYNAMIC_CLUSTER,
    **dict.fromkeys(("MS_SCHED_HOST", "MS_SCHED_PORT", "MS_WORKER_NUM")),
}
"""MindSpore prefers a dynamic cluster to MPI where it finds one announced."""

_OF_THE_NODE = frozenset(
    (
        *("HOSTNAME", "PWD", "OLDPWD", "SHLVL", "HOME", "USER", "LOGNAME", "MAIL", "SHELL", "TERM", "DISPLAY"),
        *("TMPDIR", "_"),
        *("XDG_RUNTIME_DIR", "XDG_SESSION_ID", "VC_TASK_INDEX", "VK_TASK_INDEX", "MA_CURRENT_IP", "MA_CURRENT_HOST_IP"),
        *("MA_CURRENT_INSTANCE_NAME", "MA_CURRENT_INSTANCE_IP", "MA_TASK_NAME", "POD_NAME", "POD_IP", "POD_UID"),
        *("HOST_IP", "XDL_IP", "NODE_NAME", "NODE_RANK", "RANK", "LOCAL_RANK", "ASCEND_VISIBLE_DEVICES"),
    )
)
_NOT_FORWARDED = ("SSH_", "OMPI_", "PMIX_", "PRTE_", "OPAL_", "KUBERNETES_", "BASH_FUNC_", "LC_")
_BINDING = ("--bind-to", "--bind-to-core", "--cpu-set", "--cpu-list", "--rankfile", "--rf")
_HOW_MANY = ("--n", "--np", "--c", "--npernode", "--H", "--host", "--hostfile", "--machinefile", "--default-hostfile")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_ONE_DASH = re.compile(r"-[a-z]{3,}(-[a-z]+)*\Z")


@dataclass(frozen=True)
class Mpirun:
    """An mpirun and the user it runs as."""

    path: str
    major: int
    """Major version of OpenMPI."""
    root: bool
    """Whether the user is root, which mpirun refuses unless told otherwise."""
    shell: tuple[str, ...] = ("/bin/sh",)
    """What runs the script around each rank."""


@dataclass(frozen=True)
class Hosts:
    """Where ranks run: a hostfile of ours or the user's, or the text of ``-H``."""

    flags: tuple[str, ...]
    """How mpirun is told."""
    slots: tuple[int, ...]
    """Ranks of each host, in the order of hosts; their ranks are consecutive."""
    ours: bool
    """Whether they come from the topology: the first host is this one."""


def hostfile(cluster: Cluster) -> bytes:
    """One line per node, in the order of node ranks, with a slot per device.

    Raises:
        ConfigError: nothing tells where another node is.
    """
    if len(cluster.nodes) == 1:
        return f"localhost slots={len(cluster.own.devices)}\n".encode()
    nameless = [node.rank for node in cluster.nodes if not node.addresses]
    if nameless:
        why = f"no name or address of node {nameless[0]} is known"
        raise ConfigError("write a hostfile", why, "pass -H or --hostfile")
    return "".join(f"{node.addresses[0]} slots={len(node.devices)}\n" for node in cluster.nodes).encode()


def parse_hosts(text: str, default: int | None) -> list[tuple[str, int]]:
    """The hosts of ``-H a:8,b:8`` with their slots; without a number a host has one, as with mpirun.

    Args:
        default: slots of a host that does not say how many.

    Raises:
        ConfigError: something else is written there.
    """
    return [_host(*item.strip().rpartition(":"), text, default) for item in text.split(",")]


def parse_hostfile(text: str, path: str, default: int | None) -> list[tuple[str, int]]:
    """The hosts of a hostfile: ``name slots=N`` lines, ``#`` comments.

    Raises:
        ConfigError: there is no host in it, or one does not say its slots (mpirun would count CPU cores).
    """
    hosts: list[tuple[str, int]] = []
    for line in text.splitlines():
        words = line.partition("#")[0].replace("=", " ").split()
        if not words:
            continue
        options = dict(zip(words[1::2], words[2::2]))
        slots = options.get("slots", str(default or ""))
        if not (slots.isascii() and slots.isdecimal()) or int(slots) < 1:
            why = f"no number of slots in {line.strip()[:80]!r}"
            raise ConfigError(f"use the hostfile {path}", why, "write: HOST slots=N")
        hosts.append((words[0], int(slots)))
    if not hosts:
        raise ConfigError(f"use the hostfile {path}", "it names no host", "write lines of: HOST slots=N")
    return hosts


def arguments(
    mpirun: Mpirun, settings: Settings, hosts: Hosts, environ: Mapping[str, str], env: EnvDiff, run_dir: str
) -> tuple[str, ...]:
    """The command line of mpirun up to the program that each rank runs.

    Args:
        environ: the launcher's environment.
        env: mpirun's difference to it.
        run_dir: where mpirun keeps its own files, and what tells a rank that it is on mpirun's host.

    Raises:
        ConfigError: as ``extra_words``.
    """
    own = extra_words(settings, mpirun.major)
    several = len(hosts.slots) > 1
    words = [mpirun.path]
    words += ["--allow-run-as-root"] if mpirun.root and "--allow-run-as-root" not in own else []
    words += ["-n", str(sum(hosts.slots)), *hosts.flags]
    words += [] if _any(own, "--map-by", "--rankfile", "--rf", "--ppr") else ["--map-by", "slot"]
    words += [] if _any(own, "--bind-to", "--bind-to-core") else ["--bind-to", "none"]
    words += mca(mpirun.major, "orte_local_tmpdir_base", "prte_local_tmpdir_base", run_dir)
    if several:
        words += [] if keeps_own_files(own) else ["--output", "tag"] if mpirun.major >= 5 else ["--tag-output"]
        words += mca(mpirun.major, "ess_base_forward_signals", "prte_forward_signals", FORWARDED)
        words += [word for name in forwarded(environ, env) for word in ("-x", name)]
    return (*words, *own)


def mca(major: int, of_4: str, of_5: str, value: str) -> tuple[str, str, str]:
    """A parameter of mpirun itself, by its names in OpenMPI 4 and 5."""
    return ("--prtemca", of_5, value) if major >= 5 else ("--mca", of_4, value)


def extra_words(settings: Settings, major: int) -> tuple[str, ...]:
    """The words of ``--mpi-args``; ``-bind-to`` becomes ``--bind-to``, which both versions understand.

    Raises:
        ConfigError: it is no shell text, or says how many ranks there are.
    """
    try:
        words = shlex.split(settings.mpi_args or "")
    except ValueError as error:
        raise ConfigError(f"use --mpi-args {settings.mpi_args!r}", str(error), "quote it as for a shell") from None
    if _any(words, *_HOW_MANY):  # 5.0 would take the first of two numbers without a word
        why = "ma2l itself tells mpirun how many ranks there are, and where"
        raise ConfigError(f"use --mpi-args {settings.mpi_args!r}", why, "pass -H, --hostfile or --nproc-per-node")
    return tuple(f"-{word}" if major >= 5 and _ONE_DASH.match(word) and word != "-mca" else word for word in words)


def keeps_own_files(words: Collection[str]) -> bool:
    """Whether the user asked mpirun itself to keep what the ranks write."""
    return _any(words, "--output-filename", "--output")


def forwarded(environ: Mapping[str, str], env: EnvDiff) -> list[str]:
    """Names that ranks on other hosts get as well: everything of this environment but what belongs to this host or
    this session. ``-x NAME`` shows no value, in the process list or anywhere else."""
    names = {name for name in environ if name not in env} | {name for name, value in env.items() if value is not None}
    return sorted(n for n in names if _NAME.match(n) and n not in _OF_THE_NODE and not n.startswith(_NOT_FORWARDED))


def environment(cluster: Cluster, master_addr: str, master_port: int) -> EnvDiff:
    """What mpirun has, and by it every rank; what differs from rank to rank is the script's."""
    everywhere = torch.node_names(cluster, master_addr, master_port)
    of_a_node = dict.fromkeys(("LOCAL_WORLD_SIZE", "NODE_RANK", "NPUS_PER_NODE"))
    return {**everywhere, **of_a_node, **hccl.NO_TABLE, **NO_MINDSPORE_CLUSTER, **torch.NO_RANK}


def _host(name: str, colon: str, slots: str, text: str, default: int | None) -> tuple[str, int]:
    if not colon:
        name, slots = slots, str(default or 1)
    if not name or not (slots.isascii() and slots.isdecimal()) or int(slots) < 1:
        raise ConfigError(f"use the hosts {text!r}", "a host or its number of ranks is missing", "write: -H a:8,b:8")
    return name, int(slots)


def _any(words: Collection[str], *options: str) -> bool:
    """Whether one of the options is among the words, with one dash or two."""
    return any(word.startswith("-") and f"--{word.lstrip('-').partition('=')[0]}" in options for word in words)


def plan(
    settings: Settings, topology: Topology, hosts: Hosts, command: tuple[str, ...], site: Site, mpirun: Mpirun
) -> Plan:
    """mpirun as the one process.

    Args:
        hosts: where the ranks run; ``flags`` name the hostfile of ``file_of`` or the user's own.

    Raises:
        ConfigError: the wishes contradict each other or the topology.
    """
    cluster, names = topology.cluster, names_of(settings, topology, site)
    world_size, several = sum(hosts.slots), len(hosts.slots) > 1
    master_addr, master_port = _meeting_point(settings, topology, site, several)
    env, notes = shared_env(site, len(cluster.own.devices))
    env |= environment(cluster, master_addr, master_port)
    env |= figures.names(settings, site.environ, command, cluster.part)
    logical = [topology.visible.order.index(device.device_id) for device in cluster.own.devices]
    if logical != list(range(len(logical))):  # OpenMPI and MindSpore take the local rank for the device
        chosen = rt_visible_devices(site.environ)
        env["ASCEND_RT_VISIBLE_DEVICES"] = ",".join(str(chosen[i] if chosen else i) for i in logical)
    own_words = extra_words(settings, mpirun.major)
    own_files = keeps_own_files(own_words)
    log = None if own_files else names.rank("{rank}", "{local_rank}")
    bound, said, warnings = _bound(settings, topology, hosts, site, own_words)
    notes = said or notes
    text = mpi_rank.script(log, settings.chdir, hosts.slots, site.run_id, site.run_dir, settings.keep_going, bound)
    words = arguments(mpirun, settings, hosts, site.environ, env, site.run_dir)
    spec = ProcessSpec(
        role="mpirun",
        argv=(*words, *mpirun.shell, "-c", text, mpi_rank.NAME, *command),
        program=mpirun.path,
        env=env,
        log=names.once(),
        stdin=world_size == 1,
        stop_file=f"{site.run_dir}/{mpi_rank.STOP_FILE}",
        elsewhere=several,
    )
    local = [place for slots in hosts.slots for place in range(slots)]
    here = hosts.slots[0] if hosts.ours else world_size
    return Plan(
        run_id=site.run_id,
        mode="mpirun",
        node_rank=cluster.node_rank,
        nodes=len(hosts.slots),
        world_size=world_size,
        master_addr=master_addr,
        master_port=master_port,
        log_dir=site.log_dir,
        processes=(spec,),
        files=(PlannedFile(file_of(site.run_dir), hostfile(cluster), kind="text"),) if hosts.ours else (),
        trail=(*topology.trail, "mode mpirun: asked for"),
        notes=(*notes, f"OpenMPI {mpirun.major}: {mpirun.path}"),
        warnings=(*topology.warnings, *warnings),
        rank_logs=() if own_files else tuple((rank, names.rank(rank, local[rank])) for rank in range(here)),
        part=cluster.part,
    )


def _bound(
    settings: Settings, topology: Topology, hosts: Hosts, site: Site, own_words: Collection[str]
) -> tuple[list[ProcessSpec], list[str], tuple[str, ...]]:
    """The ranks of this host with their CPUs, as in every mode: OpenMPI's own binding knows nothing of NPUs."""
    if site.processors is None:
        return [], [], ()
    useless = f"--bind {settings.bind} has no effect"
    if _any(own_words, *_BINDING):
        return [], [], (f"{useless}: --mpi-args says where ranks run",)
    if len(hosts.slots) > 1:
        flags = "--map-by slot:PE=4 --bind-to core" if settings.bind == "cores" else "--bind-to numa"
        return [], [], (f"{useless}: ranks of several hosts only mpirun can bind; pass --mpi-args={flags!r}",)
    from ma2l.plan.binding import bind_ranks  # rarely wanted

    devices = topology.cluster.own.devices
    ranks = [ProcessSpec("rank", (), "", {}, None, rank=place) for place in range(len(devices))]
    ids = [device.device_id for device in devices]
    bound, notes, warnings = bind_ranks(ranks, settings.bind, site.processors, ids, site.environ, "mpirun")
    shown = ", ".join(f"{spec.rank}: {cpulist.text(spec.cpus)}" for spec in bound)
    return bound, [*notes, f"CPUs of each rank: {shown}"], warnings


def file_of(run_dir: str) -> str:
    """Path of the hostfile."""
    return f"{run_dir}/hostfile"


def _meeting_point(settings: Settings, topology: Topology, site: Site, several: bool) -> tuple[str, int]:
    """Address and port for frameworks that meet by themselves; one host alone takes a free port."""
    address = settings.master_addr or topology.master or ("" if several else "127.0.0.1")
    if not address:
        raise ConfigError("tell ranks where rank 0 is", "no variable or table names it", "pass --master-addr")
    asked = settings.master_port or port_in(site.environ, "MASTER_PORT")
    return address, asked or (torch.DEFAULT_PORT if several else site.ports[0])
