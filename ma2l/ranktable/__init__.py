"""Rank tables: who trains on which NPU, as the platform wrote it and as HCCL must read it.

The way of a table through this package::

    bytes ─► decode ─► template2 | servers | rank_list ─► check ─► RankTable ─► restrict ─► canonical ─► write

``parse`` takes the content of a file and answers with a ``RankTable``, or with an ``Incomplete`` that says what is
still missing; content that can never become right is a ``ConfigError``. The form is recognised by content, never by
path: template 2 (``group_list``), 1.0 and 1.2 (``server_list``), 2.0 (``rank_list``), each also as gzip or as base64
of gzip. ``check`` knows HCCL's own rules, so that a table HCCL would refuse minutes later is refused here. ``build``
makes a table where the platform wrote none.

Everything is pure except ``write``. Waiting for a file to appear is not done here.
"""

from __future__ import annotations

from ma2l.ranktable.build import build
from ma2l.ranktable.canonical import canonical
from ma2l.ranktable.check import check
from ma2l.ranktable.cut import restrict
from ma2l.ranktable.decode import TEXT_LIMIT
from ma2l.ranktable.read import TEMPLATE_2, parse, violations
from ma2l.ranktable.table import Incomplete, RankTable
from ma2l.ranktable.write import fingerprint, write

__all__ = [
    "TEMPLATE_2",
    "TEXT_LIMIT",
    "Incomplete",
    "RankTable",
    "build",
    "canonical",
    "check",
    "fingerprint",
    "parse",
    "restrict",
    "violations",
    "write",
]
