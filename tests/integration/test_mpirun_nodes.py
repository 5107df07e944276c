"""Two nodes that run the same ``ma2l --mode mpirun CMD``: real mpirun and sshd, an address and a /tmp for each node."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ma2l.linux import processes
from tests.integration.harness import PATIENCE, Finished, Running, assert_nothing_left, until
from tests.integration.network import Host, two_hosts

Script = Callable[..., str]
Network = tuple[Host, Host]
PLACES = {
    4: shutil.which("mpirun") or "",
    5: str(Path(__file__).parents[2] / ".venv-openmpi5" / "bin" / "mpirun"),
}

TELL = """\
{
    ip -4 -brief address show dev cable
    echo "task $VC_TASK_INDEX word $WORD table $RANK_TABLE_FILE"
} > "rank.$RANK.part"
echo "here is rank $RANK"
mv "rank.$RANK.part" "rank.$RANK"
"""
WAIT_FOR_ALL = "until test -e rank.0 && test -e rank.1 && test -e rank.2 && test -e rank.3; do sleep 0.05; done\n"
OWN_FILES = (
    "unshare",
    "--mount",
    "sh",
    "-c",
    'mount -t tmpfs tmpfs "$TMPDIR" && mount -t tmpfs tmpfs /run && exec "$@"',
    "sh",
)
"""As the nodes of a job have them: what node 0 keeps in /tmp the others do not see; and sshd's directory in /run."""
STAY = TELL + "exec sleep 3600\n"


@pytest.fixture(params=PLACES)
def path(request: pytest.FixtureRequest) -> str:
    """A ``PATH`` on which mpirun is of either version."""
    mpirun = PLACES[request.param]
    if not os.path.exists(mpirun):
        pytest.skip(f"no OpenMPI {request.param}: apt-get install openmpi-bin, make openmpi5")
    return f"{os.path.dirname(mpirun)}:{os.environ['PATH']}"


@pytest.fixture
def network() -> Iterator[Network]:
    with two_hosts() as hosts:
        yield hosts


@pytest.fixture
def key(tmp_path: Path) -> str:
    """A key as a platform mounts it: readable for all, which ssh itself would not take."""
    return make_key(tmp_path / "secret" / "key")


def make_key(path: Path, passphrase: str = "") -> str:
    path.parent.mkdir(exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)], check=True)
    path.chmod(0o444)
    return str(path)


def start(here: str, network: Network, node: int, key: str, *words: str, **more: str) -> Running:
    """The boot command on one node of a ModelArts job with two NPUs each."""
    Path(here, "tmp").mkdir(exist_ok=True)
    env = {
        "MA_VJ_NAME": "job",
        "MA_NUM_GPUS": "2",
        "ASCEND_VISIBLE_DEVICES": "0,1",
        "VC_WORKER_HOSTS": ",".join(each.address for each in network),
        "VC_TASK_INDEX": str(node),
        "MA_LOG_DIR": f"{here}/logs",
        "TMPDIR": f"{here}/tmp",
        "MA2L_SSH_KEY_FILE": key,
        **more,
    }
    return Running("--mode", "mpirun", *words, cwd=here, env=env, before=(*network[node].enter, *OWN_FILES))


def ended(*nodes: Running) -> list[Finished]:
    """Wait until all nodes have ended, and nothing is left of any."""
    results = []
    for running in nodes:
        out, err = running.process.communicate(timeout=PATIENCE)
        print(out, err)
        results.append(Finished(processes.exit_code(running.process.returncode), out, err))
    assert_nothing_left()
    return results


def both(here: str, network: Network, key: str, *words: str, **more: str) -> list[Finished]:
    """Run the same on both nodes to the end."""
    with start(here, network, 0, key, *words, **more) as first, start(here, network, 1, key, *words, **more) as second:
        return ended(first, second)


def all_ranks_run(here: str) -> bool:
    return all(Path(here, f"rank.{rank}").exists() for rank in range(4))


def test_ranks_run_on_both_nodes(here: str, network: Network, key: str, script: Script, path: str) -> None:
    results = both(here, network, key, script(TELL), PATH=path, WORD="two words", RANK_TABLE_FILE_V_1_0="")
    assert [result.code for result in results] == [0, 0]
    for rank in range(4):
        told = Path(here, f"rank.{rank}").read_text()
        assert network[rank // 2].address in told
        assert f"task {rank // 2} word two words table \n" in told
    assert "node 0 has ended with exit code 0" in results[1].err + results[1].out
    assert "here is rank 0" in results[0].out
    assert "here is rank 3" in results[0].out


@pytest.mark.parametrize("rank", [0, 3])
def test_both_nodes_leave_with_the_code_of_the_rank_that_failed(
    here: str, network: Network, key: str, script: Script, path: str, rank: int
) -> None:
    program = script(f"{TELL}{WAIT_FOR_ALL}test $RANK = {rank} && exit 3\nexec sleep 3600")
    assert [result.code for result in both(here, network, key, program, PATH=path)] == [3, 3]


@pytest.mark.parametrize("form", ["none", "missing", "no key", "passphrase"])
def test_without_a_usable_key_no_node_starts(here: str, network: Network, tmp_path: Path, form: str) -> None:
    (tmp_path / "text").write_text("no key\n")
    locked = make_key(tmp_path / "locked" / "key", "passphrase")
    key = {"none": "", "missing": f"{here}/nowhere", "no key": f"{here}/text", "passphrase": locked}[form]
    why = {
        "none": "cannot run mpirun over 2 nodes: they have no key in common",
        "missing": "No such file or directory; correct MA2L_SSH_KEY_FILE",
    }.get(form, "it is no private key without a passphrase")
    for result in both(here, network, key, "true"):
        assert result.code == 78
        assert why in result.err


def test_a_node_that_does_not_come_is_named(here: str, network: Network, key: str) -> None:
    with start(here, network, 0, key, "--cluster-timeout", "5", "true") as first:
        (result,) = ended(first)
    assert result.code == 203
    assert f"cannot start mpirun: after 5 s it cannot log in to node 1 ({network[1].address}): " in result.err
    assert "Connection refused" in result.err


def test_nodes_that_came_are_told_of_one_that_did_not(here: str, network: Network, key: str) -> None:
    hosts = ",".join((*(host.address for host in network), "10.77.0.3"))
    words = ("--cluster-timeout", "8", "true")
    with (
        start(here, network, 1, key, *words, VC_WORKER_HOSTS=hosts) as second,
        start(here, network, 0, key, *words, VC_WORKER_HOSTS=hosts) as first,
    ):
        results = ended(first, second)
    assert [result.code for result in results] == [203, 203]
    assert "cannot log in to node 2 (10.77.0.3): " in results[0].err + results[0].out
    assert "node 0 has ended with exit code 203" in results[1].err + results[1].out


def test_a_node_0_that_does_not_come_is_not_waited_for(here: str, network: Network, key: str) -> None:
    with start(here, network, 1, key, "--cluster-timeout", "2", "true") as second:
        (result,) = ended(second)
    assert result.code == 203
    assert "cannot serve node 0: it did not come within 2 s" in result.err + result.out


def test_a_node_with_another_key_is_neither_let_in_nor_trusted(
    here: str, network: Network, key: str, tmp_path: Path
) -> None:
    other = make_key(tmp_path / "other" / "key")
    with start(here, network, 0, key, "true") as first, start(here, network, 1, other, "true") as second:
        until(lambda: said(here, 0, "Host key verification failed") or first.process.poll() is not None)
        first.send(signal.SIGTERM)
        second.send(signal.SIGTERM)
        assert [result.code for result in ended(first, second)] == [143, 143]


def test_a_port_that_is_taken_is_said_at_once(here: str, network: Network, key: str) -> None:
    words = ("--ssh-port", "22022", "--cluster-timeout", "600", "true")
    with (
        start(here, network, 1, key, *words) as holder,
        start(here, network, 1, key, *words, MA_LOG_DIR=f"{here}/other") as second,
    ):
        until(lambda: holder.process.poll() is not None or second.process.poll() is not None)
        loser, winner = (holder, second) if holder.process.poll() is not None else (second, holder)
        winner.send(signal.SIGTERM)
        results = ended(loser, winner)
    assert [result.code for result in results] == [199, 143]
    assert "cannot offer sshd on port 22022: it has ended" in results[0].err + results[0].out


def test_a_stopped_node_0_stops_all(here: str, network: Network, key: str, script: Script, path: str) -> None:
    program = script(STAY)
    with (
        start(here, network, 0, key, program, PATH=path) as first,
        start(here, network, 1, key, program, PATH=path) as second,
    ):
        until(lambda: all_ranks_run(here))
        first.send(signal.SIGTERM)
        assert [result.code for result in ended(first, second)] == [143, 143]


def test_a_stopped_other_node_ends_the_job(here: str, network: Network, key: str, script: Script, path: str) -> None:
    program = script(STAY)
    with (
        start(here, network, 0, key, program, PATH=path) as first,
        start(here, network, 1, key, program, PATH=path) as second,
    ):
        until(lambda: all_ranks_run(here))
        second.send(signal.SIGTERM)
        results = ended(first, second)
    assert results[0].code != 0
    assert results[1].code == 143


@pytest.mark.parametrize(("node", "sign"), [(0, "waiting up to 600 s"), (1, "offering sshd on port")])
def test_a_stop_before_anybody_came(here: str, network: Network, key: str, node: int, sign: str) -> None:
    with start(here, network, node, key, "true") as running:
        until(lambda: said(here, node, sign))
        running.send(signal.SIGTERM)
        assert [result.code for result in ended(running)] == [143]


def test_a_login_with_another_key_is_refused(here: str, network: Network, key: str, tmp_path: Path) -> None:
    other = tmp_path / "other" / "key"
    make_key(other)
    other.chmod(0o400)
    words = ["ssh", "-F", "none", "-p", "22022", "-i", str(other), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]
    words += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", network[1].address, "touch in"]
    with start(here, network, 1, key, "true") as running:
        until(lambda: listens(network[1]) or running.process.poll() is not None)
        refused = subprocess.run([*network[0].enter, *words], cwd=here, capture_output=True, text=True, check=False)
        running.send(signal.SIGTERM)
        assert [result.code for result in ended(running)] == [143]
    assert "Permission denied (publickey)" in refused.stderr
    assert not Path(here, "in").exists()


def listens(host: Host) -> bool:
    """Whether sshd's port is open on the host."""
    shown = subprocess.run([*host.enter, "cat", "/proc/net/tcp"], capture_output=True, text=True, check=True).stdout
    return any(line.split()[1].endswith(f":{22022:04X}") for line in shown.splitlines()[1:])


def said(here: str, node: int, text: str) -> bool:
    log = Path(here, f"logs/node{node}.txt")
    return log.exists() and text in log.read_text()


def test_a_killed_node_0_ends_the_other(here: str, network: Network, key: str, script: Script) -> None:
    program = script(STAY)
    with start(here, network, 0, key, program) as first, start(here, network, 1, key, program) as second:
        until(lambda: all_ranks_run(here))
        os.kill(first.launcher, signal.SIGKILL)
        results = ended(first, second)
    assert [result.code for result in results] == [137, 203]
    assert "cannot serve node 0: it is gone, and has not said how it ended" in results[1].err + results[1].out


def test_a_killed_other_node_ends_the_job(here: str, network: Network, key: str, script: Script, path: str) -> None:
    program = script(STAY)
    with (
        start(here, network, 0, key, program, PATH=path) as first,
        start(here, network, 1, key, program, PATH=path) as second,
    ):
        until(lambda: all_ranks_run(here))
        os.kill(second.launcher, signal.SIGKILL)
        results = ended(first, second)
    assert results[0].code not in (0, 137)
    assert results[1].code == 137
