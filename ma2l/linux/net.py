"""Ports and names, without listening on anything."""

from __future__ import annotations

import errno
import os
from _socket import (  # the C half of `socket`: importing the other half takes longer than using it
    AF_INET,
    AF_INET6,
    SOCK_STREAM,
    getaddrinfo,
    inet_pton,
    socket,
)
from itertools import islice

from ma2l.linux.wait import READABLE, Waiter, Wakeup

_FIRST, _LAST = 20000, 29499
"""Below the ephemeral range, so that no outgoing connection takes the port meanwhile, and away from HCCL's 60000+."""


def free_ports(count: int) -> tuple[int, ...]:
    """TCP ports that can be bound now; two launchers that start together begin to look at different places."""
    start = os.getpid() * 16 % (_LAST - _FIRST)
    candidates = (_FIRST + (start + step) % (_LAST - _FIRST) for step in range(_LAST - _FIRST))
    return tuple(islice(filter(_is_free, candidates), count))


def is_address(text: str) -> bool:
    """Whether the text is an IPv4 or IPv6 address and no name."""
    for family in (AF_INET, AF_INET6):
        try:
            inet_pton(family, text)
        except OSError:
            continue
        return True
    return False


def resolve(name: str, waiter: Waiter, deadline: float) -> tuple[str, Wakeup]:
    """Ask once for a name's address; the resolver cannot be interrupted, so it runs in a thread.

    Returns:
        The address, empty when there is none (yet) or the deadline passed, and what ended the wait.

    Raises:
        BlockingIOError: the system refused a thread.
    """
    import threading

    reader, writer = os.pipe()
    try:
        threading.Thread(target=_ask, args=(name, writer), daemon=True).start()
    except RuntimeError as error:  # all that Python says of an EAGAIN
        os.close(reader)
        os.close(writer)
        raise BlockingIOError(errno.EAGAIN, "no thread for the resolver") from error
    wakeup = waiter.wait([(reader, READABLE)], deadline)
    answer = os.read(reader, 256).decode() if reader in wakeup.ready else ""
    os.close(reader)
    return answer, wakeup


def _ask(name: str, writer: int) -> None:
    try:
        answer = str(getaddrinfo(name, None, 0, SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError):  # unknown as yet, or nothing that can be a name
        answer = ""
    try:
        os.write(writer, answer.encode())
    except BrokenPipeError:  # nobody waits any more
        return
    finally:
        os.close(writer)


def _is_free(port: int) -> bool:
    """Whether the port can be bound on all addresses. Reading /proc/net/tcp instead takes milliseconds per table."""
    probe = socket(AF_INET, SOCK_STREAM)
    try:
        probe.bind(("", port))
    except OSError:
        return False
    finally:
        probe.close()
    return True
