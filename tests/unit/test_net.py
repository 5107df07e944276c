"""Asking for a name's address without being stuck in the resolver."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time

import pytest

from ma2l.linux import net
from ma2l.linux.wait import Waiter
from tests.unit.conftest import InChild


def test_a_known_name_has_an_address(in_child: InChild) -> None:
    def body() -> None:
        address, _ = net.resolve("127.0.0.1", Waiter(), time.monotonic() + 60)
        assert address == "127.0.0.1"

    in_child(body)


@pytest.mark.parametrize("name", ["x" * 64 + ".invalid", "a..b"])
def test_what_can_be_no_name_has_no_address(in_child: InChild, name: str) -> None:
    def body() -> None:
        assert net.resolve(name, Waiter(), time.monotonic() + 60)[0] == ""

    in_child(body)


def test_a_signal_ends_the_wait_and_the_late_answer_hurts_nobody(in_child: InChild) -> None:
    def body() -> None:
        problems: list[object] = []
        threading.excepthook = problems.append
        asked = threading.Event()

        def slow(*_words: object) -> object:
            asked.wait()
            raise OSError(errno.EIO, "no answer")

        setattr(net, "getaddrinfo", slow)  # noqa: B010 - in a child: nothing to restore
        waiter = Waiter()
        os.kill(os.getpid(), signal.SIGTERM)
        address, wakeup = net.resolve("anything", waiter, time.monotonic() + 60)
        assert (address, wakeup.signals) == ("", (signal.SIGTERM,))
        asked.set()
        for thread in threading.enumerate():
            if thread is not threading.current_thread():
                thread.join()
        assert not problems

    in_child(body)


def test_a_thread_that_the_system_refuses_is_an_error_of_the_system(
    in_child: InChild, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)

    def body() -> None:
        before = os.listdir("/proc/self/fd")
        waiter = Waiter()
        with pytest.raises(BlockingIOError):
            net.resolve("anything", waiter, time.monotonic())
        assert len(os.listdir("/proc/self/fd")) == len(before) + 2, "only the waiter's own pipe"

    in_child(body)
