"""Keeps secrets out of everything ma2l prints or writes: values of names that look like keys are masked."""

from __future__ import annotations

import re
from collections.abc import Sequence

MASK = "***"
_TELLING = (
    *("PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "CREDENTIAL", "AUTHORIZATION", "COOKIE"),
    *("ACCESS_KEY", "ACCESSKEY", "API_KEY", "APIKEY", "PRIVATE_KEY", "PRIVATEKEY"),
)
_WORDS = frozenset(("AK", "SK", "KEY", "PWD", "PASS", "AUTH"))
# Inside a word, as in sh -c 'TOKEN=x run'. A name is tried from its beginning only: a long word is searched once.
_ASSIGNMENT = re.compile(r"""(?<![\w.-])([\w.-]+)=("[^"]*"|'[^']*'|[^\s;&|]+)""")
_URL_PASSWORD = re.compile(r"(://[^/@\s:]*):[^/@\s]+@")


def looks_secret(name: str) -> bool:
    """Whether a variable or an option of that name holds something that must not be shown."""
    upper = name.upper().replace("-", "_").replace(".", "_").replace("TOKENIZ", "")  # a tokenizer is no token
    return any(part in upper for part in _TELLING) or not _WORDS.isdisjoint(upper.split("_"))


def mask(name: str, value: str) -> str:
    """The value, or a mask in its place."""
    return MASK if value and looks_secret(name) else value


def mask_argv(argv: Sequence[str]) -> tuple[str, ...]:
    """A command line with the values of ``--secret VALUE``, ``SECRET=VALUE`` and ``scheme://user:SECRET@`` masked."""
    shown: list[str] = []
    hide_next = False
    for word in argv:
        name, equals, _value = word.partition("=")
        if hide_next and not word.startswith("-"):
            shown.append(MASK)
        elif equals and not any(map(str.isspace, name)) and looks_secret(name):
            shown.append(f"{name}={MASK}")
        else:
            shown.append(_URL_PASSWORD.sub(rf"\1:{MASK}@", _ASSIGNMENT.sub(_masked_assignment, word)))
        hide_next = word.startswith("-") and not equals and looks_secret(word.lstrip("-"))
    return tuple(shown)


def _masked_assignment(found: re.Match[str]) -> str:
    return f"{found[1]}={MASK}" if looks_secret(found[1]) else found[0]


_IN_JSON = re.compile(rb"""(["'])([\w.-]+)\1(\s*:\s*)(["'])((?:(?!\4).)*)\4""")
_OPTION = re.compile(rb"""(--[\w-]+)(\s+|=)([^\s"',]+)""")
_PLAIN = re.compile(rb"""([\w.-]+)(=)("[^"]*"|'[^']*'|[^\s;&|,"']+)""")
_URL = re.compile(rb"(://[^/@\s:]*):[^/@\s]+@")


def mask_bytes(text: bytes) -> bytes:
    """Text of a log with the values of secret-looking names masked: ``NAME=VALUE``, ``"name": "value"``,
    ``--name VALUE`` and passwords in URLs. All other bytes stay."""
    if b"=" in text or b"--" in text:
        text = _PLAIN.sub(_masked_pair, _OPTION.sub(_masked_pair, text))
    if b":" in text:
        text = _URL.sub(rb"\1:***@", _IN_JSON.sub(_masked_json, text))
    return text


def _masked_pair(found: re.Match[bytes]) -> bytes:
    return (
        found[1] + found[2] + MASK.encode() if looks_secret(found[1].decode(errors="replace").lstrip("-")) else found[0]
    )


def _masked_json(found: re.Match[bytes]) -> bytes:
    quote, name, colon, other = found[1], found[2], found[3], found[4]
    if not looks_secret(name.decode(errors="replace")):
        return found[0]
    return quote + name + quote + colon + other + MASK.encode() + other
