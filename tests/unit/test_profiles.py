"""Profiles: finding and reading them, and what each verb takes from one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from ma2l import profiles
from ma2l.errors import ConfigError
from ma2l.msrun.arguments import parse
from ma2l.plan.make import fitted
from ma2l.settings import Settings, load

SEED = {
    "worker_num": "8",
    "local_worker_num": "8",
    "master_addr": "127.0.0.1",
    "master_port": "8118",
    "node_rank": "0",
    "log_dir": "output/msrun_log",
    "join": "False",
    "cluster_time_out": "7200",
}
"""The defaults in the table of MindSpeed-Core-MS's documentation."""


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "team.yaml") -> str:
    Path(name).write_text(text)
    return f"./{name}"


def test_mindspeed_has_the_defaults_of_its_documentation() -> None:
    path = profiles.find("mindspeed")
    assert profiles.parameters(path) == SEED
    arguments = parse({}, ("train.py",), profiles.parameters(path))
    assert (arguments.worker_num, arguments.node_rank, arguments.join, arguments.cluster_time_out) == (
        8,
        0,
        False,
        7200,
    )


def test_who_takes_part_is_not_taken_from_a_profile() -> None:
    settings, origins = load({"profile": "mindspeed"}, {})
    path = profiles.find("mindspeed")
    expected = Settings(
        mode="dynamic-cluster", log_dir="output/msrun_log", cluster_timeout=7200, profile=path, mode_of_profile=True
    )
    assert settings == expected
    assert origins == {"profile": "--profile", **dict.fromkeys(("mode", "log_dir", "cluster_timeout"), path)}


def test_everything_else_is_stronger_than_a_profile() -> None:
    write("profile: mindspeed\nlog_dir: from-file\nmode: torch\ncluster-timeout: 2\n", "ma2l.yaml")
    settings, _ = load({"mode": "ranktable"}, {"MA2L_LOG_DIR": "from-variable", "MA2L_MODE": "torch"})
    assert (settings.mode, settings.log_dir, settings.cluster_timeout) == ("ranktable", "from-variable", 2)


@pytest.mark.parametrize("how", ["flag", "variable", "file"])
def test_a_profile_is_chosen_as_any_option_is(how: str) -> None:
    if how == "file":
        write("profile: mindspeed\n", "ma2l.yaml")
    flags = {"profile": "mindspeed"} if how == "flag" else {}
    settings, _ = load(flags, {"MA2L_PROFILE": "mindspeed"} if how == "variable" else {})
    assert settings.cluster_timeout == 7200


def test_a_team_has_a_profile_of_its_own() -> None:
    path = write("worker_num: 16\nlocal-worker-num: 16\nstop_grace: 90\nconsole-ranks: all\ncluster_timeout: 30\n")
    settings, _ = load({"profile": path}, {})
    assert (settings.stop_grace, settings.console_ranks, settings.cluster_timeout) == (90.0, "all", 30)
    assert settings.nproc_per_node is None
    assert settings.profile == os.path.abspath("team.yaml"), "an inner ma2l may be started elsewhere"
    assert profiles.parameters(path) == {"worker_num": "16", "local_worker_num": "16", "cluster_time_out": "30"}


def test_the_ranks_of_a_node_under_our_own_name_count_for_both() -> None:
    path = write("nproc_per_node: 2\n")
    assert load({"profile": path}, {})[0].nproc_per_node == 2
    assert profiles.parameters(path) == {"local_worker_num": "2"}


def test_a_key_that_nobody_knows_is_named() -> None:
    path = write("worker_nmu: 16\n")
    for read in (profiles.options, profiles.parameters):
        with pytest.raises(
            ConfigError, match="there is no option 'worker_nmu'; did you mean worker_num\\? allowed are "
        ):
            read(path)
    for name in ("config", "profile"):
        with pytest.raises(ConfigError, match=f"there is no option '{name}'"):
            profiles.options(write(f"{name}: x\n"))


def test_a_wrong_value_names_the_file_and_the_key() -> None:
    with pytest.raises(ConfigError) as error:
        load({"profile": write("cluster_time_out: soon\n")}, {})
    assert str(error.value).startswith(f"cannot use {os.path.abspath('team.yaml')}: cluster_timeout = 'soon': ")
    with pytest.raises(
        ConfigError, match="bind_core: \\{'device0': \\['0-3'\\]\\} is not a single value; write it in q"
    ):
        profiles.parameters(write("bind_core: {device0: ['0-3']}\n"))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("worker_num: many", "worker_num = 'many': it is no whole number; write a whole number"),
        ("master_port: 80", "master_port = '80': it is out of range; write a number from 1024 to 65535"),
        ("join: maybe", "join = 'maybe': it is neither True nor False; write True or False"),
        ("tail_worker_log: all", "tail_worker_log = 'all': it names no ranks; write -1, or ranks such as 0,3"),
    ],
)
def test_a_wrong_value_for_msrun_names_the_file_and_the_key(line: str, why: str) -> None:
    defaults = profiles.parameters(write(f"{line}\n"))
    with pytest.raises(ConfigError) as error:
        parse({}, ("x",), defaults, source="./team.yaml")
    assert str(error.value) == f"cannot use ./team.yaml: {why}"
    (name,) = defaults
    stronger = {"worker_num": "2", "master_port": "8118", "join": "True", "tail_worker_log": "0"}[name]
    parse({name: stronger}, ("x",), defaults, source="./team.yaml")


@pytest.mark.parametrize("mode", ["ranktable", "dynamic-cluster", "mpirun"])
def test_only_the_mode_of_the_profile_gives_way_to_a_command_that_runs_once_per_node(mode: str) -> None:
    for command, options in ((("torchrun", "x"), {}), (("bash", "run.sh"), {"per_node": "true"})):
        of_profile, _ = load({"profile": write(f"mode: {mode}\n"), **options}, {})
        assert fitted(of_profile, command).mode == "auto"
        assert fitted(load({"profile": "./team.yaml", "mode": mode, **options}, {})[0], command).mode == mode
        assert fitted(load({"profile": "./team.yaml", **options}, {"MA2L_MODE": mode})[0], command).mode == mode
    of_profile, _ = load({"profile": "./team.yaml"}, {})
    assert fitted(of_profile, ("python", "train.py")).mode == mode


def test_an_unknown_name_says_which_there_are() -> None:
    with pytest.raises(ConfigError) as error:
        profiles.find("mindsped")
    assert str(error.value) == (
        "cannot use the profile mindsped: ma2l has none of that name; did you mean mindspeed? choose one of mindspeed, "
        "or write the path of a file, such as ./mindsped.yaml"
    )
    with pytest.raises(ConfigError, match=r"cannot read the profile /.*/no.yaml: No such file or directory; check the"):
        load({"profile": "no.yaml"}, {})


def test_every_profile_that_comes_with_ma2l_is_read_by_both_verbs(tmp_path: Path) -> None:
    names = [path.stem for path in Path(profiles.__file__).parent.glob("*.yaml")]
    assert "mindspeed" in names
    for name in names:
        settings, _ = load({"profile": name}, {})
        path = profiles.find(name)
        parse({}, ("x",), profiles.parameters(path))
        text = Path(path).read_text()
        assert text.startswith("# "), "a profile says where it comes from"
        assert settings.profile == path
        assert yaml.safe_load(text)
