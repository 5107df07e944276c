"""The kernel's count of kills for want of memory, from files as control groups of both versions have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ma2l.diagnose.oom import kills, risen

V2 = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n"
V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"


def place(root: Path, groups: str, **files: str) -> tuple[str, str]:
    """``/proc/self/cgroup`` and the mount; names of files have ``__`` for ``/``."""
    (root / "cgroup").write_text(groups)
    for name, content in files.items():
        path = root / "mount" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(path.name.replace("_events", ".events").replace("_control", ".oom_control")).write_text(content)
    return str(root / "cgroup"), str(root / "mount")


@pytest.mark.parametrize(
    ("groups", "files", "count"),
    [
        ("0::/job\n", {"job__memory_events": V2}, 2),
        ("0::/\n", {"memory_events": V2}, 2),  # a group namespace, as in most containers
        ("0::/kubepods/pod1/abc\n", {"memory_events": V2}, 2),  # the host's name for what is our root
        ("5:memory:/job\n4:cpu,cpuacct:/job\n0::/\n", {"memory__job__memory_control": V1}, 5),
        ("5:memory:/docker/abc\n", {"memory__memory_control": V1}, 5),
        ("0::/job\n", {}, None),
        ("0::/job\n", {"job__memory_events": "low 0\n"}, None),  # Linux before 4.13
        ("", {}, None),
        ("nonsense\n:::\n", {}, None),
    ],
)
def test_the_counter_is_found(tmp_path: Path, groups: str, files: dict[str, str], count: int | None) -> None:
    assert kills(*place(tmp_path, groups, **files)) == count


def test_no_proc_is_no_counter(tmp_path: Path) -> None:
    assert kills(str(tmp_path / "gone"), str(tmp_path)) is None


@pytest.mark.parametrize(
    ("before", "after", "count"), [(0, 0, 0), (2, 5, 3), (5, 2, 0), (None, 5, None), (2, None, None)]
)
def test_only_a_rise_that_was_seen_counts(before: int | None, after: int | None, count: int | None) -> None:
    assert risen(before, after) == count
