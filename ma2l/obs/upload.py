"""Sends files to the object store: those that are not there yet, small ones first."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from ma2l.obs.client import Client, Stored
from ma2l.obs.request import Root
from ma2l.obs.url import Url
from ma2l.records import dataclass

REPORT_EVERY = 10.0
"""Seconds between two lines about progress where there is no terminal."""
_NEVER = ("*.part", "*.upload_record", "*.tmp")
_MD5_DIGITS = 32


@dataclass(frozen=True)
class File:
    """One file to send."""

    path: str
    name: str
    """Of the object."""
    size: int


@dataclass(frozen=True)
class Sent:
    """What came of it."""

    files: int
    size: int
    there: int
    """How many were there already."""
    complaints: tuple[str, ...]


def plan(roots: Sequence[Root], url: Url) -> tuple[list[File], list[str]]:
    """Which files there are to send, the smallest first, and what is left out and why."""
    found: dict[str, File] = {}
    complaints = []
    for root in roots:
        for relative in _matching(root):
            path = os.path.join(root.directory, relative)
            try:
                status = os.lstat(path)
                if not stat.S_ISREG(status.st_mode):
                    complaints.append(f"{path} is not sent: it is no regular file")
                    continue
                name = url.object_name("/".join(filter(None, (root.below, relative))))
            except OSError:  # gone meanwhile
                continue
            except ValueError as error:
                complaints.append(f"{path} is not sent: {error}")
                continue
            found.setdefault(name, File(path, name, status.st_size))
    return sorted(found.values(), key=lambda file: (file.size, file.name)), complaints


def _matching(root: Root) -> Iterator[str]:
    """Relative paths of what is no directory; links to directories are not followed."""
    for directory, _, names in os.walk(root.directory):
        for name in sorted(names):
            relative = os.path.relpath(os.path.join(directory, name), root.directory)
            wanted = any(fnmatch.fnmatchcase(relative, pattern) for pattern in root.patterns)
            if wanted and not any(fnmatch.fnmatchcase(name, pattern) for pattern in _NEVER):
                yield relative


def missing(files: Sequence[File], there: Mapping[str, Stored]) -> list[File]:
    """Those that are not in the bucket, or differ: by size, and by MD5 where the bucket knows it."""
    return [file for file in files if file.name not in there or _differs(file, there[file.name])]


def _differs(file: File, stored: Stored) -> bool:
    if file.size != stored.size:
        return True
    if len(stored.etag) != _MD5_DIGITS:  # sent in parts
        return False
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with open(file.path, "rb") as content:
            while chunk := content.read(2**20):
                digest.update(chunk)
    except OSError:  # sending it will say why
        return True
    return digest.hexdigest() != stored.etag.lower()


def send(client: Client, url: Url, roots: Sequence[Root], records: str, told: Callable[[str, bool], None]) -> Sent:
    """Send what is missing.

    Args:
        records: directory for notes about files sent in parts.
        told: is called with a line about progress, and whether it is about the end.

    Raises:
        ObsError: the store cannot be reached or refuses; what was sent stays there.
    """
    files, complaints = plan(roots, url)
    wanted = missing(files, client.objects(url)) if files else []
    total, done, started = sum(file.size for file in wanted), 0, time.monotonic()
    for number, file in enumerate(wanted, 1):

        def progress(sent: int, number: int = number, done: int = done) -> None:
            told(f"uploading to {url}: file {number} of {len(wanted)}, {_mib(done + sent)} of {_mib(total)}", False)

        try:
            client.put(url, file.name, file.path, os.path.join(records, _record(file)), progress)
        except FileNotFoundError:
            complaints.append(f"{file.path} is not sent: it is gone")
            continue
        except PermissionError as error:
            complaints.append(f"{file.path} is not sent: {error.strerror}")
            continue
        done += file.size
    seconds = time.monotonic() - started
    there = len(files) - len(wanted)
    also = f" ({there} were there already)" if there else ""
    told(f"uploaded {len(wanted)} files, {_mib(done)}{also} to {url} in {seconds:.1f} s", True)
    return Sent(len(wanted), done, there, tuple(complaints))


def _record(file: File) -> str:
    return hashlib.md5(file.name.encode(), usedforsecurity=False).hexdigest() + ".upload_record"


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
