"""Work that is done once there is time for it."""

from __future__ import annotations

from ma2l.supervise.supervisor import Later


def test_it_is_done_once_and_not_before_its_time() -> None:
    done: list[str] = []
    later = Later(lambda: done.append("it"))
    later.service([], 1e12)
    assert done == []
    later.begin(10.0)
    assert later.deadline is not None
    later.service([], later.deadline - 0.1)
    assert done == []
    later.service([], later.deadline)
    later.service([], 1e12)
    assert done == ["it"]


def test_another_beginning_puts_it_off() -> None:
    later = Later(lambda: None)
    later.begin(1.0)
    first = later.deadline
    later.begin(10.0)
    assert first is not None
    assert later.deadline is not None
    assert later.deadline > first
