"""Several nodes with the same boot command in mode mpirun: what sshd allows, how ssh goes, who runs what."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ma2l.cluster import Cluster, Device, Node
from ma2l.errors import CommandNotFound, ConfigError
from ma2l.mpirun import keys
from ma2l.plan import mpi_nodes
from ma2l.plan.mpi_nodes import Access
from ma2l.settings import Settings

ACCESS = Access("/tmp/ma2l-RUN", "ma-user", 22022)


def options(text: bytes) -> dict[str, str]:
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in text.decode().splitlines()}


def test_sshd_lets_one_key_of_one_user_in_and_every_login_runs_our_program() -> None:
    config = mpi_nodes.sshd_config(ACCESS, "/usr/bin/python 3", "/opt/session.py")
    found = options(config.content)
    assert config.path == "/tmp/ma2l-RUN/sshd_config"
    assert (found["Port"], found["AllowUsers"], found["UsePAM"]) == ("22022", "ma-user", "no")
    assert found["AuthorizedKeysFile"] == '"/tmp/ma2l-RUN/authorized_keys"'
    assert found["AuthenticationMethods"] == "publickey"
    assert found["ForceCommand"] == "'/usr/bin/python 3' -I /opt/session.py /tmp/ma2l-RUN"
    assert {found[name] for name in ("PermitTTY", "PasswordAuthentication", "PermitUserEnvironment")} == {"no"}
    assert found["DisableForwarding"] == "yes"


def test_ssh_trusts_nobody_but_who_has_the_key_and_asks_nobody() -> None:
    found = options(mpi_nodes.ssh_config(ACCESS).content)
    assert (found["User"], found["Port"], found["BatchMode"]) == ("ma-user", "22022", "yes")
    assert (found["StrictHostKeyChecking"], found["HostKeyAlias"]) == ("yes", "ma2l")
    assert found["UserKnownHostsFile"] == '"/tmp/ma2l-RUN/known_hosts"'
    assert int(found["ServerAliveInterval"]) * int(found["ServerAliveCountMax"]) == 60


def test_both_versions_of_mpirun_go_the_same_way() -> None:
    env = mpi_nodes.head_env(ACCESS)
    agents = {value for name, value in env.items() if name.endswith("_agent")}
    assert agents == {"ssh -F /tmp/ma2l-RUN/ssh_config"}
    assert {name.partition("_MCA_")[0] for name in env} == {"OMPI", "PRTE"}


def test_who_runs_what() -> None:
    nodes = tuple(Node(rank, f"h{rank}", f"h{rank}", (Device(rank, 0),), (f"h{rank}",)) for rank in range(3))
    hosts = mpi_nodes.other_hosts(Cluster(nodes, 0))
    assert hosts == ["h1", "h2"]
    words = mpi_nodes.head(ACCESS, ("python", "head"), 600, hosts, ("mpirun", "-n", "3", "--", "x"))
    assert words == ("python", "head", "/tmp/ma2l-RUN", "600", "h1", "h2", "--", "mpirun", "-n", "3", "--", "x")
    other = mpi_nodes.host(ACCESS, ("python", "host"), 600, "/usr/sbin/sshd")
    assert other == ("python", "host", "/tmp/ma2l-RUN", "600", "22022", "/usr/sbin/sshd")


def test_the_nodes_wait_as_long_as_asked() -> None:
    assert mpi_nodes.patience(Settings()) == 600
    assert mpi_nodes.patience(Settings(cluster_timeout=7)) == 7


def test_without_a_key_it_is_said_what_to_set() -> None:
    with pytest.raises(ConfigError, match=r"cannot run mpirun over 3 nodes: .*; set MA2L_SSH_KEY_FILE"):
        mpi_nodes.required_key(Settings(), 3)
    assert mpi_nodes.required_key(Settings(ssh_key_file="/k"), 3) == "/k"


def test_keys_of_another_node(tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    key.write_bytes(key.read_bytes().replace(b"\n", b"\r\n").rstrip())  # as a secret that was pasted somewhere
    public = " ".join((tmp_path / "key.pub").read_text().split()[:2])
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    keys.install(str(key), str(run_dir), os.environ, host=True)
    assert (run_dir / "authorized_keys").read_text() == f"restrict {public}\n"
    assert (run_dir / "known_hosts").read_text() == f"@cert-authority ma2l {public}\n"
    assert {path.stat().st_mode & 0o077 for path in run_dir.iterdir() if path.suffix != ".pub"} == {0}
    shown = subprocess.run(
        ["ssh-keygen", "-L", "-f", str(run_dir / "host_key-cert.pub")], capture_output=True, text=True, check=True
    ).stdout
    assert "host certificate" in shown
    assert "Valid: forever" in shown


def test_keys_of_node_0_are_less(tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(key)], check=True)
    (tmp_path / "run").mkdir()
    keys.install(str(key), str(tmp_path / "run"), os.environ, host=False)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["key", "known_hosts"]


def test_sshd_is_found_where_path_does_not_lead(tmp_path: Path) -> None:
    sshd = tmp_path / "sshd"
    sshd.write_text("#!/bin/sh\n")
    sshd.chmod(0o755)
    assert keys.find_sshd({"PATH": f"relative:{tmp_path}"}) == str(sshd)
    assert os.path.isabs(keys.find_sshd({"PATH": "/nowhere"}))


def test_an_image_without_sshd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "SSHD_PLACES", ())
    with pytest.raises(CommandNotFound, match="install openssh-server"):
        keys.find_sshd({"PATH": "/nowhere"})
