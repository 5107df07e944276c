"""From which NUMA nodes this thread, and what it starts, takes memory: ``set_mempolicy`` without libnuma.

The policy belongs to a thread, is copied to its children and survives ``exec``; so it is set around a spawn, as CPU
affinity is. Sources: set_mempolicy(2), get_mempolicy(2); the numbers are those of ``linux/mempolicy.h`` and of the
system call tables of x86-64 and of aarch64 (``asm-generic/unistd.h``).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence

_MPOL_BIND = 2
_SET_AND_GET = {"x86_64": (238, 239), "aarch64": (237, 236)}
_MAX_NODES = 1024  # the kernel's own limit (NODES_SHIFT is at most 10); get_mempolicy refuses a smaller mask
_MASK_BITS = _MAX_NODES + 1  # the kernel takes one off the number it is given
_libc = ctypes.CDLL(None, use_errno=True)
_Mask = ctypes.c_ulong * (_MAX_NODES // (8 * ctypes.sizeof(ctypes.c_ulong)))


class StrictMemory:
    """While it is entered, memory comes from the given NUMA nodes alone (``MPOL_BIND``).

    Strict means that a process runs out of memory when those nodes are full, whatever others have left.

    Args:
        nodes: ids of NUMA nodes; with none nothing is done.

    Raises:
        OSError: on entering; EPERM where a container's seccomp filter forbids the call, ENOSYS in a kernel without
            NUMA and on other machines than x86-64 and aarch64, EINVAL for nodes that the cpuset does not allow.
    """

    def __init__(self, nodes: Sequence[int]) -> None:
        self._nodes = nodes
        self._mode = ctypes.c_int()
        self._mask = _Mask()

    def __enter__(self) -> None:
        if self._nodes:
            set_policy, get_policy = _numbers()
            _call(get_policy, ctypes.byref(self._mode), self._mask, ctypes.c_ulong(_MASK_BITS), None, ctypes.c_ulong())
            _call(set_policy, ctypes.c_int(_MPOL_BIND), _mask_of(self._nodes), ctypes.c_ulong(_MASK_BITS))

    def __exit__(self, *_: object) -> None:
        if self._nodes:
            _call(_numbers()[0], self._mode, self._mask, ctypes.c_ulong(_MASK_BITS))


def refusal(nodes: Sequence[int]) -> str:
    """Why memory cannot be bound to these nodes here; empty if it can."""
    try:
        with StrictMemory(nodes):
            return ""
    except OSError as error:
        return str(error.strerror)


def _numbers() -> tuple[int, int]:
    machine = os.uname().machine
    if machine not in _SET_AND_GET:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return _SET_AND_GET[machine]


def _mask_of(nodes: Sequence[int]) -> ctypes.Array[ctypes.c_ulong]:
    mask = _Mask()
    bits = 8 * ctypes.sizeof(ctypes.c_ulong)
    for node in nodes:
        if not 0 <= node < _MAX_NODES:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        mask[node // bits] |= 1 << node % bits
    return mask


def _call(number: int, *arguments: object) -> None:
    if _libc.syscall(ctypes.c_long(number), *arguments):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
