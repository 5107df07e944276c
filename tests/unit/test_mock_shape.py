"""The size of a mock job: what users write, and the default for a machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ma2l.errors import UsageError
from ma2l.mock.shape import Shape, default_devices, parse_shape


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("8", Shape(1, 8)),
        ("2x4", Shape(2, 4)),
        ("2X4", Shape(2, 4)),
        ("127x1", Shape(127, 1)),
        ("512", Shape(1, 512)),
    ],
)
def test_shapes_that_users_write(text: str, shape: Shape) -> None:
    assert parse_shape(text) == shape


@pytest.mark.parametrize("text", ["", "x", "0", "0x8", "8x0", "-1", "2x", "x4", "2x-4", "99999x9", "128x1", "513"])
@pytest.mark.parametrize("garnish", ["", " "])
def test_wrong_shapes_name_the_text_and_the_form(text: str, garnish: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_shape(text + garnish)
    message = str(caught.value)
    assert message.startswith(f"cannot use the mock shape {text + garnish!r}: ")
    assert message.endswith("; write [NODESx]DEVICES, such as 8 or 2x4")
    assert "\n" not in message


@pytest.mark.parametrize("text", ["2x4x1", "1_0", "+8", "²", "٣", "8" * 5000, "8.0"])
def test_texts_that_python_alone_might_take_for_numbers(text: str) -> None:
    with pytest.raises(UsageError):
        parse_shape(text)


@given(st.text())
def test_any_text_is_a_shape_in_bounds_or_a_usage_error(text: str) -> None:
    try:
        shape = parse_shape(text)
    except UsageError:
        return
    assert 1 <= shape.nodes <= 127
    assert 1 <= shape.devices <= 512


@pytest.mark.parametrize(
    ("available_kib", "devices"),
    [(64 << 20, 8), (8 << 20, 8), ((8 << 20) - 1, 7), (3 << 20, 3), (1 << 20, 1), (1000, 1), (0, 1)],
)
def test_one_device_per_gibibyte_of_available_memory(available_kib: int, devices: int) -> None:
    meminfo = (
        f"MemTotal:       99999999 kB\nMemFree:             1 kB\nMemAvailable:   {available_kib} kB\nBuffers: 1 kB\n"
    )
    assert default_devices(meminfo) == devices


@pytest.mark.parametrize("meminfo", ["", "MemTotal: 1 kB\n", "MemAvailable: many kB\n", "MemAvailable:\n"])
def test_unknown_memory_means_a_whole_server(meminfo: str) -> None:
    assert default_devices(meminfo) == 8


@pytest.mark.parametrize("text", ["x", "x8", "2x"])
def test_half_a_shape_is_quoted_whole(text: str) -> None:
    with pytest.raises(UsageError, match=f"'{text}' is not a number of nodes"):
        parse_shape(text)
