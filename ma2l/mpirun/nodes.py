"""The nodes of a job that all run the same ``ma2l --mode mpirun CMD``: who does what, and the keys for it.

Node 0 reaches the others by ssh and runs mpirun; the others let it in and leave with its exit code. Nobody waits for
ever: each side gives the other ``--cluster-timeout`` to come, and later two minutes to be heard of.
"""

from __future__ import annotations

import os
import sys
from functools import partial

from ma2l.cluster import Cluster
from ma2l.execution import Prepared
from ma2l.linux.wait import Waiter
from ma2l.mpirun import keys
from ma2l.plan import mpi_nodes, openmpi
from ma2l.plan.child import run_module
from ma2l.plan.make import names_of, shared_env
from ma2l.plan.spec import Plan, ProcessSpec, Site
from ma2l.platforms.topology import Topology
from ma2l.records import replace
from ma2l.settings import Settings
from ma2l.supervise.system import find_program

_HERE = os.path.dirname(os.path.abspath(__file__))


def reach(prepared: Prepared, settings: Settings, cluster: Cluster, here: Site, waiter: Waiter) -> Prepared:
    """Node 0: the plan of an mpirun that waits for the other nodes first, and what tells them of the end.

    Args:
        prepared: mpirun as if it could reach them.

    Raises:
        ConfigError: there is no key that can be used.
        CommandNotFound: there is no ssh here.
    """
    access = _access(settings, here, len(cluster.nodes), host=False)
    find_program("ssh", here.environ.get("PATH", os.defpath))
    config = mpi_nodes.ssh_config(access)
    hosts = mpi_nodes.other_hosts(cluster)
    (spec,) = prepared.plan.processes
    argv = mpi_nodes.head(access, _program("head"), mpi_nodes.patience(settings), hosts, spec.argv)
    spec = replace(spec, argv=argv, program=sys.executable, env={**spec.env, **mpi_nodes.head_env(access)})
    plan = replace(prepared.plan, processes=(spec,), files=(*prepared.plan.files, config))
    from ma2l.mpirun import farewell

    return replace(prepared, plan=plan, at_end=partial(farewell.tell, hosts=hosts, config=config.path, waiter=waiter))


def let_in(settings: Settings, found: Topology, here: Site) -> Prepared:
    """Another node: the plan of a node that serves node 0.

    Raises:
        ConfigError: there is no key that can be used.
        CommandNotFound: there is no sshd here.
    """
    cluster, names = found.cluster, names_of(settings, found, here)
    access = _access(settings, here, len(cluster.nodes), host=True)
    sshd = keys.find_sshd(here.environ)
    env, notes = shared_env(here, len(cluster.own.devices))
    unset = {name: None for name, value in openmpi.environment(cluster, "", 0).items() if value is None}
    argv = mpi_nodes.host(access, _program("host"), mpi_nodes.patience(settings), sshd)
    plan = Plan(
        run_id=here.run_id,
        mode="mpirun",
        node_rank=cluster.node_rank,
        nodes=len(cluster.nodes),
        world_size=cluster.world_size,
        master_addr=found.master,
        master_port=access.port,
        log_dir=here.log_dir,
        processes=(ProcessSpec("once", argv, sys.executable, {**env, **unset}, names.once()),),
        files=(mpi_nodes.sshd_config(access, sys.executable, f"{_HERE}/session.py"),),
        trail=(*found.trail, "mode mpirun: asked for; node 0 starts the ranks of this node"),
        notes=tuple(notes),
        warnings=found.warnings,
    )
    return Prepared(plan, here.environ, names)


def _access(settings: Settings, here: Site, nodes: int, host: bool) -> mpi_nodes.Access:
    """How the nodes reach each other, the keys for it in place."""
    key_file = mpi_nodes.required_key(settings, nodes)
    access = mpi_nodes.Access(here.run_dir, keys.user_name(), settings.ssh_port)
    keys.install(key_file, here.run_dir, here.environ, host)
    return access


def _program(name: str) -> tuple[str, ...]:
    """Starts a module beside this one, with this interpreter and this ma2l."""
    return (sys.executable, "-I", *run_module(f"mpirun.{name}"))
