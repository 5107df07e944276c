"""Which devices of the own node are ours, and their logical ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ma2l.errors import ConfigError, Ma2lError, NoUsableDevice
from ma2l.platforms.visible import Visible, select

HALF, ALL = (4, 5, 6, 7), tuple(range(8))


@pytest.mark.parametrize(
    ("own", "shown", "granted", "chosen", "count", "expected"),
    [
        (HALF, HALF, None, None, None, Visible(HALF, HALF)),
        (HALF, ALL, None, None, None, Visible(HALF, ALL)),
        (HALF, None, HALF, None, None, Visible(HALF, HALF)),
        (HALF, None, None, None, None, Visible(HALF, HALF, "", False)),
        (HALF, (0, 1, 2, 3), None, None, None, Visible(HALF, HALF, "", False)),
        (ALL, None, HALF, None, None, Visible(HALF, HALF, "ASCEND_VISIBLE_DEVICES")),
        (ALL, ALL, None, (2, 3), None, Visible((2, 3), (2, 3), "ASCEND_RT_VISIBLE_DEVICES")),
        (HALF, HALF, None, (0, 3), None, Visible((4, 7), (4, 7), "ASCEND_RT_VISIBLE_DEVICES")),
        (ALL, (4, 5), None, (0, 1), None, Visible((4, 5), (4, 5), "ASCEND_RT_VISIBLE_DEVICES")),
        (ALL, ALL, None, ALL, None, Visible(ALL, ALL)),
        (HALF, HALF, None, None, 2, Visible((4, 5), HALF, "--nproc-per-node")),
        (HALF, HALF, None, None, 4, Visible(HALF, HALF)),
        (HALF, None, HALF, (1, 2), 1, Visible((5,), (5, 6), "--nproc-per-node")),
    ],
    ids=[
        "physical 4..7 are logical 0..3", "a pod that sees the whole server", "granted", "nothing tells",
        "numbered in another way", "cut by the grant", "cut by the user", "logical ids are chosen",
        "chosen of what is here", "all chosen", "cut by number", "as many as there are", "chosen and cut",
    ],
)  # fmt: skip
def test_cuts(
    own: tuple[int, ...],
    shown: tuple[int, ...] | None,
    granted: tuple[int, ...] | None,
    chosen: tuple[int, ...] | None,
    count: int | None,
    expected: Visible,
) -> None:
    assert select(own, shown, granted, chosen, count) == expected


def test_a_chosen_device_beyond_the_node_is_one_line() -> None:
    with pytest.raises(ConfigError) as error:
        select(HALF, HALF, None, (0, 4), None)
    assert str(error.value) == (
        "cannot use ASCEND_RT_VISIBLE_DEVICES with device 4: this node has 4 devices, numbered from 0; "
        "name devices that exist"
    )


def test_more_ranks_than_devices_is_one_line() -> None:
    with pytest.raises(ConfigError) as error:
        select(HALF, HALF, None, None, 5)
    assert str(error.value) == (
        "cannot start 5 ranks on this node: it has 4 devices; lower --nproc-per-node: one rank per device"
    )


@pytest.mark.parametrize(
    ("shown", "granted", "chosen", "because"),
    [(None, (0, 1), None, "ASCEND_VISIBLE_DEVICES"), (ALL, None, (0, 1), "ASCEND_RT_VISIBLE_DEVICES")],
)
def test_a_cut_that_leaves_nothing_is_one_line(
    shown: tuple[int, ...] | None, granted: tuple[int, ...] | None, chosen: tuple[int, ...] | None, because: str
) -> None:
    with pytest.raises(ConfigError) as error:
        select(HALF, shown, granted, chosen, None)
    assert str(error.value) == (
        f"cannot use any device of this node: {because} leaves none of [4, 5, 6, 7]; correct {because}"
    )


def test_a_missing_device_is_no_warning() -> None:
    with pytest.raises(NoUsableDevice) as error:
        select(ALL, (0, 1, 2, 4, 5, 6, 7), None, None, None)
    assert str(error.value) == (
        "cannot use the devices 0, 1, 2, 3, 4, 5, 6, 7 of this node: there is no /dev/davinci3; "
        "give this container all of them, or choose with ASCEND_RT_VISIBLE_DEVICES"
    )
    assert error.value.exit_code == 197


_ids = st.sets(st.integers(0, 15), min_size=1, max_size=8).map(lambda ids: tuple(sorted(ids)))


@given(_ids, st.none() | _ids, st.none() | _ids, st.none() | _ids, st.none() | st.integers(1, 8))
def test_what_is_kept_is_own_visible_and_as_many_as_asked_for(
    own: tuple[int, ...],
    shown: tuple[int, ...] | None,
    granted: tuple[int, ...] | None,
    chosen: tuple[int, ...] | None,
    count: int | None,
) -> None:
    try:
        seen = select(own, shown, granted, chosen, count)
    except Ma2lError:
        return
    assert seen.kept == tuple(sorted(set(seen.kept)))
    assert set(seen.kept) <= set(own)
    assert set(seen.kept) <= set(seen.order)
    assert count is None or len(seen.kept) == count
    assert bool(seen.because) == (seen.kept != own)
    if granted is not None:
        assert set(seen.kept) <= set(granted)
