"""Options: splitting them from the command, and merging flag, variable, file and default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ma2l.errors import ConfigError, Ma2lError, UsageError
from ma2l.mock.node import PLATFORMS as MOCK_PLATFORMS
from ma2l.mock.server import SOCS as MOCK_SOCS
from ma2l.settings import ALIASES, FIELDS, PLATFORMS, SOCS, Settings, load, misspelt, split

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def message(error: pytest.ExceptionInfo[Ma2lError]) -> str:
    return str(error.value)


def test_options_end_at_the_command() -> None:
    options, command = split(["--mode", "torch", "--per-node", "python", "--mode", "ranktable", "--", "x"])
    assert options == {"mode": "torch", "per_node": "true"}
    assert command == ("python", "--mode", "ranktable", "--", "x")


def test_two_dashes_end_the_options_once() -> None:
    assert split(["--per-node", "--", "--", "plan"]) == ({"per_node": "true"}, ("--", "plan"))


def test_a_single_dash_is_a_command_and_no_option() -> None:
    assert split(["-", "x"]) == ({}, ("-", "x"))


@pytest.mark.parametrize(
    "words",
    [
        ["--nproc-per-node", "4"], ["--nproc_per_node=4"], ["--nproc-per_node", "4"], ["--local_worker_num=4"],
        ["--local-worker-num", "4"],
    ],
)  # fmt: skip
def test_every_spelling_of_a_name_is_the_same_option(words: list[str]) -> None:
    assert split([*words, "cmd"]) == ({"nproc_per_node": "4"}, ("cmd",))


@pytest.mark.parametrize("name", ["nproc_per_node", "nnodes", "node_rank", "master_addr", "master_port"])
def test_names_of_torchrun_are_options(name: str) -> None:
    assert split([f"--{name}", "7"])[0] == {name: "7"}


def test_a_value_may_hold_equal_signs_and_look_like_an_option() -> None:
    assert split(["--chdir=a=b", "--log-dir", "--odd", "x"]) == ({"chdir": "a=b", "log_dir": "--odd"}, ("x",))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--mod"], "cannot use the option --mod: ma2l has none of that name; did you mean --mode? see ma2l --help"),
        (["--nprocs-per-node", "4"], ("cannot use the option --nprocs-per-node: ma2l has none of that name; "
            "did you mean --nproc-per-node? see ma2l --help")),
        (["-x"], "cannot use the option -x: ma2l has none of that name; see ma2l --help"),
        (["-mode"], "cannot use the option -mode: ma2l has none of that name; did you mean --mode? see ma2l --help"),
        (["---mode", "x"], ("cannot use the option ---mode: ma2l has none of that name; did you mean --mode? "
            "see ma2l --help")),
        (["--mode"], "cannot use --mode: its value is missing; write --mode VALUE"),
        (["--=x"], "cannot use the option --: ma2l has none of that name; see ma2l --help"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_one_line(words: list[str], expected: str) -> None:
    with pytest.raises(UsageError) as error:
        split(words)
    assert message(error) == expected
    assert error.value.exit_code == 2


def test_an_option_of_one_verb_is_known_and_suggested_only_there() -> None:
    assert split(["--format", "json", "x"], ("format",)) == ({"format": "json"}, ("x",))
    with pytest.raises(UsageError, match="did you mean --format"):
        split(["--fromat", "json"], ("format",))
    for wrong in ("--format", "-xformat"):
        with pytest.raises(UsageError, match="none of that name"):
            split([wrong, "json"], () if wrong == "--format" else ("format",))


@given(st.lists(st.binary(min_size=1).map(lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape"))))
def test_every_word_after_two_dashes_is_the_users(words: list[str]) -> None:
    assert split(["--", *words]) == ({}, tuple(words))


@given(st.lists(st.text(), max_size=6))
def test_splitting_ends_in_a_command_or_one_line(words: list[str]) -> None:
    problem = ""
    options: dict[str, str] = {}
    command: tuple[str, ...] = ()
    try:
        options, command = split(words)
    except UsageError as error:
        problem = str(error)
    assert problem == "" or problem.startswith("cannot use ")
    assert set(options) <= set(FIELDS)
    assert tuple(words[len(words) - len(command) :]) == command


def test_flag_beats_variable_beats_file_beats_default(tmp_path: Path) -> None:
    (tmp_path / "ma2l.yaml").write_text("mode: torch\nnnodes: 3\nnode-rank: 2\n")
    settings, origins = load({"mode": "ranktable"}, {"MA2L_MODE": "torch", "MA2L_NNODES": "4"})
    assert (settings.mode, settings.nnodes, settings.node_rank, settings.stop_grace) == ("ranktable", 4, 2, 25.0)
    assert origins == {"mode": "--mode", "nnodes": "MA2L_NNODES", "node_rank": "ma2l.yaml", "config": "ma2l.yaml"}


def test_without_anything_there_are_only_defaults() -> None:
    assert load({}, {"MA2L_MODE": "", "MA2L_RUN_ID": "x"}) == (Settings(), {})


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_a_named_file_replaces_the_one_in_the_directory(tmp_path: Path, how: str) -> None:
    (tmp_path / "ma2l.yaml").write_text("mode: torch\n")
    (tmp_path / "other.yaml").write_text("nnodes: 2\n")
    flags = {"config": "other.yaml"} if how == "flag" else {}
    settings, origins = load(flags, {} if how == "flag" else {"MA2L_CONFIG": "other.yaml"})
    assert (settings.mode, settings.nnodes, origins["config"]) == ("auto", 2, "other.yaml")


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("mock_soc: 910", "mock_soc", "910"),
        ("mock: 2x4", "mock", "2x4"),
        ("mock: 0x8", "mock", "0x8"),  # YAML itself reads 8
        ("per-node: Yes", "per_node", True),
        ("console-ranks: 0,3-5", "console_ranks", "0,3-5"),
        ("log_dir: 2024-01-01", "log_dir", "2024-01-01"),
        ("local_worker_num: 2", "nproc_per_node", 2),
        ("stop_grace: 1e3", "stop_grace", 1000.0),
        ("mode:", "mode", "auto"),
        ("mode: ~\nnnodes: null", "nnodes", None),
        ("", "mode", "auto"),
        ("# nothing", "mode", "auto"),
    ],
)
def test_a_value_in_the_file_means_what_it_means_on_the_command_line(
    tmp_path: Path, text: str, name: str, value: object
) -> None:
    (tmp_path / "ma2l.yaml").write_text(text)
    assert getattr(load({}, {})[0], name) == value


WRONG_FILES = {
    "- a": "it holds a list; write `option: value` lines",
    "hello": "it holds a single value; write `option: value` lines",
    "mod: torch": "there is no option 'mod'; did you mean mode? allowed are agent, bind, chdir, ",
    "config: x": "there is no option 'config'; allowed are agent, bind, chdir, ",
    "a: b: c": "mapping values are not allowed here",
    "a: [": "expected the node content",
    "[" * 5000: "maximum recursion depth exceeded",
    "--- a\n--- b": "expected a single document",
    "&a [*a]": "recursive",
    "? [1]\n: 2": "unhashable key",
    "mode: torch\nmode: auto": "'mode' is there twice",
    "stop-grace: 1\nstop_grace: 2": "'stop-grace' and 'stop_grace' are the same option; keep one of them",
}


@pytest.mark.parametrize("text", WRONG_FILES)
def test_a_file_of_the_wrong_form_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "ma2l.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load({}, {})
    assert message(error).startswith("cannot read the configuration ma2l.yaml: ")
    assert WRONG_FILES[text] in message(error)
    assert "\n" not in message(error)


def test_a_file_in_another_encoding_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "ma2l.yaml").write_bytes(b"mode: \xff\n")
    with pytest.raises(ConfigError, match=r"^cannot read the configuration ma2l.yaml: 'utf-8' codec can't decode"):
        load({}, {})


def test_a_missing_file_is_one_line() -> None:
    with pytest.raises(ConfigError) as error:
        load({"config": "no.yaml"}, {})
    expected = "cannot read the configuration no.yaml: No such file or directory; check the path and its permissions"
    assert message(error) == expected
    assert error.value.exit_code == 78


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("mode", "dynamic_cluster", ("cannot use --mode = 'dynamic_cluster': no such value; did you mean "
            "dynamic-cluster? choose one of auto, ranktable, torch, dynamic-cluster, mpirun")),
        ("mode", "", ("cannot use --mode = '': no such value; "
            "choose one of auto, ranktable, torch, dynamic-cluster, mpirun")),
        ("nnodes", "0", "cannot use --nnodes = '0': it is out of range; write a whole number from 1 to 1048576"),
        ("nnodes", "1:4", ("cannot use --nnodes = '1:4': it is not a whole number; "
            "write a whole number from 1 to 1048576")),
        ("nnodes", "2.0", ("cannot use --nnodes = '2.0': it is not a whole number; "
            "write a whole number from 1 to 1048576")),
        ("nnodes", "1_0", ("cannot use --nnodes = '1_0': it is not a whole number; "
            "write a whole number from 1 to 1048576")),
        ("nproc_per_node", "\u0664", ("cannot use --nproc-per-node = '\u0664': it is not a whole number; "
            "write a whole number from 1 to 4096")),
        ("master_port", "65536", ("cannot use --master-port = '65536': it is out of range; "
            "write a whole number from 1 to 65535")),
        ("stop_grace", "nan", "cannot use --stop-grace = 'nan': it is out of range; write a number from 0 to 1000000"),
        ("stop_grace", "-1", "cannot use --stop-grace = '-1': it is out of range; write a number from 0 to 1000000"),
        ("per_node", "maybe", "cannot use --per-node = 'maybe': it is not a truth value; write true or false"),
        ("log_dir", "", "cannot use --log-dir: its value is empty; write a DIR or leave the option out"),
    ],
)  # fmt: skip
def test_a_wrong_value_says_what_is_allowed(name: str, text: str, expected: str) -> None:
    with pytest.raises(UsageError) as error:
        load({name: text}, {})
    assert message(error) == expected


def test_a_wrong_variable_or_key_is_a_wrong_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^cannot use MA2L_NNODES = 'two': it is not a whole number; "):
        load({}, {"MA2L_NNODES": "two"})
    (tmp_path / "ma2l.yaml").write_text("nnodes: [1, 2]\n")
    with pytest.raises(ConfigError, match=r"^cannot use ma2l.yaml: nnodes: \['1', '2'\] is not a single value; "):
        load({}, {})


@pytest.mark.parametrize("escaped", [r"\0", r"\ud800"])
def test_text_that_no_command_line_can_hold_is_refused(tmp_path: Path, escaped: str) -> None:
    (tmp_path / "ma2l.yaml").write_text(f'log_dir: "a{escaped}b"\n')
    with pytest.raises(ConfigError, match="no file or host can be called so; write a DIR"):
        load({}, {})


def test_bytes_that_are_not_utf8_are_a_fine_directory() -> None:
    assert load({"log_dir": "\udcff"}, {})[0].log_dir == "\udcff"


@given(st.sampled_from(sorted(FIELDS)), st.text())
def test_any_value_is_taken_or_refused_in_one_line(name: str, text: str) -> None:
    if name in ("config", "profile"):  # these name files
        return
    flag, problem = f"--{name.replace('_', '-')}", ""
    try:
        load({name: text}, {})
    except UsageError as error:
        problem = str(error)
    assert problem == "" or problem.startswith(f"cannot use {flag}")


YAML = st.recursive(
    st.text() | st.sampled_from(["torch", "8", "1e3", "~", "yes", "[", "{a: b}", "&a", "*a", "!!python/object:x", "|"]),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
    max_leaves=4,
)
LINES = st.tuples(st.sampled_from([*FIELDS, *ALIASES, "stop-grace", "no", ""]), YAML).map(": ".join)


@given(
    st.binary() | st.lists(LINES | st.text(), max_size=4).map(lambda lines: "\n".join(lines).encode(errors="replace"))
)
def test_any_file_gives_settings_or_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    problem = ""
    try:
        load({"config": str(path)}, {})
    except ConfigError as error:
        problem = str(error)
    assert problem == "" or problem.startswith("cannot ")
    assert problem.isprintable()


def test_choices_are_those_of_the_mock() -> None:
    assert (PLATFORMS, SOCS) == (MOCK_PLATFORMS, MOCK_SOCS)


def test_every_option_is_described() -> None:
    for name, option in FIELDS.items():
        assert option.metadata["help"], name
        assert option.metadata["value"] or option.type == "bool", name


def test_a_mistyped_variable_is_noticed() -> None:
    lines = misspelt({"MA2L_STOP_GRCE": "3", "MA2L_STOP_GRACE": "3", "MA2L_PRE_START_TIMOUT": "3"})
    assert lines == [
        "MA2L_STOP_GRCE is no variable of ma2l; did you mean MA2L_STOP_GRACE?",
        "MA2L_PRE_START_TIMOUT is no variable of ma2l; did you mean MA2L_PRE_START_TIMEOUT?",
    ]


def test_no_variable_that_ma2l_and_its_entrypoint_know_is_taken_for_a_mistake() -> None:
    files = [*ROOT.glob("ma2l/**/*.py"), *ROOT.glob("entrypoint/**/*.sh"), ROOT / "entrypoint/ma2l-entrypoint"]
    files.append(ROOT / "ma-pre-start.sh")
    named = {name for path in files for name in re.findall(r"\bMA2L_[A-Z_]*[A-Z]\b", path.read_text())}
    assert {"MA2L_PRE_START_DONE", "MA2L_MOCKED", "MA2L_MOCK"} <= named
    assert misspelt(dict.fromkeys(named, "x")) == []


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_is_help_among_options_and_the_commands_own_after_it(word: str) -> None:
    assert split(["--mock", "2", word, "x"]) == ({"help": "true"}, ())
    assert split(["--mock", "2", "x", word]) == ({"mock": "2"}, ("x", word))
