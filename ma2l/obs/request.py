"""What a run wants to have sent, kept beside its logs so that ``ma2l upload LOG_DIR`` can do it again. No secret."""

from __future__ import annotations

import os
import re

from ma2l.errors import ConfigError
from ma2l.records import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAME = re.compile(r"node\d{1,9}\.upload(?:\.attempt\d{1,9})?\.json")
_LARGEST = 2**20


@dataclass(frozen=True)
class Root:
    """Files of one directory."""

    directory: str
    below: str = ""
    """Where they go below the destination, empty for the destination itself."""
    patterns: tuple[str, ...] = ("*",)
    """Which of its files, as in a shell, but ``*`` stands for ``/`` too."""


@dataclass(frozen=True)
class Request:
    """Where to, and what."""

    destination: str
    roots: tuple[Root, ...]
    endpoint: str | None = None
    hosts: str | None = None
    ca_file: str | None = None


def as_json(request: Request) -> str:
    """The content of ``node<N>.upload.json``."""
    import json

    from ma2l.records import asdict

    return json.dumps(asdict(request), indent=1) + "\n"


def noted(place: str) -> list[Request]:
    """The requests that the runs in a log directory left, or the one in this file.

    Raises:
        ConfigError: the directory cannot be read, or a request has another form.
    """
    if _NAME.fullmatch(os.path.basename(place)) and os.path.isfile(place):
        return [_read(place, os.path.dirname(place) or ".")]
    log_dir = place
    try:
        names = sorted(name for name in os.listdir(log_dir) if _NAME.fullmatch(name))
    except OSError as error:
        raise ConfigError(f"read {log_dir}", str(error.strerror), "name a log directory") from None
    return [_read(os.path.join(log_dir, name), log_dir) for name in names]


def _read(path: str, log_dir: str) -> Request:
    import json

    try:
        with open(path, encoding="utf-8") as file:
            return _request(json.loads(file.read(_LARGEST)), log_dir)
    except OSError as error:
        raise ConfigError(f"read {path}", str(error.strerror), "check its permissions") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ConfigError(f"read {path}", "it is no note of an upload", "name the destination") from None


def _request(data: Any, log_dir: str) -> Request:
    roots = []
    for number, root in enumerate(data["roots"]):
        directory = log_dir if number == 0 else str(root["directory"])  # the logs may have been moved since
        roots.append(Root(directory, str(root["below"]), tuple(map(str, root["patterns"]))))
    texts = {name: str(data[name]) if data.get(name) else None for name in ("endpoint", "hosts", "ca_file")}
    return Request(str(data["destination"]), tuple(roots), **texts)
