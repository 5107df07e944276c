"""Several nodes that all run the same ``ma2l --mode mpirun CMD``: node 0 runs mpirun, the others offer it sshd. Pure.

Every node has the same private key, from a mounted secret or a shared directory. It is the identity of node 0, the only
one that the others let in, and it signs the host key that each of them makes, so that node 0 knows them too. Nobody
without the key can be either. sshd and ssh read nothing but the files written here.

Sources: sshd_config(5), ssh_config(5) and ssh-keygen(1) of OpenSSH (certificates of hosts; 9.2 was tried);
``plm_rsh_agent`` and ``plm_rsh_no_tree_spawn`` of OpenMPI 4.1, ``plm_ssh_agent`` and ``plm_ssh_no_tree_spawn`` of 5.0.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ma2l.cluster import Cluster
from ma2l.errors import ConfigError
from ma2l.plan.dynamic_cluster import DEFAULT_TIMEOUT
from ma2l.plan.spec import EnvDiff, PlannedFile
from ma2l.records import dataclass
from ma2l.settings import Settings

PRINCIPAL = "ma2l"
"""What the certificate of every node's host key says the node is called."""
ALIVE_S = 15
"""Seconds of silence after which either side of a connection asks the other whether it is there."""
UNANSWERED, UNANSWERED_BY_CLIENT = 4, 3
"""Such questions until ssh, or sshd, gives the connection up: after a minute, or after one to two, because sshd counts
in whole seconds and often asks only every other time."""
CONNECT_S = 10
WATCH = "ma2l-watch"
"""The command by which node 0 holds a connection to another node."""
END = "ma2l-end"
"""The command by which node 0 says how it has ended; its exit code follows."""
LAST_WORD_S = 20
"""Seconds that the others wait for it when that connection has ended."""


@dataclass(frozen=True)
class Access:
    """What ssh between the nodes of a job needs."""

    run_dir: str
    """Holds ``key``, ``known_hosts``, and on nodes other than 0 ``host_key``, its certificate, ``authorized_keys``."""
    user: str
    port: int


def required_key(settings: Settings, nodes: int) -> str:
    """The file with the key.

    Raises:
        ConfigError: none is named.
    """
    if settings.ssh_key_file:
        return settings.ssh_key_file
    raise ConfigError(
        f"run mpirun over {nodes} nodes",
        "they have no key in common, and there is no safe channel to make one up",
        "set MA2L_SSH_KEY_FILE to a private key that all nodes see (a mounted secret or a shared directory)",
    )


def patience(settings: Settings) -> int:
    """Seconds that the nodes wait for each other."""
    return settings.cluster_timeout or DEFAULT_TIMEOUT


def other_hosts(cluster: Cluster) -> list[str]:
    """Name or address of every node but the first, in the order of node ranks."""
    return [node.addresses[0] for node in cluster.nodes[1:]]


def head(
    access: Access, program: Sequence[str], limit: int, hosts: Sequence[str], mpirun: Sequence[str]
) -> tuple[str, ...]:
    """The command of node 0: mpirun, once all others answer.

    Args:
        program: starts ``ma2l.mpirun.head``.
    """
    return (*program, access.run_dir, str(limit), *hosts, "--", *mpirun)


def host(access: Access, program: Sequence[str], limit: int, sshd: str) -> tuple[str, ...]:
    """The command of every other node.

    Args:
        program: starts ``ma2l.mpirun.host``.
    """
    return (*program, access.run_dir, str(limit), str(access.port), sshd)


def head_env(access: Access) -> EnvDiff:
    """Makes mpirun of either version reach the others as we do, and all from here: they cannot reach each other.

    Its daemons stay in the ssh session that started them: whoever of the two ends, the other end sees it.
    """
    agent = f"ssh -F {ssh_config(access).path}"
    return {
        "OMPI_MCA_plm_rsh_agent": agent,
        "OMPI_MCA_plm_rsh_no_tree_spawn": "1",
        "OMPI_MCA_orte_leave_session_attached": "1",
        "PRTE_MCA_plm_ssh_agent": agent,
        "PRTE_MCA_plm_ssh_no_tree_spawn": "1",
        "PRTE_MCA_prte_leave_session_attached": "1",
    }


def ssh_config(access: Access) -> PlannedFile:
    """How node 0 reaches the others."""
    where = access.run_dir
    lines = (
        *(f"User {access.user}", f"Port {access.port}", f'IdentityFile "{where}/key"', "IdentitiesOnly yes"),
        *("IdentityAgent none", f'UserKnownHostsFile "{where}/known_hosts"', "GlobalKnownHostsFile /dev/null"),
        *(f"HostKeyAlias {PRINCIPAL}", "StrictHostKeyChecking yes", "CheckHostIP no", "BatchMode yes"),
        *("PreferredAuthentications publickey", f"ConnectTimeout {CONNECT_S}", "ControlPath none", "ProxyCommand none"),
        *(f"ServerAliveInterval {ALIVE_S}", f"ServerAliveCountMax {UNANSWERED}", "LogLevel ERROR"),
        *("ForwardAgent no", "ForwardX11 no", "ClearAllForwardings yes"),
    )
    return _text(f"{where}/ssh_config", lines)


def sshd_config(access: Access, python: str, session: str) -> PlannedFile:
    """What another node's sshd allows: one user with one key, and no command but through ``session``.

    Args:
        session: path of the program that every login runs.
    """
    where = access.run_dir
    force = shlex.join((python, "-I", session, where))
    lines = (
        *(f"Port {access.port}", "PidFile none", f'HostKey "{where}/host_key"'),
        *(f'HostCertificate "{where}/host_key-cert.pub"', f'AuthorizedKeysFile "{where}/authorized_keys"'),
        # Our directory is 0700; the check would look at its parents too, and everybody may write to /tmp.
        *("StrictModes no", f"AllowUsers {access.user}", "PermitRootLogin prohibit-password", "UsePAM no"),
        *("AuthenticationMethods publickey", "PasswordAuthentication no", "KbdInteractiveAuthentication no"),
        *("DisableForwarding yes", "PermitTTY no", "PermitTunnel no", "PermitUserRC no", "PermitUserEnvironment no"),
        *(
            f"ClientAliveInterval {ALIVE_S}",
            f"ClientAliveCountMax {UNANSWERED_BY_CLIENT}",
            "LogLevel ERROR",
            "PrintMotd no",
        ),
        f"ForceCommand {force}",
    )
    return _text(f"{where}/sshd_config", lines)


def _text(path: str, lines: Sequence[str]) -> PlannedFile:
    return PlannedFile(path, "".join(f"{line}\n" for line in lines).encode(), kind="text")
