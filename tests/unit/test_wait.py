"""One wait for signals, descriptors and a deadline."""

from __future__ import annotations

import os
import signal
import time

import pytest

from ma2l.linux.wait import READABLE, WRITABLE, Waiter, Wakeup
from tests.unit.conftest import InChild


def test_signals_come_in_their_order(in_child: InChild) -> None:
    def body() -> None:
        waiter = Waiter()
        for signum in (signal.SIGUSR2, signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM):
            os.kill(os.getpid(), signum)
        assert waiter.wait().signals == (signal.SIGUSR2, signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM)

    in_child(body)


def test_what_was_blocked_until_there_were_handlers_arrives_and_is_no_workers_mask(in_child: InChild) -> None:
    def body() -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM, signal.SIGCHLD])
        os.kill(os.getpid(), signal.SIGUSR1)
        waiter = Waiter(before)
        assert waiter.wait().signals == (signal.SIGUSR1,)
        assert waiter.inherited_mask == before
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before

    in_child(body)


def test_a_signal_between_two_waits_is_not_lost(in_child: InChild) -> None:
    def body() -> None:
        waiter = Waiter()
        assert waiter.wait(deadline=time.monotonic()) == Wakeup()
        os.kill(os.getpid(), signal.SIGHUP)
        assert waiter.wait().signals == (signal.SIGHUP,)

    in_child(body)


def test_a_signal_ends_a_blocked_wait(in_child: InChild) -> None:
    def body() -> None:
        waiter = Waiter()
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        child = os.fork()
        if child == 0:
            os._exit(0)
        assert signal.SIGCHLD in waiter.wait().signals

    in_child(body)


def test_descriptors_that_are_ready_or_hung_up_are_named(in_child: InChild) -> None:
    def body() -> None:
        waiter = Waiter()
        reader, writer = os.pipe()
        assert waiter.wait([(reader, READABLE), (writer, WRITABLE)]).ready == (writer,)
        os.close(writer)
        assert waiter.wait([(reader, 0)]).ready == (reader,)

    in_child(body)


@pytest.mark.parametrize("seconds", [-5.0, 0.0, 0.01])
def test_a_deadline_ends_the_wait_and_not_before(in_child: InChild, seconds: float) -> None:
    def body() -> None:
        deadline = time.monotonic() + seconds
        assert Waiter().wait(deadline=deadline) == Wakeup()
        assert time.monotonic() >= deadline

    in_child(body)


def test_a_deadline_beyond_what_poll_takes_is_a_long_wait(in_child: InChild) -> None:
    def body() -> None:
        waiter = Waiter()
        os.kill(os.getpid(), signal.SIGTERM)
        assert waiter.wait(deadline=time.monotonic() + 1e9).signals == (signal.SIGTERM,)

    in_child(body)


def test_ignored_stop_signals_stay_ignored_and_sigchld_does_not(in_child: InChild) -> None:
    def body() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        waiter = Waiter()
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGCHLD)
        assert waiter.wait().signals == (signal.SIGCHLD,)

    in_child(body)


def test_a_blocked_signal_is_heard_and_the_mask_remembered(in_child: InChild) -> None:
    def body() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
        os.kill(os.getpid(), signal.SIGTERM)
        waiter = Waiter()
        assert waiter.inherited_mask == {signal.SIGTERM, signal.SIGUSR1}
        assert waiter.wait().signals == (signal.SIGTERM,)

    in_child(body)


def test_a_storm_that_fills_the_pipe_neither_blocks_nor_ends_the_waiting(in_child: InChild) -> None:
    def body() -> None:
        waiter = Waiter()
        for _ in range(70_000):
            os.kill(os.getpid(), signal.SIGUSR1)
        assert set(waiter.wait().signals) == {signal.SIGUSR1}
        os.kill(os.getpid(), signal.SIGTERM)
        assert waiter.wait().signals == (signal.SIGTERM,)

    in_child(body)


def test_released_stop_signals_have_their_default_action_again(in_child: InChild) -> None:
    def body() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        Waiter().release()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

    in_child(body)
