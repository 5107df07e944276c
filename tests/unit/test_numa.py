"""The kernel's lists, NUMA nodes and cores in sysfs, and memory policy on the real kernel."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ma2l.linux import cpulist, mempolicy, numa
from ma2l.linux.mempolicy import StrictMemory
from ma2l.linux.spawn import spawn
from tests.unit.conftest import InChild


@pytest.mark.parametrize(
    ("text", "ids"),
    [("", ()), (" \n", ()), ("0", (0,)), ("0-3,8\n", (0, 1, 2, 3, 8)), ("8,0-1", (0, 1, 8)), ("2,1-3", (1, 2, 3))],
)
def test_lists_are_read(text: str, ids: tuple[int, ...]) -> None:
    assert cpulist.parse(text) == ids


@pytest.mark.parametrize("text", ["x", "1-", "-1", "3-1", "1,,2", "1-2-3", "0-99999999", "\u0661", "1.5", ","])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"id|down"):
        cpulist.parse(text)


@given(st.sets(st.integers(0, 500)))
def test_lists_are_written_as_they_are_read(ids: set[int]) -> None:
    text = cpulist.text(ids)
    assert cpulist.parse(text) == tuple(sorted(ids))
    assert len(text.split(",")) == max(1, sum(number - 1 not in ids for number in ids))


def test_this_machines_nodes_hold_the_cpus_we_may_use() -> None:
    nodes = numa.nodes()
    if nodes:
        assert os.sched_getaffinity(0) <= {cpu for cpus in nodes.values() for cpu in cpus}
    assert sorted(numa.by_core(os.sched_getaffinity(0))) == sorted(os.sched_getaffinity(0))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_nodes_and_pci_devices_in_sysfs(tmp_path: Path) -> None:
    base = tmp_path / "devices/system/node"
    for node, cpus in (("node0", "0-1,4-5\n"), ("node10", "2\n"), ("node2", "\n")):
        write(base / node / "cpulist", cpus)
    write(base / "online", "0,2,10\n")
    assert list(numa.nodes(str(tmp_path)).items()) == [(0, (0, 1, 4, 5)), (2, ()), (10, (2,))]
    write(tmp_path / "bus/pci/devices/0000:c1:00.0/numa_node", "2\n")
    write(tmp_path / "bus/pci/devices/0000:c2:00.0/numa_node", "-1\n")
    found = [numa.node_of_pci(f"0000:{bus}:00.0", str(tmp_path)) for bus in ("C1", "C2", "C3")]
    assert found == [2, None, None]


def test_a_machine_without_numa_has_no_nodes(tmp_path: Path) -> None:
    assert numa.nodes(str(tmp_path)) == {}
    assert numa.memory_allowed(str(tmp_path)) == ()


def test_hardware_threads_are_neighbours(tmp_path: Path) -> None:
    for cpu in range(8):
        path = tmp_path / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        write(path, f"{cpu % 4},{cpu % 4 + 4}\n")
    assert numa.by_core(range(8), str(tmp_path)) == (0, 4, 1, 5, 2, 6, 3, 7)
    assert numa.by_core((5, 3, 1), str(tmp_path)) == (1, 5, 3)
    assert numa.by_core((5, 3, 1), str(tmp_path / "nothing")) == (1, 3, 5)


def policies(path: Path, memory: tuple[int, ...]) -> set[str]:
    """The memory policies of a program that prints those of its own mappings."""
    cat = shutil.which("cat") or "cat"
    output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    pid = spawn(cat, ("cat", "/proc/self/numa_maps"), {}, output=output, stdin=None, mask=frozenset(), memory=memory)
    os.close(output)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return {line.split()[1] for line in path.read_text().splitlines()}


@pytest.mark.parametrize("way", ["posix_spawn", "fork"])
def test_strict_memory_is_the_new_processs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    def refused(*_words: object, **_options: object) -> int:
        raise NotImplementedError("The 'setsid' parameter is not supported by posix_spawn")

    if way == "fork":
        monkeypatch.setattr(os, "posix_spawn", refused)
    node = numa.memory_allowed()[0]
    why = mempolicy.refusal((node,))
    if why:  # a container forbids it: then a start with it fails as the call does
        with pytest.raises(OSError, match=why):
            policies(tmp_path / "out", (node,))
        return
    assert f"bind:{node}" in policies(tmp_path / "out", (node,))
    assert not any("bind" in policy for policy in policies(tmp_path / "out", ()))


def test_nested_strict_memory_gives_back_what_was_set(tmp_path: Path, in_child: InChild) -> None:
    node = numa.memory_allowed()[0]
    allowed = not mempolicy.refusal((node,))

    def body() -> None:
        with StrictMemory((node,)):
            assert f"bind:{node}" in policies(tmp_path / "inner", (node,))
            assert f"bind:{node}" in policies(tmp_path / "outer", ())
        assert not any("bind" in policy for policy in policies(tmp_path / "none", ()))

    if allowed:
        in_child(body)
    else:
        with pytest.raises(OSError, match=r"\S"):
            body()


@pytest.mark.parametrize("nodes", [(1023,), (4096,)])
def test_nodes_that_are_not_there_are_refused(nodes: tuple[int, ...]) -> None:
    assert mempolicy.refusal(nodes)


def test_nothing_is_asked_of_the_kernel_for_no_nodes() -> None:
    assert mempolicy.refusal(()) == ""


def test_another_machine_has_no_such_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "n", "6", "v", "riscv64")))
    assert mempolicy.refusal((0,)) == os.strerror(errno.ENOSYS)


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)
    )  # fmt: skip


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction)))


def forbid(number: int) -> None:
    """A seccomp filter as containers have it: this system call fails with EPERM, every other is allowed."""
    instructions = (_Instruction * 4)(
        _Instruction(0x20, 0, 0, 0),  # load the number of the call
        _Instruction(0x15, 0, 1, number),  # equal, or else skip one
        _Instruction(0x06, 0, 0, 0x00050000 | errno.EPERM),  # return SECCOMP_RET_ERRNO
        _Instruction(0x06, 0, 0, 0x7FFF0000),  # return SECCOMP_RET_ALLOW
    )
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    program = _Program(len(instructions), instructions)
    assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0, os.strerror(ctypes.get_errno())  # PR_SET_SECCOMP


def test_a_seccomp_filter_that_forbids_it_is_a_reason(in_child: InChild) -> None:
    def body() -> None:
        forbid({"x86_64": 238, "aarch64": 237}[os.uname().machine])
        assert mempolicy.refusal((numa.memory_allowed()[0],)) == os.strerror(errno.EPERM)

    in_child(body)
