"""Device files and the variables about visible devices."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ma2l.ascend.devices import device_files, rt_visible_devices, visible_devices
from ma2l.errors import ConfigError


def test_device_files_by_number_and_nothing_else(tmp_path: Path) -> None:
    for name in ("davinci10", "davinci2", "davinci0", "davinci_manager", "davinci", "davinciX", "davinci²", "hisi_hdc"):
        (tmp_path / name).touch()
    assert device_files(str(tmp_path)) == (0, 2, 10)


def test_no_dev_directory_means_no_devices(tmp_path: Path) -> None:
    assert device_files(str(tmp_path / "missing")) == ()


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        ("0", (0,)),
        ("5,6,7,0,1,2,3,4", tuple(range(8))),  # as seen in a real container
        ("0,2,4-6", (0, 2, 4, 5, 6)),
        (" 1 , 3 - 4 ", (1, 3, 4)),
        ("1,1,0-1", (0, 1)),
        ("Ascend910-0,Ascend910-3", (0, 3)),
        ("npu-2", (2,)),
    ],
)
def test_granted_devices(value: str, ids: tuple[int, ...]) -> None:
    for name in ("ASCEND_VISIBLE_DEVICES", "NPU_VISIBLE_DEVICES", "NPU-VISIBLE-DEVICES"):
        assert visible_devices({name: value}) == ids


@pytest.mark.parametrize("value", ["", " ", "void", "all"])
def test_values_that_say_nothing_leave_the_word_to_the_next_variable(value: str) -> None:
    assert visible_devices({"ASCEND_VISIBLE_DEVICES": value}) is None
    assert visible_devices({"ASCEND_VISIBLE_DEVICES": value, "NPU-VISIBLE-DEVICES": "4"}) == (4,)


def test_without_a_variable_nothing_is_said() -> None:
    assert visible_devices({}) is None
    assert rt_visible_devices({}) is None


@pytest.mark.parametrize(
    ("value", "item"),
    [("0,x", "x"), ("3-1", "3-1"), ("0,,1", ""), ("-1", "-1"), ("0-999999999", "0-999999999"), ("1-2-3", "1-2-3")],
)
def test_a_wrong_grant_is_named(value: str, item: str) -> None:
    with pytest.raises(ConfigError) as caught:
        visible_devices({"ASCEND_VISIBLE_DEVICES": value})
    assert str(caught.value).startswith(f"cannot use ASCEND_VISIBLE_DEVICES={value!r}: {item!r} is no device id")


@pytest.mark.parametrize(
    ("value", "ids"), [("0", (0,)), ("1,2,3", (1, 2, 3)), ("0-3,6", (0, 1, 2, 3, 6)), ("2-2", (2,))]
)
def test_visible_to_the_runtime(value: str, ids: tuple[int, ...]) -> None:
    assert rt_visible_devices({"ASCEND_RT_VISIBLE_DEVICES": value}) == ids


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("1, 2,3", "' 2' is no device id or range"),  # CANN would go on with device 1 alone
        ("1,-1", "'-1' is no device id or range"),
        ("3,2,1", "'2' is not above 3"),
        ("0-3,3", "'3' is not above 3"),
        ("1,1", "'1' is not above 1"),
        ("3-1", "'3-1' is no device id or range"),
        ("1,", "'' is no device id or range"),
        ("", "it is empty and names no device"),
    ],
)
def test_where_cann_would_stop_in_silence_we_name_the_item(value: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rt_visible_devices({"ASCEND_RT_VISIBLE_DEVICES": value})
    assert f": {why}; " in str(caught.value)


@given(st.sets(st.integers(0, 1023), min_size=1))
def test_any_ascending_list_is_itself(ids: set[int]) -> None:
    ordered = sorted(ids)
    assert rt_visible_devices({"ASCEND_RT_VISIBLE_DEVICES": ",".join(map(str, ordered))}) == tuple(ordered)


@given(st.text(alphabet="0123456789-, xA\u0663\u00b2"))
def test_any_text_gives_ids_in_order_or_a_configuration_error(text: str) -> None:
    for read, name in ((visible_devices, "NPU_VISIBLE_DEVICES"), (rt_visible_devices, "ASCEND_RT_VISIBLE_DEVICES")):
        try:
            ids = read({name: text})
        except ConfigError:
            continue
        assert ids is None or list(ids) == sorted(set(ids))
