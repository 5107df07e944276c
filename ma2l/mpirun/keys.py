"""Puts the keys for ssh between the nodes of a job into the run's directory; nothing is left of them after the run.

Source: ssh-keygen(1): ``-y`` prints the public half of a key, ``-s`` signs with it, ``-h`` makes that a host's.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping

from ma2l import site
from ma2l.ascend import tool
from ma2l.errors import CommandNotFound, ConfigError
from ma2l.plan.mpi_nodes import PRINCIPAL

SSHD_PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/bin")


def user_name() -> str:
    """The name of this process's user, which ssh insists on.

    Raises:
        ConfigError: there is none.
    """
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        why = f"the user {os.getuid()} has no name here"
        raise ConfigError("use ssh between the nodes", why, "add it to /etc/passwd of the image") from None


def install(key_file: str, run_dir: str, environ: Mapping[str, str], host: bool) -> None:
    """Write ``key`` and ``known_hosts``, and for a node that others log in to ``host_key`` and ``authorized_keys``.

    Args:
        key_file: private key without a passphrase, the same on all nodes. Secrets are often mounted readable for all,
            which ssh refuses to use, and pasted with other line ends: it gets a copy.
        host: whether this node offers sshd.

    Raises:
        ConfigError: the file cannot be read or holds no such key.
        CommandNotFound: there is no ssh-keygen.
    """
    attempt = f"use the ssh key {key_file}"
    try:
        with open(key_file, "rb") as file:
            content = file.read()
    except OSError as error:
        raise ConfigError(attempt, str(error.strerror), "correct MA2L_SSH_KEY_FILE") from None
    site.write_file(content.replace(b"\r\n", b"\n").rstrip() + b"\n", f"{run_dir}/key", 0o600)
    public = _keygen(environ, attempt, "-y", "-P", "", "-f", f"{run_dir}/key").split()[:2]
    known = " ".join(public)
    site.write_file(f"@cert-authority {PRINCIPAL} {known}\n".encode(), f"{run_dir}/known_hosts", 0o600)
    if host:
        site.write_file(f"restrict {known}\n".encode(), f"{run_dir}/authorized_keys", 0o600)
        _keygen(environ, attempt, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", f"{run_dir}/host_key")
        sign = ("-q", "-s", f"{run_dir}/key", "-I", PRINCIPAL, "-h", "-n", PRINCIPAL, "-V", "always:forever")
        _keygen(environ, attempt, *sign, f"{run_dir}/host_key.pub")


def find_sshd(environ: Mapping[str, str]) -> str:
    """The absolute path of sshd, which insists on being called by it.

    Raises:
        CommandNotFound: there is none.
    """
    for directory in (*environ.get("PATH", os.defpath).split(":"), *SSHD_PLACES):
        path = f"{directory}/sshd"
        if os.path.isabs(path) and os.access(path, os.X_OK):
            return path
    raise CommandNotFound("let node 0 in by ssh", "there is no sshd here", "install openssh-server in the image")


def _keygen(environ: Mapping[str, str], attempt: str, *words: str) -> str:
    printed = tool.run("ssh-keygen", words, environ)
    if not printed.ran:
        raise CommandNotFound(attempt, "there is no ssh-keygen that works", "install openssh-client in the image")
    if printed.failure:
        why = f"it is no private key without a passphrase ({tool.telling_line(printed.text)})"
        raise ConfigError(attempt, why, "make one with: ssh-keygen -t ed25519 -N '' -f FILE")
    return printed.text
