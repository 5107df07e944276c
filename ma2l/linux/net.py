"""Ports, names and addresses, without listening on anything or sending anything."""

from __future__ import annotations

import errno
import os
from _socket import (  # the C half of `socket`: importing the other half takes longer than using it
    AF_INET,
    AF_INET6,
    AI_NUMERICHOST,
    SO_REUSEADDR,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
    getaddrinfo,
    if_nameindex,
    inet_pton,
    socket,
)
from itertools import islice

from ma2l.linux.wait import READABLE, Waiter, Wakeup

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import Any

_FIRST, _LAST = 20000, 29499
"""Below the ephemeral range, so that no outgoing connection takes the port meanwhile, and away from HCCL's 60000+."""


_given: set[int] = set()


def free_ports(count: int) -> tuple[int, ...]:
    """TCP ports that can be bound now; two launchers that start together begin to look at different places.

    A port is given once only: on one of an earlier attempt a peer that has yet to die may still be knocking.
    """
    start = os.getpid() * 16 % (_LAST - _FIRST)
    candidates = (_FIRST + (start + step) % (_LAST - _FIRST) for step in range(_LAST - _FIRST))
    found = tuple(islice((port for port in candidates if port not in _given and is_free(port)), count))
    _given.update(found)
    return found


def is_address(text: str) -> bool:
    """Whether the text is an IPv4 or IPv6 address, the latter with or without ``%interface``, and no name."""
    for family, digits in ((AF_INET, text), (AF_INET6, text.partition("%")[0])):
        try:
            inet_pton(family, digits)
        except OSError:
            continue
        return True
    return False


def canonical(address: str) -> str:
    """An address as programs write it: ``2001:db8::1`` for ``2001:DB8:0::1``."""
    digits, percent, interface = address.partition("%")
    return str(_numeric(digits, 0)[1][0]) + percent + interface


def is_local(address: str) -> bool:
    """Whether an address belongs to this host; the ``ip`` command is missing from many images.

    Only an own address can be bound. Where the host lets programs bind foreign ones (``ip_nonlocal_bind``, for virtual
    addresses that move) the route decides: the way to an own address begins at that address. The route alone would miss
    the second address of an interface, which is reached from its first.
    """
    if why_not_bound(address, 0):
        return False
    return not _binds_foreign(address) or source_address(address) == address.partition("%")[0]


def source_address(address: str) -> str:
    """Own address from which another one is reached, empty where no route leads there; nothing is sent."""
    for candidate in _scoped(address):
        try:
            return _source(candidate)
        except OSError:
            continue
    return ""


def why_not_bound(address: str, port: int) -> str:
    """Why no server could listen on that address and TCP port now; empty when it could.

    As servers do it, connections of an earlier one that linger in TIME_WAIT are no obstacle.
    """
    problem = os.strerror(errno.EADDRNOTAVAIL)
    for candidate in _scoped(address):
        try:
            _bind(candidate, port)
        except OSError as error:
            problem = str(error.strerror)
        else:
            return ""
    return problem


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


def is_free(port: int) -> bool:
    """Whether the port can be bound on all addresses. Reading /proc/net/tcp instead takes milliseconds per table."""
    probe = socket(AF_INET, SOCK_STREAM)
    try:
        probe.bind(("", port))
    except OSError:
        return False
    finally:
        probe.close()
    return True


def _bind(address: str, port: int) -> None:
    family, own = _numeric(address, port)
    probe = socket(family, SOCK_STREAM)
    try:
        probe.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        probe.bind(own)
    finally:
        probe.close()


def _source(address: str) -> str:
    family, target = _numeric(address, 9)  # of the discard service, which nobody has to offer
    probe = socket(family, SOCK_DGRAM)
    try:
        probe.connect(target)
        return str(probe.getsockname()[0])
    finally:
        probe.close()


def _numeric(address: str, port: int) -> tuple[int, Any]:
    """Family and socket address of an IP; ``connect`` and ``bind`` take the interface of a link-local one as a number
    only."""
    family, _, _, _, sockaddr = getaddrinfo(address, port, 0, SOCK_STREAM, 0, AI_NUMERICHOST)[0]
    return family, sockaddr


def _scoped(address: str) -> list[str]:
    """The address; a link-local one that names no interface may be on any."""
    if "%" in address or not _is_link_local(address):
        return [address]
    return [f"{address}%{name}" for _, name in if_nameindex()]


def _is_link_local(address: str) -> bool:
    return address[:3].lower() in ("fe8", "fe9", "fea", "feb") and ":" in address


def _binds_foreign(address: str) -> bool:
    """Whether this network namespace lets programs bind addresses that are not its own."""
    path = f"/proc/sys/net/ipv{6 if ':' in address else 4}/ip_nonlocal_bind"
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip() != "0"
    except OSError:  # no such setting in this kernel, or no /proc/sys in this container
        return False
