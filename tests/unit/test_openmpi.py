"""Hosts, command line per version of OpenMPI, and the shell around each rank, which runs here without an mpirun."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ma2l.ascend.topo import Affinity
from ma2l.cluster import Cluster, Device, Node
from ma2l.diagnose.outcome import Outcome, ProcessEnd
from ma2l.errors import ConfigError
from ma2l.mpirun import flags_of, listed_hosts
from ma2l.mpirun.ranks import judged
from ma2l.plan import mpi_rank, openmpi
from ma2l.plan.binding import Processors
from ma2l.plan.openmpi import Hosts, Mpirun
from ma2l.plan.spec import Plan, ProcessSpec, Site
from ma2l.platforms import rank
from ma2l.platforms.topology import Topology
from ma2l.platforms.visible import Visible
from ma2l.records import replace
from ma2l.settings import Settings, split
from tests.unit.scenario import TRAIN, find, mock_nodes

ONE = Hosts(("--hostfile", "/run/hostfile"), (2,), ours=True)
TWO = Hosts(("-H", "a:2,b:2"), (2, 2), ours=False)


def cluster(*sizes: int, named: bool = True) -> Cluster:
    nodes, first = [], 0
    for number, size in enumerate(sizes):
        devices = tuple(Device(first + i, i) for i in range(size))
        nodes.append(Node(number, f"n{number}", f"n{number}", devices, (f"10.0.0.{number}",) if named else ()))
        first += size
    return Cluster(tuple(nodes), 0)


def words(major: int, hosts: Hosts = ONE, root: bool = False, **options: Any) -> str:
    mpirun = Mpirun("/usr/bin/mpirun", major, root)
    environ = {"PATH": "/bin", "HOME": "/root", "SSH_TTY": "x", "BASH_FUNC_f%%": "x", "DATA": "d"}
    env = {"WORLD_SIZE": "4", "RANK": None}
    return " ".join(openmpi.arguments(mpirun, Settings(**options), hosts, environ, env, "/run"))


def test_one_host() -> None:
    common = "/usr/bin/mpirun -n 2 --hostfile /run/hostfile --map-by slot --bind-to none"
    assert words(4) == f"{common} --mca orte_local_tmpdir_base /run"
    assert words(5) == f"{common} --prtemca prte_local_tmpdir_base /run"


def test_an_unknown_version_gets_the_flags_of_the_newest_known() -> None:
    assert words(6) == words(5)


def test_several_hosts_get_the_environment_and_pass_the_stop_on() -> None:
    tail = "-x DATA -x PATH -x WORLD_SIZE"
    common = "/usr/bin/mpirun -n 4 -H a:2,b:2 --map-by slot --bind-to none"
    assert words(4, TWO) == (
        f"{common} --mca orte_local_tmpdir_base /run --tag-output --mca ess_base_forward_signals SIGURG {tail}"
    )
    assert words(5, TWO) == (
        f"{common} --prtemca prte_local_tmpdir_base /run --output tag --prtemca prte_forward_signals SIGURG {tail}"
    )


def test_root_is_allowed_only_where_the_user_is_root() -> None:
    assert words(4, root=True).startswith("/usr/bin/mpirun --allow-run-as-root -n 2 ")
    assert words(4, root=True, mpi_args="--allow-run-as-root").count("--allow-run-as-root") == 1


def test_the_users_own_flags_win() -> None:
    made = words(4, TWO, mpi_args="-bind-to core --map-by=ppr:1:socket --output-filename 'a b'")
    assert made.endswith(" -bind-to core --map-by=ppr:1:socket --output-filename a b")
    assert "--bind-to none" not in made
    assert "--map-by slot" not in made
    assert "--tag-output" not in made


def test_one_dash_is_doubled_for_5_alone() -> None:
    text = "-bind-to none -mca a -b -x y"
    assert openmpi.extra_words(Settings(mpi_args=text), 4) == tuple(text.split())
    assert openmpi.extra_words(Settings(mpi_args=text), 5) == tuple(text.replace("-bind-to", "--bind-to").split())


@pytest.mark.parametrize("flag", ["-n 4", "-np 4", "--np 4", "-H a:4", "--host a:4", "--hostfile F", "-hostfile=F"])
def test_how_many_ranks_there_are_is_not_for_mpi_args(flag: str) -> None:
    with pytest.raises(ConfigError, match="how many ranks there are, and where; pass -H, --hostfile or --nproc"):
        words(4, mpi_args=flag)


def test_mpi_args_that_are_no_shell_text() -> None:
    with pytest.raises(ConfigError, match="No closing quotation; quote it as for a shell"):
        words(4, mpi_args="--x 'y")


def test_hostfile() -> None:
    assert openmpi.hostfile(cluster(3)) == b"localhost slots=3\n"
    assert openmpi.hostfile(cluster(3, 2)) == b"10.0.0.0 slots=3\n10.0.0.1 slots=2\n"
    with pytest.raises(ConfigError, match="no name or address of node 0 is known; pass -H or --hostfile"):
        openmpi.hostfile(cluster(1, 1, named=False))


@pytest.mark.parametrize(
    ("text", "hosts"),
    [("a:8,b:8", [("a", 8), ("b", 8)]), ("a", [("a", 1)]), (" a:2 , b ", [("a", 2), ("b", 1)])],
)
def test_hosts_on_the_command_line(text: str, hosts: list[tuple[str, int]]) -> None:
    assert openmpi.parse_hosts(text, None) == hosts
    assert split(["-H", text, "-n"][:2])[0] == {"host": text}


@pytest.mark.parametrize("text", ["", "a:", "a:0", ":8", "a:x", "a:8,", "a:-1", "a:²"])
def test_hosts_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="a host or its number of ranks is missing; write: -H a:8,b:8"):
        openmpi.parse_hosts(text, None)


def test_a_host_that_is_named_twice_is_one() -> None:
    assert listed_hosts(Settings(host="a:1,b:2,a:3")) == [("a", 4), ("b", 2)]


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({"host": "a,b:2"}, ("-H", "a:1,b:2")),
        ({"host": "a,b", "nproc_per_node": 3}, ("-H", "a:3,b:3")),
        ({"hostfile": "F"}, ("--hostfile", "F")),
        ({"hostfile": "F", "nproc_per_node": 3}, ("-H", "x:3,y:2")),
    ],
)
def test_mpirun_and_ma2l_agree_on_the_slots(
    options: dict[str, Any], flags: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("F").write_text("x slots=3\ny slots=2\n" if "nproc_per_node" not in options else "x\ny slots=2\n")
    settings = Settings(**options)
    assert flags_of(listed_hosts(settings), settings) == flags


def test_hosts_in_a_file() -> None:
    text = "# two\n\n10.0.0.1 slots=8 max_slots=9\nDEVICE2 slots = 4 # half\nthird\n"
    assert openmpi.parse_hostfile(text, "F", 2) == [("10.0.0.1", 8), ("DEVICE2", 4), ("third", 2)]
    with pytest.raises(ConfigError, match="no number of slots in 'third'; write: HOST slots=N"):
        openmpi.parse_hostfile(text, "F", None)
    with pytest.raises(ConfigError, match="it names no host"):
        openmpi.parse_hostfile("# nobody\n", "F", None)


def test_a_hostfile_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory; check the path"):
        listed_hosts(Settings(hostfile=str(tmp_path / "none")))


@pytest.fixture(params=["sh", "bash --posix", "busybox sh"])
def shell(request: pytest.FixtureRequest) -> list[str]:
    """The shells that hosts have; ``sh`` is dash where this was written."""
    found: str = request.param
    return found.split()


def around(shell: list[str], tmp_path: Path, *command: str, number: int = 0, **options: Any) -> tuple[int, str, str]:
    """Run a rank as mpirun would; returns code, output and error output."""
    asked = {"log": None, "chdir": None, "slots": (2,), "run_id": "R", "run_dir": str(tmp_path), "keep_going": False}
    env = {
        "PATH": os.environ["PATH"],
        "OMPI_COMM_WORLD_RANK": str(number),
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_LOCAL_RANK": str(number),
        "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    }
    text = mpi_rank.script(**{**asked, **options})
    done = subprocess.run(
        [*shell, "-c", text, mpi_rank.NAME, *command],
        env=env,
        input="in\n",
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_shell_translates_as_ma2l_does_under_an_mpirun(shell: list[str], tmp_path: Path) -> None:
    code, out, _ = around(shell, tmp_path, "env", number=1)
    assert code == 0
    seen = dict(line.split("=", 1) for line in out.splitlines())
    already = rank.already({name: value for name, value in seen.items() if name.startswith("OMPI_")})
    assert already is not None
    meeting = {"MASTER_ADDR", "MASTER_PORT"}  # of the whole job, from mpirun's environment
    assert {n: v for n, v in already.env.items() if n not in meeting}.items() <= seen.items()
    assert (seen["NODE_RANK"], seen["NPUS_PER_NODE"]) == ("0", "2")


@pytest.mark.parametrize(("number", "node", "size"), [(0, 0, 1), (1, 1, 3), (3, 1, 3), (4, 2, 2), (5, 2, 2)])
def test_uneven_hosts(shell: list[str], tmp_path: Path, number: int, node: int, size: int) -> None:
    _, out, _ = around(shell, tmp_path, "sh", "-c", "echo $NODE_RANK $LOCAL_WORLD_SIZE", number=number, slots=(1, 3, 2))
    assert out == f"{node} {size}\n"


@pytest.mark.parametrize(("end", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("exit 127", 127)])
@pytest.mark.parametrize("keep_going", [False, True])
def test_the_shell_tells_how_its_rank_ended(
    shell: list[str], tmp_path: Path, end: str, code: int, keep_going: bool
) -> None:
    returned, out, err = around(shell, tmp_path, "sh", "-c", f"cat; {end}", keep_going=keep_going)
    assert returned == (0 if keep_going else code)
    assert out == "in\n"
    said = f"ma2l R: rank 0 ended with exit code {code} (pid "
    assert (said in err) == (keep_going or code != 0)


def test_the_shell_writes_to_the_log_where_mpirun_is_and_to_mpirun_elsewhere(shell: list[str], tmp_path: Path) -> None:
    log = f"{tmp_path}/it's $HOME {{rank}}-{{local_rank}}.log"
    say = ("sh", "-c", "echo out; echo err >&2")
    assert around(shell, tmp_path, *say, number=1, log=log) == (0, "", "")
    assert (tmp_path / "it's $HOME 1-1.log").read_text() == "out\nerr\n"
    assert around(shell, tmp_path, *say, number=1, log=log, run_dir=f"{tmp_path}/other") == (0, "out\nerr\n", "")


def test_a_log_that_cannot_be_written_leaves_the_output_to_mpirun(shell: list[str], tmp_path: Path) -> None:
    code, out, _ = around(shell, tmp_path, "echo", "out", log=f"{tmp_path}/none/x.log")
    assert (code, out) == (0, "out\n")


def test_a_directory_that_is_missing_is_a_configuration_error(shell: list[str], tmp_path: Path) -> None:
    assert around(shell, tmp_path, "echo", "out", chdir=f"{tmp_path}/{{rank}}")[:2] == (78, "")


def test_bash_lets_a_rank_have_sigint_and_sigquit(tmp_path: Path) -> None:
    _, out, _ = around(["bash", "--posix"], tmp_path, "grep", "SigIgn", "/proc/self/status")
    assert int(out.split()[1], 16) & 0b110 == 0


def test_a_rank_is_bound_before_it_runs(shell: list[str], tmp_path: Path) -> None:
    cpu = max(os.sched_getaffinity(0))
    bound = [
        ProcessSpec("rank", (), "", {"SHARE": "1"}, None, rank=0, cpus=(0,)),
        ProcessSpec("rank", (), "", {"SHARE": "[it's]", "GONE": None}, None, rank=1, cpus=(cpu,)),
    ]
    say = ("sh", "-c", "grep Cpus_allowed_list /proc/self/status; echo $SHARE")
    code, out, err = around(shell, tmp_path, *say, number=1, bound=bound)
    assert (code, out, err) == (0, f"Cpus_allowed_list:\t{cpu}\n[it's]\n", "")
    _, out, err = around(shell, tmp_path, "echo", "here", number=1, bound=bound, run_dir=f"{tmp_path}/other")
    assert (out, err) == ("here\n", "ma2l: rank 1 is not bound to CPUs\n")


def test_a_rank_that_starts_after_the_stop_does_nothing(shell: list[str], tmp_path: Path) -> None:
    (tmp_path / mpi_rank.STOP_FILE).touch()
    assert around(shell, tmp_path, "echo", "out") == (0, "", "")


def test_a_stop_from_another_host_reaches_the_rank_and_keeps_mpirun_calm(shell: list[str], tmp_path: Path) -> None:
    rank_of_shell = "trap 'echo saved; exit 1' TERM; kill -URG $PPID; while :; do sleep 0.01; done"
    assert around(shell, tmp_path, "sh", "-c", rank_of_shell, run_dir=f"{tmp_path}/other") == (0, "saved\n", "")


def ended(tmp_path: Path, lines: str, returncode: int | None, keep_going: bool) -> tuple[str, int, str | None]:
    """Cause, exit code and first of a run whose mpirun wrote these lines."""
    (tmp_path / "node0.log").write_text(lines)
    log = f"{tmp_path}/node0.log"
    plan = Plan(
        "R", "mpirun", 0, 1, 2, "", 0, "", (ProcessSpec("mpirun", (), "", {}, log),), (), ("",), (),
        rank_logs=((0, f"{tmp_path}/worker_0.log"),),
    )  # fmt: skip
    mpirun = ProcessEnd("mpirun", None, 1, returncode, 1.0, log)
    cause = "success" if returncode == 0 else "failure"
    given = Outcome("R", 0, returncode or 0, cause, mpirun if returncode else None, None, (mpirun,))
    judgement = judged(given, plan, keep_going)
    return judgement.cause, judgement.exit_code, judgement.first.name if judgement.first else None


WELL = "[1,0]<stderr>:ma2l R: rank 0 ended with exit code 0 (pid 7)\n"
BADLY = "some half linema2l R: rank 1 ended with exit code 5 (pid 8)\n"


@pytest.mark.parametrize(
    ("lines", "returncode", "keep_going", "judgement"),
    [
        ("", 0, False, ("success", 0, None)),
        ("", 0, True, ("failure", 1, "rank 0")),
        (WELL, 0, True, ("failure", 1, "rank 1")),
        (WELL + BADLY, 0, True, ("failure", 5, "rank 1")),
        (BADLY, 0, False, ("failure", 5, "rank 1")),
        (BADLY, 5, False, ("failure", 5, "rank 1")),
        (BADLY, 137, False, ("failure", 137, "mpirun")),
        (BADLY + WELL.replace("code 0", "code 6"), 6, False, ("failure", 6, "rank 0")),
        (BADLY.replace("code 5", "code 137"), 137, False, ("failure", 137, "rank 1")),
        ("ma2l Q: rank 1 ended with exit code 5 (pid 8)\n", 0, False, ("success", 0, None)),
    ],
)
def test_the_end_of_a_run(
    tmp_path: Path, lines: str, returncode: int, keep_going: bool, judgement: tuple[str, int, str | None]
) -> None:
    assert ended(tmp_path, lines, returncode, keep_going) == judgement


@pytest.mark.parametrize(("chosen", "expected"), [(None, "1,2"), ("4,5,6", "5,6")])
def test_devices_that_are_not_the_first_ones_are_chosen_for_openmpi(
    tmp_path: Path, chosen: str | None, expected: str
) -> None:
    environ = mock_nodes("bare", "1x2", str(tmp_path))[0]
    found = replace(find(environ, shown=(0, 1)), visible=Visible(kept=(0, 1), order=(9, 0, 1)))
    if chosen:
        environ["ASCEND_RT_VISIBLE_DEVICES"] = chosen
    made = plan_of(found, environ)
    assert made.processes[0].env["ASCEND_RT_VISIBLE_DEVICES"] == expected


def test_the_plan_of_one_node(tmp_path: Path) -> None:
    environ = mock_nodes("bare", "1x2", str(tmp_path))[0]
    made = plan_of(find(environ, shown=(0, 1)), {**environ, "MS_SCHED_HOST": "1.2.3.4"})
    (mpirun,) = made.processes
    assert (made.mode, made.world_size, made.nodes) == ("mpirun", 2, 1)
    assert made.rank_logs == ((0, "/logs/worker_0.log"), (1, "/logs/worker_1.log"))
    assert [(file.path, file.content) for file in made.files] == [("/run/hostfile", b"localhost slots=2\n")]
    assert (mpirun.program, mpirun.log, mpirun.stop_file) == ("/usr/bin/mpirun", "/logs/node0.log", "/run/stop")
    assert mpirun.argv[-2:] == TRAIN
    unset = {name for name, value in mpirun.env.items() if value is None}
    assert unset >= {"RANK_TABLE_FILE", "MINDSPORE_HCCL_CONFIG_PATH", "MS_ROLE", "MS_SCHED_HOST", "RANK", "RANK_ID"}
    assert "ASCEND_RT_VISIBLE_DEVICES" not in mpirun.env


FOUR = Processors((0, 1, 2, 3), {}, Affinity({}, (), "nobody knows"))


def test_ranks_of_one_host_are_bound_by_ma2l(tmp_path: Path) -> None:
    environ = mock_nodes("bare", "1x2", str(tmp_path))[0]
    made = plan_of(find(environ, shown=(0, 1)), environ, processors=FOUR, bind="cores")
    script = made.processes[0].argv[-len(TRAIN) - 2]
    assert "0) export OMP_NUM_THREADS=2 MSRUN_CPU_LIST='[0, 1]'; taskset -cp 0-1 $$;;" in script
    assert "1) export OMP_NUM_THREADS=2 MSRUN_CPU_LIST='[2, 3]'; taskset -cp 2-3 $$;;" in script
    assert "CPUs of each rank: 0: 0-1, 1: 2-3" in made.notes
    assert not made.warnings


@pytest.mark.parametrize(
    ("hosts", "options", "why"),
    [
        (ONE, {"mpi_args": "-bind-to core"}, "--mpi-args says where ranks run"),
        (TWO, {}, "ranks of several hosts only mpirun can bind; pass --mpi-args='--map-by slot:PE=4 --bind-to core'"),
    ],
)
def test_ranks_that_ma2l_cannot_bind(tmp_path: Path, hosts: Hosts, options: dict[str, Any], why: str) -> None:
    environ = mock_nodes("bare", "1x2", str(tmp_path))[0]
    found = replace(find(environ, shown=(0, 1)), master="a")
    made = plan_of(found, environ, hosts, FOUR, bind="cores", **options)
    assert made.warnings[-1].startswith(f"--bind cores has no effect: {why}")
    assert "taskset" not in " ".join(made.processes[0].argv)


def plan_of(
    found: Topology, environ: dict[str, str], hosts: Hosts = ONE, processors: Processors | None = None, **options: Any
) -> Plan:
    site = Site(environ, "/usr/bin/python", "R", "/run", "/logs", 1, 16, (20001, 20002), "", processors)
    return openmpi.plan(Settings(**options), found, hosts, TRAIN, site, Mpirun("/usr/bin/mpirun", 4, False))
