"""The scalar values of rank tables: telling good ones from bad ones, and showing bad ones in a message.

These functions run once or more per rank, so they do no more than they must.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

_OCTETS = frozenset(map(str, range(256)))
_SHOWN_CHARACTERS = 80


def natural(value: object) -> int:
    """The value of a decimal string of at most ten digits, -1 for everything else."""
    if type(value) is str and len(value) < 11 and value.isascii() and value.isdecimal():
        return int(value)
    return -1


def naturals(values: Sequence[str]) -> list[int]:
    """``natural`` of each string, with one look at all of them where they are good, as they mostly are."""
    digits = "".join(values)
    if digits.isascii() and digits.isdecimal() and max(map(len, values)) < 11 and "" not in values:
        return list(map(int, values))
    return list(map(natural, values))


def number(value: object) -> int:
    """The value of a non-negative integer or of a decimal string, -1 for everything else."""
    if type(value) is int:
        return value if value >= 0 else -1
    return natural(value)


def is_port(value: object) -> bool:
    """Whether it is a port, 1 to 65535, as an integer or a decimal string."""
    return 1 <= number(value) <= 65535


def is_ipv4(text: str) -> bool:
    """Whether it is an IPv4 address in dotted decimal form without leading zeros."""
    parts = text.split(".")
    return len(parts) == 4 and _OCTETS.issuperset(parts)


def are_ipv4(texts: Sequence[str]) -> bool:
    """Whether each is an IPv4 address: ``is_ipv4`` with one look at all of them."""
    return all(text.count(".") == 3 for text in texts) and _OCTETS.issuperset(".".join(texts).split("."))


def is_ipv6(text: str) -> bool:
    """Whether it is an IPv6 address without a scope."""
    if ":" not in text:
        return False
    import socket  # late: it costs milliseconds, and most tables have no IPv6 address

    try:
        socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):  # ValueError: a NUL or a character outside ASCII
        return False
    return True


def is_ip(text: str) -> bool:
    """Whether it is an IPv4 or IPv6 address."""
    return is_ipv4(text) or is_ipv6(text)


def shown(value: object) -> str:
    """The value as ASCII JSON in one line of bounded length; lists and objects only by their kind."""
    if isinstance(value, (list, dict)):
        return kind(value)
    if isinstance(value, str):
        value = value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "..."
    text = json.dumps(value)
    return text if isinstance(value, str) or len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


def described(value: object) -> str:
    """The value with its kind, such as ``9, a number``."""
    return f"{shown(value)}, {kind(value)}" if isinstance(value, (str, bool, int, float)) else kind(value)


def kind(value: object) -> str:
    """What JSON calls the type of a value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    return "a string" if isinstance(value, str) else "a list" if isinstance(value, list) else "an object"
