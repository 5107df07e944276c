"""Describes a mock job: for each node the environment and the files that a real job of that platform would have.

Pure: nothing is read or written here. ``layout.py`` puts the description on disk; the real launcher is then started
once per node with the node's environment and never learns that it is a mock.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from ma2l.errors import UsageError
from ma2l.mock.foreign import unset
from ma2l.mock.server import SOCS
from ma2l.mock.shape import Shape
from ma2l.records import dataclass

PLATFORMS = ("modelarts", "volcano", "ascendjob", "bare")
PORTS = ("MASTER_PORT", "MS_SCHED_PORT")
"""Where ranks of several nodes meet: all nodes must agree, so none of them can look for a free one."""


@dataclass(frozen=True, eq=False)
class MockNode:
    """One node of a mock job."""

    home: str
    """Its own directory, ``<root>/node<rank>``."""
    environ: Mapping[str, str | None]
    """Difference to the caller's environment; ``None`` removes a variable."""
    directories: tuple[str, ...] = ()
    """Directories that exist before the launcher starts."""


@dataclass(frozen=True, eq=False)
class MockJob:
    """A mock job: its nodes by node rank, and the rank table that its platform will publish."""

    shape: Shape
    platform: str
    soc: str
    nodes: tuple[MockNode, ...]
    table: str
    """Text of the completed rank table; empty where the platform has none (``bare``)."""


def build(shape: Shape, platform: str, soc: str, root: str, environ: Mapping[str, str], log_dir: str = "") -> MockJob:
    """Describe a mock job.

    Args:
        platform: one of ``PLATFORMS``.
        soc: one of ``ma2l.mock.server.SOCS``.
        root: absolute path of a directory that belongs to this mock alone.
        environ: the caller's environment: its ``PATH`` is kept behind the mock tools, its platform and rank variables
            are removed, its ``PORTS`` are used by the nodes of a job that has several.
        log_dir: absolute path of a log directory for all nodes, used as ``MA_LOG_DIR`` on ``modelarts``; the caller
            makes it.

    Raises:
        UsageError: unknown platform or SoC, or several bare nodes (nothing tells bare servers of each other).
    """
    if platform not in PLATFORMS:
        raise UsageError(f"mock the platform {platform!r}", "there is no such platform", f"use {', '.join(PLATFORMS)}")
    if soc not in SOCS:
        raise UsageError(f"mock the SoC {soc!r}", "there is no such SoC", f"use {', '.join(SOCS)}")
    if platform == "bare" and shape.nodes > 1:
        why = "nothing on a bare server names the other servers of a job"
        raise UsageError(f"mock {shape.nodes} bare servers", why, "mock one, or another platform")
    nodes = tuple(_node(n, root, shape, platform, soc, environ, log_dir) for n in range(shape.nodes))
    return MockJob(shape, platform, soc, nodes, _table(shape, platform, soc))


def _node(
    node: int, root: str, shape: Shape, platform: str, soc: str, environ: Mapping[str, str], log_dir: str
) -> MockNode:
    home = f"{root}/node{node}"
    difference = unset(environ)
    difference["MA2L_MOCKED"] = root  # for results: no figure of a mock is taken for a real one, or for another mock's
    difference["MA2L_MOCK"] = "0"  # the launcher of a node must find its mock platform, not start another mock
    difference["PATH"] = f"{home}/bin:{environ.get('PATH') or os.defpath}"
    if shape.nodes > 1:
        difference.update((name, environ[name]) for name in PORTS if name in environ)
    directories: tuple[str, ...] = ()
    if platform == "modelarts":
        from ma2l.mock import modelarts

        difference.update(modelarts.variables(node, shape, soc, home, log_dir))
        directories = modelarts.directories(home)
    elif platform == "volcano":
        from ma2l.mock import volcano

        difference.update(volcano.variables(node, shape, home))
    elif platform == "ascendjob":
        from ma2l.mock import ascendjob

        difference.update(ascendjob.variables(node, shape, soc, home, environ.get("MASTER_PORT", "2222")))
    return MockNode(home, difference, directories)


def _table(shape: Shape, platform: str, soc: str) -> str:
    if platform == "bare":
        return ""
    from ma2l.mock import table

    if platform == "ascendjob":
        return table.server_list(shape, soc)
    if platform == "volcano":
        from ma2l.mock.volcano import pod_name
    else:
        from ma2l.mock.modelarts import pod_name
    return table.template_2(shape, soc, [pod_name(node) for node in range(shape.nodes)])
