"""Asking for a name's address without being stuck in the resolver, and whose an address is."""

from __future__ import annotations

import errno
import os
import signal
import socket
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


FOREIGN = "203.0.113.1"
"""Of a network that is for documentation only; nothing is sent to it."""


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1", True), ("::1", True), ("fe80::1", True), ("fe80::1%eth0", True), ("localhost", False), ("", False)],
)
def test_an_address_is_no_name(text: str, address: bool) -> None:
    assert net.is_address(text) is address


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("0:0::1", "::1"),
        ("2001:DB8:0:0::01", "2001:db8::1"),
        ("fe80:0::1%no-such", "fe80::1%no-such"),
    ],
)
def test_an_address_as_programs_write_it(text: str, canonical: str) -> None:
    assert net.canonical(text) == canonical


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True),
        ("127.0.0.2", True),
        (FOREIGN, False),
        ("2001:db8::1", False),
        ("fe80::bad:1", False),
        ("fe80::1%no-such", False),
    ],
)
def test_whether_an_address_is_ours(address: str, local: bool) -> None:
    assert net.is_local(address) is local


def test_the_own_address_towards_another() -> None:
    assert net.source_address("127.0.0.1") == "127.0.0.1"
    assert net.source_address("127.0.0.9") == "127.0.0.1"
    assert net.source_address("fe80::1%no-such") == ""


def test_a_port_that_somebody_listens_on_and_one_that_was_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert net.why_not_bound("127.0.0.1", port) == os.strerror(errno.EADDRINUSE)
        with socket.create_connection(("127.0.0.1", port)), server.accept()[0]:
            pass  # the server's side closes first and lingers in TIME_WAIT
    assert net.why_not_bound("127.0.0.1", port) == ""
    assert net.why_not_bound(FOREIGN, port) == os.strerror(errno.EADDRNOTAVAIL)
