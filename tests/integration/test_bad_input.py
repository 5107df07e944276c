"""Mistakes and hostile surroundings: one clear line and the right exit code, or it simply works."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.harness import MA2L, Finished, Running, assert_nothing_left, complaints
from tests.integration.harness import run as run_ma2l

Script = Callable[..., str]
OMPI = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}


def run(*words: str, cwd: str, **options: object) -> Finished:
    """As the harness does; and never a traceback of ours."""
    finished = run_ma2l(*words, cwd=cwd, **options)  # type: ignore[arg-type]
    assert "Traceback" not in finished.err
    return finished


@pytest.mark.parametrize("words", [(), ("--mock", "2"), ("--",), ("--mock=2", "--")])
def test_no_command_is_a_usage_error(here: str, words: tuple[str, ...]) -> None:
    finished = run(*words, cwd=here)
    assert finished.code == 2
    assert finished.err.startswith("usage: ma2l")
    assert complaints(finished) == ["ma2l: error: cannot start: no command was given; see ma2l help"]


def make_command(here: str, case: str) -> str:
    path = Path(here, "command")
    if case == "directory":
        path.mkdir()
        return "./command"
    text = {"no #!": "echo hi\n", "empty": "", "missing interpreter": "#!/no/such/interpreter\n"}.get(case, "")
    if case != "missing":
        path.write_text(text or "#!/bin/sh\n" if case != "empty" else "")
        path.chmod(0o644 if case == "not executable" else 0o755)
    return "no-such-command" if case == "not in PATH" else "./command"


COMMANDS = [
    ("not in PATH", 127, "there is no such program in PATH="),
    ("missing", 127, "no such file"),
    ("not executable", 126, "it is not executable"),
    ("directory", 126, "it is a directory"),
    ("no #!", 126, "no #! line"),
    ("empty", 126, "no #! line"),
    ("missing interpreter", 126, "the interpreter in its #! line does not exist"),
]


@pytest.mark.parametrize(("case", "code", "why"), COMMANDS)
@pytest.mark.parametrize("place", ["launched", "in place"])
def test_a_command_that_cannot_run_is_named_in_one_line(here: str, case: str, code: int, why: str, place: str) -> None:
    command = make_command(here, case)
    options, env = (("--mock", "3"), {}) if place == "launched" else ((), OMPI)
    finished = run(*options, command, cwd=here, env={"PATH": "/bin:/usr/bin", **env})
    assert finished.code == code
    (line,) = complaints(finished)
    assert command in line
    assert why in line


def test_a_command_of_two_mock_nodes_is_looked_for_once(here: str) -> None:
    finished = run("--mock", "2x2", "no-such-command", cwd=here)
    assert (finished.code, len(complaints(finished))) == (127, 1)


@pytest.mark.parametrize(
    ("words", "verb"), [(("pln", "true"), "plan"), (("--mock", "2", "doctor"), "doctor"), (("docter",), "doctor")]
)
def test_a_verb_that_is_mistyped_or_comes_too_late_is_guessed(here: str, words: tuple[str, ...], verb: str) -> None:
    finished = run(*words, cwd=here)
    assert finished.code == 127
    assert f"did you mean `ma2l {verb}`? That word comes before all options" in finished.err


def test_an_empty_command_is_a_usage_error(here: str) -> None:
    finished = run("--mock", "1", "", cwd=here)
    assert finished.code == 2
    assert complaints(finished) == [
        "ma2l: error: cannot start: the command is an empty word; see that the variable in it is set"
    ]


TABLES = {
    "wrong ranks": '{"status":"completed","version":"1.0","server_count":"1","server_list":'
    '[{"server_id":"10.0.0.1","device":[{"device_id":"0","rank_id":"5"}]}]}',
    "not a table": "[1, 2, 3]",
    "numbers where strings belong": '{"status":"completed","version":"1.0","server_count":1,"server_list":7}',
    "lone surrogate": '{"status":"completed","version":"1.0","server_count":"1","server_list":'
    '[{"server_id":"\\ud800","device":[{"device_id":"zz","rank_id":"0"}]}]}',
    "unknown version": '{"status":"completed","version":"9.9","server_count":"1","server_list":[]}',
}


@pytest.mark.parametrize("table", TABLES)
def test_a_wrong_rank_table_is_a_configuration_error(here: str, table: str) -> None:
    path = Path(here, "table.json")
    path.write_text(TABLES[table])
    finished = run("true", cwd=here, env={"RANK_TABLE_FILE": str(path)})
    assert finished.code == 78
    assert any(str(path) in line for line in complaints(finished))


def test_a_table_that_never_becomes_one_is_given_up_for_a_retry(here: str) -> None:
    path = Path(here, "table.json")
    path.write_bytes(b"\x1f\x8b garbage \xff\x00")
    finished = run("--rank-table-timeout", "0.1", "true", cwd=here, env={"RANK_TABLE_FILE": str(path)})
    assert finished.code == 203
    assert complaints(finished)


@pytest.mark.parametrize(
    "text", ["mode: [", "mode: no-such", "no_such_option: 1", "- a\n- b", "stop_grace: soon", "\x00"]
)
def test_a_wrong_configuration_file_is_a_configuration_error(here: str, text: str) -> None:
    Path(here, "ma2l.yaml").write_text(text)
    finished = run("--mock", "2", "true", cwd=here)
    assert finished.code == 78
    assert len(complaints(finished)) == 1
    assert "ma2l.yaml" in complaints(finished)[0]


@pytest.mark.parametrize(
    "words", [("--no-such-flag",), ("--mok", "2"), ("-x",), ("--mode",), ("--mode=fast",), ("--mock", "0x8")]
)
def test_a_wrong_option_is_a_usage_error(here: str, words: tuple[str, ...]) -> None:
    finished = run(*words, *(() if words == ("--mode",) else ("true",)), cwd=here)
    assert finished.code == 2
    assert len(complaints(finished)) == 1


def test_a_host_that_the_table_does_not_list_is_a_configuration_error(here: str) -> None:
    devices = [f'{{"device_id":"0","device_ip":"192.0.2.{n}","rank_id":"{n}"}}' for n in range(2)]
    servers = ",".join(f'{{"server_id":"198.51.100.{n}","device":[{devices[n]}]}}' for n in range(2))
    path = Path(here, "table.json")
    path.write_text(f'{{"status":"completed","version":"1.0","server_count":"2","server_list":[{servers}]}}')
    finished = run("true", cwd=here, env={"RANK_TABLE_FILE": str(path)})
    assert finished.code == 78
    assert complaints(finished)


def test_arguments_reach_the_worker_byte_for_byte(here: str, script: Script) -> None:
    odd = [os.fsdecode(b"\xff\xfe\x80"), "", "a b", "--mock", "'\"$HOME\\", "--help", "\n", "caf\xe9"]
    worker = script('printf "%s\\0" "$@" > args')
    assert run("--mock", "1", worker, *odd, cwd=here).code == 0
    assert Path(here, "args").read_bytes().split(b"\0")[:-1] == [os.fsencode(word) for word in odd]


def test_the_plan_shows_such_arguments_in_any_locale(here: str) -> None:
    for locale in ("C", "C.UTF-8", "en_US.ISO-8859-1"):
        for form in ("table", "json"):
            finished = run(
                "plan", "--format", form, "--mock", "1", "echo", os.fsdecode(b"\xff"), cwd=here, env={"LC_ALL": locale}
            )
            assert finished.code == 0
            assert "udcff" in finished.out


def test_a_megabyte_of_environment_reaches_the_worker(here: str, script: Script) -> None:
    env = {f"FILLER_{number}": "x" * 100_000 for number in range(10)}
    worker = script('env | grep -c "^FILLER_._*=x" > count; env | wc -c > size')
    assert run("--mock", "2", worker, cwd=here, env=env).code == 0
    assert Path(here, "count").read_text() == "10\n"
    assert int(Path(here, "size").read_text()) > 1_000_000


def test_an_environment_that_grows_beyond_the_limit_is_a_clear_error(here: str) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_STACK, (2**20, 2**20))  # arguments and environment: a quarter of it

    taken = sum(len(name) + len(value) + 10 for name, value in os.environ.items())
    env = {f"FILLER_{number}": "x" * 29_985 for number in range((2**18 - taken - 800) // 30_000)}
    rest = 2**18 - taken - 800 - 30_005 * len(env)
    finished = run("--mock", "1", "true", cwd=here, env={**env, "LAST": "x" * max(rest, 0)}, preexec_fn=limit)
    assert finished.code == 78, finished.err
    assert "arguments and environment are too large" in complaints(finished)[0]


def test_few_descriptors_are_enough_for_eight_ranks(here: str) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    finished = run("--mock", "8", "--console-ranks", "all", "echo", "fine", cwd=here, preexec_fn=limit)
    assert finished.code == 0
    assert len(finished.out.splitlines()) == 8


def test_where_descriptors_do_not_suffice_for_the_console_the_run_goes_on(here: str, script: Script) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))

    worker = script('touch "ran.$RANK"')
    finished = run("--mock", "30", "--console-ranks", "all", worker, cwd=here, preexec_fn=limit)
    assert finished.code == 0
    assert len(list(Path(here).glob("ran.*"))) == 30
    assert "the console does not follow" in finished.err


MALICE = """\
import os
open(os.path.join({here!r}, "ran." + __name__), "w").close()
raise SystemExit(99)
"""


@pytest.mark.parametrize("place", ["PYTHONPATH", "relative PYTHONPATH", "working directory"])
@pytest.mark.parametrize("end", ["0", "3"])
def test_modules_of_the_job_neither_run_in_ma2l_nor_break_it(here: str, script: Script, place: str, end: str) -> None:
    directory = Path(here, "job") if "PYTHONPATH" in place else Path(here)
    directory.mkdir(exist_ok=True)
    for name in ("signal", "json", "yaml", "dataclasses", "loguru", "ctypes", "select", "threading", "traceback"):
        (directory / f"{name}.py").write_text(MALICE.format(here=here))
    path = {"PYTHONPATH": str(directory), "relative PYTHONPATH": "job"}.get(place)
    finished = run("--mock", "2", script(f'echo "$PYTHONPATH"; exit {end}'), cwd=here, env={"PYTHONPATH": path})
    assert finished.code == int(end)
    assert not list(Path(here).glob("ran.*"))
    assert f"[0] {path or ''}" in finished.out.splitlines()


def test_a_working_directory_that_was_removed_is_no_obstacle(here: str, script: Script) -> None:
    gone = Path(here, "gone")
    gone.mkdir()
    worker = script("echo fine")
    inside = f"cd {gone} && rmdir {gone} && exec {' '.join(MA2L)} --mock 1 {worker}"
    done = subprocess.run(
        ["sh", "-c", inside], cwd=here, env={**os.environ, "TMPDIR": here}, capture_output=True, text=True, timeout=60
    )
    assert_nothing_left()
    assert done.returncode == 0, done.stderr
    assert "[0] fine\n" in done.stdout
    assert "Traceback" not in done.stderr


def test_the_c_locale_is_no_obstacle(here: str, script: Script) -> None:
    worker = script('printf "caf\\303\\251 %s\\n" "$1"')
    finished = run("--mock", "1", worker, "caf\xe9", cwd=here, env={"LC_ALL": "C", "LANG": None})
    assert finished.code == 0
    assert finished.out == "[0] caf\xe9 caf\xe9\n"


@pytest.mark.parametrize("name", ["plan", "stop", "help", "doctor"])
def test_after_two_dashes_a_verb_is_a_program(here: str, script: Script, name: str) -> None:
    script(f'echo "the program {name}, $1"', name)
    finished = run("--mock", "1", "--", name, "--help", cwd=here, env={"PATH": f"{here}:{os.environ['PATH']}"})
    assert (finished.code, finished.out) == (0, f"[0] the program {name}, --help\n")


def test_reserved_verbs_are_refused(here: str) -> None:
    for verb in ("status", "logs", "report", "job", "manifest"):
        finished = run(verb, cwd=here)
        assert finished.code == 2
        assert f"`ma2l -- {verb}` runs a program" in complaints(finished)[0]


@pytest.mark.parametrize("option", ["--help", "--version", "--mock=7", "--mode", "-x", "--"])
def test_options_after_the_command_are_the_commands(here: str, script: Script, option: str) -> None:
    finished = run("--mock", "1", script('echo "got $*"'), option, "x", cwd=here)
    assert (finished.code, finished.out) == (0, f"[0] got {option} x\n")


@pytest.mark.parametrize("verb", [("help",), ("version",), ("plan", "--mock", "1", "true")])
def test_output_that_nobody_can_take_is_no_bug(here: str, verb: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        assert run(*verb, cwd=here, stdout=full).code == 199
    reader, writer = os.pipe()
    os.close(reader)
    assert run(*verb, cwd=here, stdout=writer).code == 141
    os.close(writer)

    def close() -> None:
        os.close(1)

    assert run(*verb, cwd=here, preexec_fn=close).code == 0


def test_nohups_brother_that_ignores_sigchld_does_not_hang_the_guard(here: str) -> None:
    import signal

    def ignore() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    with Running("--mock", "2", "sh", "-c", "exit 5", cwd=here, preexec_fn=ignore) as running:
        assert running.finish().code == 5


BUG = """\
import sys
from ma2l.supervise.supervisor import Supervisor
original = Supervisor._next_events
turns = []
def broken(self, block):
    turns.append(1)
    return original(self, block) if len(turns) < {turns} else 1 / 0
Supervisor._next_events = broken
from ma2l.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("turns", [1, 2, 4])
def test_a_bug_of_ours_says_so_and_leaves_nothing(here: str, turns: int) -> None:
    words = [sys.executable, "-c", BUG.format(turns=turns), "--mock", "3", "setsid", "sleep", "1000"]
    done = subprocess.run(words, cwd=here, capture_output=True, text=True, timeout=60)
    assert_nothing_left()
    assert done.returncode == 70
    assert "ma2l: error: this is a bug in ma2l, please report it: ZeroDivisionError" in done.stderr
    assert done.stderr.rstrip().endswith("ZeroDivisionError: division by zero")
