"""Parameters of a job become words of the command, exactly as ModelArts appends them; channels reach the ranks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ma2l.errors import ConfigError
from ma2l.parameters import appended, read
from ma2l.platforms.modelarts import channels
from tests.unit.scenario import mock_nodes, plan

SEED = """
    'hyperparameters': [
        {'label': 'config_path', 'value': 'resnet50_imagenet2012_Acc_config.yaml'},
        {'label': 'enable_modelarts', 'value': 'True'},
        {'label': 'epoch_size', 'value': '5'},
    ],
"""
WORDS = ("--config_path=resnet50_imagenet2012_Acc_config.yaml", "--enable_modelarts=True", "--epoch_size=5")


def file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    return str(path)


def message(path: str) -> str:
    with pytest.raises(ConfigError) as error:
        read(path)
    return str(error.value)


def test_the_list_of_ais_benchs_own_configuration(tmp_path: Path) -> None:
    """As it stands in ``modelarts_config.py``, in braces it is YAML too."""
    assert appended(("python", "t.py"), file(tmp_path, "{" + SEED + "}"), {}) == ("python", "t.py", *WORDS)


def test_both_forms_and_values_as_they_are_written(tmp_path: Path) -> None:
    text = "- {name: a, value: 1e-3}\n- {label: b, value: true}\n- {name: c, value: ''}\n- {name: d, value: 0x10}\n"
    expected = ("--a=1e-3", "--b=true", "--c=", "--d=0x10")
    assert appended((), file(tmp_path, text), {}) == expected
    assert appended((), file(tmp_path, "parameters:\n" + text), {}) == expected


def test_channels_that_the_command_does_not_name_come_before(tmp_path: Path) -> None:
    places = {"data_url": "/in", "train_url": "/out", "extra": "/x"}
    path = file(tmp_path, "- {name: extra, value: mine}\n")
    words = appended(("python", "t.py", "--data_url=/own"), path, places)
    assert words == ("python", "t.py", "--data_url=/own", "--train_url=/out", "--extra=mine")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: b", "it holds no list; write `- {name: epochs, value: 5}` lines"),
        ("5", "it holds no list"),
        ("- 5", "entry 1 '5' is no pair of name and value"),
        ("- {name: a}", "entry 1 {'name': 'a'} needs `name` (or `label`) and `value`"),
        ("- {name: a, value: 1}\n- {value: 1}", "entry 2 {'value': '1'} needs `name`"),
        ("- {name: a, label: b, value: 1}", "needs `name` (or `label`)"),
        ("- {name: a, value: [1]}", "must be single words"),
        ("- {name: '', value: 1}", "must be single words"),
        ('- {name: a, value: "\\0"}', "has a NUL"),
        ("- [", "see that it is YAML"),
    ],
)
def test_a_list_of_another_form_is_one_line(tmp_path: Path, text: str, why: str) -> None:
    path = file(tmp_path, text)
    assert message(path).startswith(f"cannot read the parameters {path}: ")
    assert why in message(path)


def test_a_missing_list_is_one_line() -> None:
    assert message("/no/such.yaml").startswith("cannot read the parameters /no/such.yaml: No such file")


V2 = {"inputs": [{"name": "data_url", "local_dir": "/in/data_url_0", "remote": {"obs": {"obs_url": "s3://b/d/"}}}]}
V1 = {"outputs": [{"parameter": {"label": "train_url", "value": "/out/train_url_0"}, "data_source": {"obs": {}}}]}


def test_channels_in_both_forms() -> None:
    environ = {"MA_INPUTS": json.dumps(V2), "MA_OUTPUTS": json.dumps(V1)}
    assert channels(environ) == {"data_url": "/in/data_url_0", "train_url": "/out/train_url_0"}


@pytest.mark.parametrize(
    "text", ["", "[", "[]", "{}", "5", '{"inputs": 5}', '{"inputs": [5, {}, {"name": 5, "local_dir": "/x"}]}',
             '{"inputs": [{"parameter": "x"}]}', "[" * 100_000]
)  # fmt: skip
def test_channels_of_no_form_are_none(text: str) -> None:
    assert channels({"MA_INPUTS": text}) == {}


@given(st.recursive(st.none() | st.integers() | st.text(), lambda i: st.lists(i) | st.dictionaries(st.text(), i)))
def test_any_json_gives_channels_of_text(value: object) -> None:
    found = channels({"MA_INPUTS": json.dumps({"inputs": [value]}), "MA_OUTPUTS": json.dumps(value)})
    assert all(isinstance(word, str) for item in found.items() for word in item)


def test_channels_reach_ranks_by_name_and_never_over_a_variable_of_the_user(tmp_path: Path) -> None:
    environ = mock_nodes("modelarts", "1x2", str(tmp_path))[0]
    for spec in plan(environ).processes:
        assert spec.env["data_url"] == f"{tmp_path}/node0/modelarts/inputs/data_url_0"
        assert spec.env["train_url"] == spec.env["MA2L_RESULTS_DIR"]
    for spec in plan({**environ, "data_url": "/mine"}).processes:
        assert "data_url" not in spec.env


@pytest.mark.parametrize(
    ("command", "place"),
    [
        (("python", "t.py", "--train_url=/from/words"), "/from/words"),
        (("python", "t.py", "--train_url", "/from/words", "--x"), "/from/words"),
        (("python", "t.py", "--train_url=obs://b/out/"), None),
        (("python", "t.py", "--train_url"), "MA"),
    ],
)
def test_the_place_for_figures_is_what_the_command_says(
    tmp_path: Path, command: tuple[str, ...], place: str | None
) -> None:
    environ = mock_nodes("modelarts", "1x2", str(tmp_path))[0]
    found = plan(environ, command).processes[0].env.get("MA2L_RESULTS_DIR")
    assert found == (f"{tmp_path}/node0/modelarts/outputs/train_url_0" if place == "MA" else place)
    assert plan(environ, command, results_dir="/asked").processes[0].env["MA2L_RESULTS_DIR"] == "/asked"
