"""HCCL's rules for rank tables, applied before anything starts.

The rules stand with the form they belong to: ``servers`` and ``super_pods`` (1.0, 1.2), ``rank_list`` (2.0). What the
public documents leave open is never a violation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from ma2l.ranktable import rank_list, servers
from ma2l.ranktable.values import shown

LIMIT = 1000
"""Most violations that are collected."""


def check(document: Mapping[str, object]) -> list[str]:
    """Every violation in a complete 1.0, 1.2 or 2.0 document, at most ``LIMIT``.

    Each is one line that names the server (or the rank in 2.0) and the field. Rules on values are applied only when
    every field has the type HCCL expects. Takes time linear in the number of ranks.
    """
    return list(islice(_violations(document), LIMIT))


def _violations(document: Mapping[str, object]) -> Iterator[str]:
    version = document.get("version")
    if rank_list.in_use(document):
        if version is not None and version != "2.0":
            yield f'version is {shown(version)}; a table with rank_list has version "2.0"'
        yield from rank_list.violations(document)
    elif "server_list" in document:
        if version == "2.0":
            yield 'version is "2.0"; a table with server_list has version "1.0" or "1.2"'
        yield from servers.violations(document)
    else:
        yield "it has neither server_list nor rank_list"
