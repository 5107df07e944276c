"""Names in the object store. Pure.

Source: "Bucket naming" and "Object naming" of the OBS user guide: a bucket has 3 to 63 lower-case letters, digits,
``-`` and ``.``; an object name is up to 1,024 bytes of UTF-8.
"""

from __future__ import annotations

import os
import re

from ma2l.errors import ConfigError
from ma2l.records import dataclass

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_SCHEMES = ("obs://", "s3://")
MOST_BYTES = 1024


@dataclass(frozen=True)
class Url:
    """A place in a bucket."""

    bucket: str
    prefix: str
    """Empty, or ends in ``/``."""

    def __str__(self) -> str:
        return f"obs://{self.bucket}/{self.prefix}"

    def object_name(self, path: str) -> str:
        """The name of an object below this place.

        Args:
            path: relative path with ``/``; its bytes that are not UTF-8 are written as ``%XX``.

        Raises:
            ValueError: it would leave the place, or is too long.
        """
        parts = path.split("/")
        if any(part in ("", ".", "..") for part in parts) or "\0" in path or "\\" in path:
            raise ValueError("its name would lead out of the place it is sent to")
        name = self.prefix + _utf8(path)
        if len(name.encode()) > MOST_BYTES:
            raise ValueError(f"its name would be longer than {MOST_BYTES} bytes")
        return name


def parse(text: str) -> Url:
    """``obs://bucket/path/``; ``s3://`` means the same.

    Raises:
        ConfigError: it is none.
    """
    scheme = next((scheme for scheme in _SCHEMES if text.startswith(scheme)), None)
    bucket, _, prefix = text[len(scheme or "") :].partition("/")
    what = f"use {text!r} as a place in OBS"
    if scheme is None:
        raise ConfigError(what, "it does not begin with obs:// or s3://", "write obs://bucket/path/")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        why = f"{bucket!r} is no bucket's name, which has 3 to 63 small letters, digits, - and ."
        raise ConfigError(what, why, "write obs://bucket/path/")
    prefix = prefix.strip("/")
    if prefix and (any(part in ("", ".", "..") for part in prefix.split("/")) or not prefix.isprintable()):
        raise ConfigError(what, "its path is not plain", "write obs://bucket/path/")
    if len(prefix.encode()) > MOST_BYTES // 2:
        raise ConfigError(what, f"its path is longer than {MOST_BYTES // 2} bytes", "choose a shorter one")
    return Url(bucket, f"{prefix}/" if prefix else "")


def _utf8(path: str) -> str:
    raw = os.fsencode(path)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in raw)
