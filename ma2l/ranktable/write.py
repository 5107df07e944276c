"""Puts a rank table where the ranks read it.

The file is regular, because torch_npu refuses a symbolic link; 0640, because MindIE refuses more; and complete from
the moment it has its name, because HCCL fails at once on a torn one. HCCL's loader searches the resolved path for its
first ``.json`` and wants the path to end there.
"""

from __future__ import annotations

import errno
import os

from ma2l.errors import ConfigError, SystemRefused

_MODE = 0o640
_SUFFIX = ".json"
_WRONG_PLACE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EROFS, errno.ENAMETOOLONG)


def fingerprint(content: bytes) -> str:
    """The SHA-256 of a table in hexadecimal: the same on all nodes that agree."""
    import hashlib  # late: it loads OpenSSL

    return hashlib.sha256(content).hexdigest()


def write(content: bytes, path: str) -> None:
    """Write atomically: another process sees the old file or the whole new one.

    A symbolic link at ``path`` is replaced, never followed. The mode is 0640 whatever the umask.

    Args:
        content: the bytes, as from ``canonical``.
        path: where to; its directory exists, and it ends in ``.json`` and has that nowhere else.

    Raises:
        ConfigError: HCCL would not read a table at this path, or no file can be there.
        SystemRefused: the file system refused; nothing is left behind.
    """
    directory, name = os.path.split(path)
    try:
        resolved = os.path.join(os.path.realpath(directory), name)
        if not resolved.endswith(_SUFFIX) or resolved.count(_SUFFIX) > 1:
            why = f"HCCL reads only a path that ends in {_SUFFIX} and has {_SUFFIX} nowhere else"
            raise ConfigError(f"write the rank table {path}", why, "choose another directory or name")
        _replace(content, path, os.path.join(directory, f".{name}.{os.urandom(8).hex()}"))
    except OSError as error:
        kind = ConfigError if error.errno in _WRONG_PLACE else SystemRefused
        raise kind(f"write the rank table {path}", str(error.strerror), "choose another place") from error


def _replace(content: bytes, path: str, temporary: str) -> None:
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
    try:
        with open(fd, "wb") as file:
            os.fchmod(fd, _MODE)  # the umask may have taken the group's bit
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
