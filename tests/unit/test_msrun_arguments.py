"""The parameters of msrun: defaults, spellings, values, and mistakes in one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ma2l.errors import UsageError
from ma2l.msrun.arguments import PARAMETERS, Arguments, parse, split

DEFAULTS = {
    "worker_num": 8,
    "local_worker_num": 8,
    "master_addr": "127.0.0.1",
    "master_port": 8118,
    "node_rank": -1,
    "log_dir": "",
    "join": False,
    "cluster_time_out": 600,
    "bind_core": "False",
    "bind_numa": "False",
    "sim_level": -1,
    "sim_rank_id": -1,
    "rank_table_file": "",
    "worker_log_name": "",
    "tail_worker_log": "-1",
}
"""As ``get_args`` of ``mindspore/parallel/cluster/run.py`` declares them."""


def read(*words: str, devices: int = 0, defaults: dict[str, str] | None = None) -> Arguments:
    options, task = split(words)
    return parse(options, task, defaults, devices)


def test_every_parameter_has_msruns_default() -> None:
    assert {name: parameter.default for name, parameter in PARAMETERS.items()} == DEFAULTS
    assert read("net.py") == Arguments(task=("net.py",))


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--worker_num", "2"], "worker_num", 2),
        (["--worker_num=2"], "worker_num", 2),
        (["--worker-num=2"], "worker_num", 2),
        (["--worker_n=2"], "worker_num", 2),
        (["--loc", "4"], "local_worker_num", 4),
        (["--worker_num=2", "--worker_num=3"], "worker_num", 3),
        (["--node_rank", "-1"], "node_rank", -1),
        (["--node-rank=1"], "node_rank", 1),
        (["--master_addr", "[::1]"], "master_addr", "[::1]"),
        (["--master_port=65535"], "master_port", 65535),
        (["--log_dir="], "log_dir", ""),
        (["--log_dir", "a=b"], "log_dir", "a=b"),
        (["--join=True"], "join", True),
        (["--join", "False"], "join", False),
        (["--join=1"], "join", True),
        (["--join=true"], "join", True),
        (["--cluster_time_out", "-5"], "cluster_time_out", -5),
        (["--cluster_time_out=0"], "cluster_time_out", 0),
        (["--bind_core", '{"device0": ["0-3"]}'], "bind_core", '{"device0": ["0-3"]}'),
        (["--bind_numa=numa.json"], "bind_numa", "numa.json"),
        (["--sim_level=3"], "sim_level", 3),
        (["--sim_rank_id", "31"], "sim_rank_id", 31),
        (["--rank_table_file", "t.json"], "rank_table_file", "t.json"),
        (["--worker_log_name={ip}"], "worker_log_name", "{ip}"),
        (["--tail_worker_log", "0,3"], "tail_worker_log", "0,3"),
        (["--tail_worker_log", "-1"], "tail_worker_log", "-1"),
        (["--tail=0, 1"], "tail_worker_log", "0, 1"),
    ],
)
def test_a_value_in_each_spelling(words: list[str], name: str, value: object) -> None:
    assert getattr(read(*words, "net.py"), name) == value


@pytest.mark.parametrize(
    ("words", "task"),
    [
        (["net.py", "--join=True", "--", "-h"], ("net.py", "--join=True", "--", "-h")),
        (["--join=True", "--", "net.py", "--", "x"], ("net.py", "--", "x")),
        (["--", "--odd.py"], ("--odd.py",)),
        (["python", "-m", "package"], ("python", "-m", "package")),
        (["net.py", "\udcff"], ("net.py", "\udcff")),
        ([], ()),
    ],
)
def test_options_end_at_the_task(words: list[str], task: tuple[str, ...]) -> None:
    assert split(words)[1] == task


@given(st.lists(st.text()))
def test_everything_after_the_script_is_the_scripts(words: list[str]) -> None:
    assert split(["--join=True", "net.py", *words]) == ({"join": "True"}, ("net.py", *words))


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["--hel"], ["--join=True", "-h", "net.py"]])
def test_help_is_all_there_is_then(words: list[str]) -> None:
    assert split(words) == ({"help": "true"}, ())


def test_the_profile_is_an_option_of_ours() -> None:
    assert split(["--profile", "mindspeed", "net.py"]) == ({"profile": "mindspeed"}, ("net.py",))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--worker=2"], "cannot use the option --worker: it is ambiguous; write --worker_num or --worker_log_name"),
        (["--m=2"], "cannot use the option --m: it is ambiguous; write --master_addr or --master_port"),
        (["--worker_nun=2"], ("cannot use the option --worker_nun: msrun has none of that name; "
            "did you mean --worker_num? see ma2l msrun --help")),
        (["-n", "2"], "cannot use the option -n: msrun has none of that name; see ma2l msrun --help"),
        (["--worker_num"], "cannot use --worker_num: its value is missing; write --worker_num=VALUE"),
        (["--worker_num", "--join=True"], "cannot use --worker_num: its value is missing; write --worker_num=VALUE"),
        (["--worker_num="], "cannot use --worker_num=: it is no whole number; write a whole number"),
        (["--worker_num=two"], "cannot use --worker_num=two: it is no whole number; write a whole number"),
        (["--worker_num=2.0"], "cannot use --worker_num=2.0: it is no whole number; write a whole number"),
        (["--worker_num=٢"], "cannot use --worker_num=٢: it is no whole number; write a whole number"),
        (["--worker_num=--2"], "cannot use --worker_num=--2: it is no whole number; write a whole number"),
        (["--worker_num=" + "9" * 40], (f"cannot use --worker_num={'9' * 40}: it is no whole number; "
            "write a whole number")),
        (["--worker_num=0"], "cannot use --worker_num=0: it is out of range; write a number of 1 or more"),
        (["--worker_num=-3"], "cannot use --worker_num=-3: it is out of range; write a number of 1 or more"),
        (["--local_worker_num=0"], "cannot use --local_worker_num=0: it is out of range; write a number of 1 or more"),
        (["--node_rank=-2"], "cannot use --node_rank=-2: it is out of range; write a number of -1 or more"),
        (["--master_port=1023"], ("cannot use --master_port=1023: it is out of range; "
            "write a number from 1024 to 65535")),
        (["--master_port=65536"], ("cannot use --master_port=65536: it is out of range; "
            "write a number from 1024 to 65535")),
        (["--sim_level=4"], "cannot use --sim_level=4: it is out of range; write a number from 0 to 3"),
        (["--sim_level=-1"], "cannot use --sim_level=-1: it is out of range; write a number from 0 to 3"),
        (["--join=maybe"], "cannot use --join=maybe: it is neither True nor False; write True or False"),
        (["--join="], "cannot use --join=: it is neither True nor False; write True or False"),
        (["--tail_worker_log=all"], ("cannot use --tail_worker_log=all: it names no ranks; "
            "write -1, or ranks such as 0,3")),
        (["--tail_worker_log=0,-1"], ("cannot use --tail_worker_log=0,-1: it names no ranks; "
            "write -1, or ranks such as 0,3")),
        (["--tail_worker_log="], "cannot use --tail_worker_log=: it names no ranks; write -1, or ranks such as 0,3"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(words: list[str], line: str) -> None:
    with pytest.raises(UsageError) as error:
        read(*words, *([] if words == ["--worker_num"] else ["net.py"]))
    assert str(error.value) == line


PROFILE = {"worker_num": "8", "local_worker_num": "8", "cluster_time_out": "7200", "join": "true"}


@pytest.mark.parametrize(
    ("words", "devices", "profile", "workers"),
    [
        ([], 0, {}, (8, 8)),
        ([], 2, {}, (2, 2)),
        ([], 2, PROFILE, (2, 2)),
        ([], 0, {"worker_num": "4", "local_worker_num": "2"}, (4, 2)),
        (["--worker_num=16"], 2, {}, (16, 8)),
        (["--local_worker_num=4"], 2, {}, (8, 4)),
        (["--worker_num=16"], 2, {"local_worker_num": "4"}, (16, 4)),
    ],
)
def test_the_number_of_workers(
    words: list[str], devices: int, profile: dict[str, str], workers: tuple[int, int]
) -> None:
    """The command line, else the devices that were chosen, else the profile, else msrun's eight."""
    arguments = read(*words, "net.py", devices=devices, defaults=profile)
    assert (arguments.worker_num, arguments.local_worker_num) == workers


def test_the_command_line_is_stronger_than_a_profile() -> None:
    arguments = read("--cluster_time_out=5", "net.py", defaults=PROFILE)
    assert (arguments.cluster_time_out, arguments.join) == (5, True)
