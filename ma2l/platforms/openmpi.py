"""What a rank under OpenMPI's mpirun knows of the others without talking to them. Pure.

Sources: environments seen in ranks of OpenMPI 4.1.4 and 5.0, on one host and on two. ``PMIX_NAMESPACE`` is the same in
all ranks of one mpirun and in no other. In 4.1 ``OMPI_MCA_orte_hnp_uri`` is the same in all of them as well: where
mpirun itself listens, ``<jobid>.0;tcp://<IP>[,<IP>...]:<port>[;tcp6://[<IP>]:<port>]``, and
``OMPI_MCA_orte_local_daemon_uri`` equals it exactly on mpirun's host. 5.0 tells its ranks of their own host only.
"""

from __future__ import annotations

import os

from ma2l.errors import ConfigError
from ma2l.platforms.base import Environ, whole_number
from ma2l.platforms.master import is_loopback

LOOPBACK = "127.0.0.1"
_ATTEMPT = "tell ranks of mpirun where rank 0 is"
_SAY = "pass --master-addr with an address of rank 0's host"


def rank(environ: Environ) -> int:
    """The own rank."""
    return _number(environ, "OMPI_COMM_WORLD_RANK")


def size(environ: Environ) -> int:
    """The number of ranks."""
    return _number(environ, "OMPI_COMM_WORLD_SIZE")


def local_rank(environ: Environ) -> int:
    """The own place among the ranks of this host."""
    return _number(environ, "OMPI_COMM_WORLD_LOCAL_RANK")


def on_one_host(environ: Environ) -> bool:
    """Whether all ranks run on this host."""
    return environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == environ["OMPI_COMM_WORLD_SIZE"]


def hosts(environ: Environ) -> int:
    """The number of hosts, 0 where this OpenMPI does not tell."""
    return 1 if on_one_host(environ) else _number(environ, "OMPI_MCA_orte_num_nodes", "0")


def common_port(environ: Environ) -> int:
    """A port that all ranks of one mpirun compute alike; it and the next one are below the ephemeral range."""
    import zlib

    return 20000 + zlib.crc32(os.fsencode(environ.get("PMIX_NAMESPACE", ""))) % 10000


def host_of_rank_0(asked: str | None, environ: Environ) -> str:
    """Name or address of rank 0's host, the same in all ranks.

    OpenMPI names only mpirun's own host, where rank 0 usually is. The other ranks rely on that; rank 0 sees whether it
    is true, and when it is not, its failure ends them all.

    Args:
        asked: the option ``--master-addr``.

    Raises:
        ConfigError: it is not certain.
    """
    if on_one_host(environ):
        return asked or LOOPBACK
    host = asked or environ.get("MASTER_ADDR")
    if host:
        if is_loopback(host):
            raise ConfigError(f"use {host} as the address of rank 0", "other hosts cannot reach it", _SAY)
        return host
    mpirun = environ.get("OMPI_MCA_orte_hnp_uri", "")
    addresses = _addresses(mpirun)
    if not addresses:
        raise ConfigError(_ATTEMPT, "there are several hosts, and this OpenMPI does not name mpirun's", _SAY)
    if len(addresses) > 1:
        why = f"mpirun's host has several addresses ({', '.join(addresses)})"
        raise ConfigError(_ATTEMPT, why, f"{_SAY}, or -mca oob_tcp_if_include INTERFACE to mpirun")
    if rank(environ) == 0 and environ.get("OMPI_MCA_orte_local_daemon_uri") != mpirun:
        raise ConfigError(_ATTEMPT, "it is not on mpirun's host", _SAY)
    return addresses[0]


def _addresses(uri: str) -> tuple[str, ...]:
    """The IPv4 addresses in the URI of a daemon, or where there is none the IPv6 ones."""
    parts = dict(part.split("://", 1) for part in uri.split(";") if "://" in part)
    if "tcp" in parts:
        return tuple(parts["tcp"].partition(":")[0].split(","))
    inside = parts.get("tcp6", "").partition("[")[2].partition("]")[0]
    return tuple(inside.split(",")) if inside else ()


def _number(environ: Environ, name: str, default: str = "") -> int:
    return whole_number(name, environ.get(name, default))
