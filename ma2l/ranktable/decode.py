"""From the bytes of a rank table file to its JSON object: gzip, base64, text, JSON.

The CCE Volcano plugin started with ``--rank-table-compress`` writes base64 of gzip into the ConfigMap, because a
ConfigMap holds no more than 1 MiB. Others write plain JSON. MindCluster's ascend-operator truncates and rewrites the
file in place, so a reader may see any part of it.
"""

from __future__ import annotations

import json

from ma2l.errors import ConfigError
from ma2l.ranktable.table import Incomplete
from ma2l.ranktable.values import kind

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import Any

_OTHER = "see that the path names a rank table"
TEXT_LIMIT = 256 * 1024 * 1024
"""Most bytes of JSON text that are read, however they are packed; a table of 262,144 ranks has 30 to 140 MB."""

_GZIP = b"\x1f\x8b"
_GZIP_IN_BASE64 = b"H4sI"


def decode(raw: bytes, source: str) -> dict[str, Any] | Incomplete:
    """The JSON object in the content of a file.

    Args:
        raw: the content: JSON in UTF-8, gzip of that, or base64 of the gzip.
        source: where it was read, for messages.

    Raises:
        ConfigError: the content is whole and is not a JSON object, or it is larger than ``TEXT_LIMIT``.
    """
    content = raw.lstrip()  # no copy where nothing is stripped
    if not content:
        return Incomplete("empty file")
    if content.startswith(_GZIP_IN_BASE64):
        content = _from_base64(content)
        if not content:
            return Incomplete("base64 text cut short")
    if content.startswith(_GZIP):
        unpacked = _from_gzip(content, source)
        if isinstance(unpacked, Incomplete):
            return unpacked
        content = unpacked
    if len(content) > TEXT_LIMIT:
        raise _too_large(source)
    return _from_json(content, source)


def _from_base64(content: bytes) -> bytes:
    """The decoded bytes; empty where characters are missing at the end."""
    import binascii

    try:
        return binascii.a2b_base64(content)
    except binascii.Error:
        return b""


def _from_gzip(content: bytes, source: str) -> bytes | Incomplete:
    """The unpacked bytes, never more than ``TEXT_LIMIT`` of them in memory."""
    import zlib

    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        unpacked = unpacker.decompress(content, TEXT_LIMIT + 1)
    except zlib.error as error:
        return Incomplete(f"gzip data damaged: {error}")
    if len(unpacked) > TEXT_LIMIT:
        raise _too_large(source)
    return unpacked if unpacker.eof else Incomplete("gzip data cut short")


def _from_json(content: bytes, source: str) -> dict[str, Any] | Incomplete:
    what = f"read the rank table {source}"
    try:
        document = json.loads(
            content.removeprefix(b"\xef\xbb\xbf").decode(), parse_float=_finite, parse_constant=_refuse_constant
        )
    except UnicodeDecodeError as error:
        return Incomplete(f"not valid UTF-8 yet: byte {error.start} is 0x{content[error.start]:02x}")
    except json.JSONDecodeError as error:
        return Incomplete(f"not valid JSON yet: {error.msg}: line {error.lineno} column {error.colno}")
    except RecursionError:
        raise ConfigError(what, "its JSON is nested too deeply", _OTHER) from None
    except ValueError as error:
        reason = str(error).partition(":")[0]  # Python's own text goes on with advice for programmers
        raise ConfigError(what, f"it holds a number that cannot be kept: {reason}", _OTHER) from None
    if not isinstance(document, dict):
        raise ConfigError(what, f"its JSON is {kind(document)}, not an object", _OTHER)
    return document


def _finite(text: str) -> float:
    """A float that can be written again as JSON."""
    value = float(text)
    if value - value != 0:
        raise ValueError(f"{text[:20]} is out of range")
    return value


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _too_large(source: str) -> ConfigError:
    return ConfigError(
        f"read the rank table {source}",
        f"it holds more than {TEXT_LIMIT // 2**20} MiB of text, no rank table does",
        _OTHER,
    )
