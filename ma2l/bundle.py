"""Everything of a run that somebody who helps will ask for, in one archive, secrets masked.

The layout is what Huawei's log analyser reads (MindCluster ascend-faultdiag, "Log collection directory structure"):
``rank-<id>.txt`` for what ranks printed, ``process_log`` for CANN's logs, ``environment_check/npu_info_before.txt`` and
``npu_info_after.txt``, ``dmesg``; ours is in ``ma2l``. It reads the last MiB of a rank's log, and takes 5 GB in all.
"""

from __future__ import annotations

import io
import os
import platform
import re
import stat
import subprocess
import tarfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping

from ma2l import __version__
from ma2l.ascend import devices, inventory
from ma2l.diagnose.saved import Saved, read_directory
from ma2l.records import dataclass
from ma2l.secrets import mask, mask_bytes

LOG_TAIL = 64 * 2**20
"""Bytes of a log that are taken, from its end."""
DMESG_TAIL = 8 * 2**20
_BEFORE = ".npu_info_before.txt"
_CANN_LOGS = "process_log"
_OURS = re.compile(r"(?:node\d+|mock)\.[\w.-]+")


@dataclass(frozen=True)
class Part:
    """One file of the archive."""

    name: str
    content: bytes | None = None
    path: str = ""
    """Where to read it, where there is no content."""
    tail: int = LOG_TAIL


@dataclass(frozen=True)
class Bundled:
    """What came of it."""

    files: int
    complaints: tuple[str, ...]


def bundle(log_dir: str, archive: str, environ: Mapping[str, str]) -> Bundled:
    """Write the archive (tar.gz), whole or not at all.

    Args:
        environ: environment for the driver's tools.

    Raises:
        OSError: the log directory cannot be read, or the archive cannot be written.
    """
    root = os.path.basename(archive).partition(".")[0]
    complaints: list[str] = []
    part = f"{archive}.{os.getpid()}.part"
    count = 0
    try:
        with tarfile.open(part, "w:gz", compresslevel=6) as tar:
            for one in _parts(log_dir, environ, complaints):
                try:
                    content = one.content if one.content is not None else _tail(one.path, one.tail)
                except (OSError, ValueError) as error:
                    complaints.append(
                        f"{one.path} is left out: {error.strerror if isinstance(error, OSError) else error}"
                    )
                    continue
                _add(tar, f"{root}/{one.name}", mask_bytes(content))
                count += 1
            manifest = "".join(f"{line}\n" for line in (f"ma2l {__version__}", f"logs of {log_dir}", *complaints))
            _add(tar, f"{root}/ma2l/MANIFEST.txt", manifest.encode(errors="backslashreplace"))
        os.replace(part, archive)
    except BaseException:
        if os.path.exists(part):
            os.unlink(part)
        raise
    return Bundled(count + 1, tuple(complaints))


def _parts(log_dir: str, environ: Mapping[str, str], complaints: list[str]) -> Iterator[Part]:
    saved, unusable = read_directory(log_dir)
    complaints += unusable
    yield from _rank_logs(saved)
    yield from _our_files(log_dir)
    yield from _cann_logs(log_dir)
    yield from _of_this_host(log_dir, environ)
    yield Part("ma2l/explain.txt", _explained(log_dir).encode(errors="backslashreplace"))


def _rank_logs(saved: list[Saved]) -> Iterator[Part]:
    """``rank-<id>.txt``; where several nodes have a rank of that number, below the node's name."""
    logs = [
        (run, process.rank, process.log)
        for run in saved
        for process in run.outcome.processes
        if process.rank is not None and process.log
    ]
    number = Counter((run.attempt[0], rank) for run, rank, _ in logs)
    for run, rank, log in logs:
        node = run.outcome.node_rank
        name = f"node{node}" if node >= 0 else os.path.splitext(os.path.basename(log))[0]
        place = f"{name}/" if number[run.attempt[0], rank] > 1 else ""
        attempt = f".attempt{run.attempt[0]}" if run.attempt[0] > 1 else ""
        yield Part(f"{place}rank-{rank}{attempt}.txt", path=log)


def _our_files(log_dir: str) -> Iterator[Part]:
    names = sorted(os.listdir(log_dir))
    several = sum(name.endswith(_BEFORE) for name in names) > 1
    for name in names:
        path = os.path.join(log_dir, name)
        if name.endswith(_BEFORE):
            place = f"{name[: -len(_BEFORE)]}/" if several else ""
            yield Part(f"{place}environment_check/npu_info_before.txt", path=path)
        elif (_OURS.fullmatch(name) or name.startswith("scheduler")) and os.path.isfile(path):
            yield Part(f"ma2l/{name}", path=path)


def _cann_logs(log_dir: str) -> Iterator[Part]:
    """Everything below directories of that name, whose own names are then the analyser's."""
    for directory, _, names in os.walk(log_dir):
        before, found, below = os.path.relpath(directory, log_dir).partition(_CANN_LOGS)
        if found:
            node = before.partition(".ascend")[0] if ".ascend" in before else ""
            place = os.path.normpath(f"{node}/{_CANN_LOGS}/{below}").lstrip("/")
            yield from (Part(f"{place}/{name}", path=os.path.join(directory, name)) for name in sorted(names))


def _of_this_host(log_dir: str, environ: Mapping[str, str]) -> Iterator[Part]:
    npus = devices.device_files()
    yield Part("environment_check/npu_info_after.txt", inventory.text(npus, environ).encode(errors="replace"))
    shown = "".join(f"{name}={mask(name, value)}\n" for name, value in sorted(environ.items()))
    yield Part("ma2l/environment.txt", shown.encode(errors="backslashreplace"))
    yield Part("ma2l/versions.txt", _versions().encode())
    table = environ.get("RANK_TABLE_FILE", "")
    if os.path.isdir(table):
        table = os.path.join(table, "jobstart_hccl.json")
    if os.path.isfile(table):
        yield Part("ma2l/rank_table.json", path=table)
    dmesg = _kernel_log()
    if dmesg:
        yield Part("dmesg", dmesg)


def _versions() -> str:
    lines = [
        f"ma2l {__version__}",
        f"python {platform.python_version()}",
        f"kernel {platform.release()} {platform.machine()}",
    ]
    for path in (
        "/usr/local/Ascend/driver/version.info", "/usr/local/Ascend/firmware/version.info", "/etc/ascend_install.info",
        "/etc/os-release",
    ):  # fmt: skip
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                lines += [f"# {path}", file.read(65536).rstrip()]
        except OSError:  # not on this host
            continue
    return "\n".join(lines) + "\n"


def _kernel_log() -> bytes:
    """The kernel's messages, where this user may read them."""
    try:
        done = subprocess.run(["dmesg"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout[-DMESG_TAIL:] if done.returncode == 0 else b""


def _explained(log_dir: str) -> str:
    from ma2l.diagnose.explain import explain

    try:
        return explain([log_dir]).text
    except LookupError:
        return "there are no logs of ma2l in this directory\n"


def _tail(path: str, limit: int) -> bytes:
    """The last bytes of a regular file; one that is being written is read up to where it ends now.

    Raises:
        ValueError: it is no regular file.
    """
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file")
        if status.st_size <= limit:
            return file.read(limit)
        file.seek(-limit, os.SEEK_END)
        return b"[ma2l: only the last %d bytes of %d]\n" % (limit, status.st_size) + file.read(limit)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o644
    tar.addfile(entry, io.BytesIO(content))
