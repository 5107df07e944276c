"""From the content of a rank table file to a checked ``RankTable``: recognise the form, convert, check."""

from __future__ import annotations

from ma2l.errors import ConfigError
from ma2l.ranktable import rank_list, servers, super_pods, template2
from ma2l.ranktable.check import check
from ma2l.ranktable.decode import decode
from ma2l.ranktable.pause import CollectorPause
from ma2l.ranktable.progress import is_complete, progress
from ma2l.ranktable.table import Incomplete, RankTable

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    from typing import Any

TEMPLATE_2 = "template 2"
_SHOWN_VIOLATIONS = 3
_CORRECT = "correct it, or have the platform write it again"


def parse(raw: bytes, source: str) -> RankTable | Incomplete:
    """Read one rank table.

    Args:
        raw: the content of the file: any form, plain, gzip, or base64 of gzip.
        source: where it was read, for messages.

    Returns:
        The table, or why it may become one later: no content, torn content, or a status other than ``completed``.

    Raises:
        ConfigError: the content is complete and wrong; the message names the first violations.
    """
    with CollectorPause():
        return _parse(raw, source)


def violations(raw: bytes, source: str) -> list[str] | Incomplete:
    """Everything that is wrong with a complete table, one line each; arguments as for ``parse``.

    Raises:
        ConfigError: it is no rank table at all.
    """
    with CollectorPause():
        found = _recognised(raw, source)
        return found if isinstance(found, Incomplete) else _violations(*found)


def _parse(raw: bytes, source: str) -> RankTable | Incomplete:
    found = _recognised(raw, source)
    if isinstance(found, Incomplete):
        return found
    form, document = found
    if form != TEMPLATE_2:
        _require(check(document), source)
        nodes = rank_list.nodes(document) if form == "2.0" else servers.nodes(document)
        return RankTable(source, form, document, nodes)
    _require(template2.check(document), source)
    converted, instances = template2.convert(document)
    _require(check(converted), source)
    return RankTable(source, form, converted, instances)


def _recognised(raw: bytes, source: str) -> tuple[str, dict[str, Any]] | Incomplete:
    """The form of a complete table, and its document with a version."""
    document = decode(raw, source)
    if isinstance(document, Incomplete):
        return document
    if not is_complete(document):
        return Incomplete(progress(document))
    if rank_list.in_use(document):
        return "2.0", _with_version(document, "2.0")
    if "server_list" in document:
        form = _form_of_servers(document)
        return form, _with_version(document, form)
    if "group_list" in document:
        return TEMPLATE_2, document
    raise ConfigError(
        f"use the rank table {source}",
        "it has none of server_list, group_list and rank_list",
        "see that the path names a rank table",
    )


def _violations(form: str, document: dict[str, Any]) -> list[str]:
    if form != TEMPLATE_2:
        return check(document)
    return template2.check(document) or check(template2.convert(document)[0])


def _form_of_servers(document: dict[str, Any]) -> str:
    version = document.get("version")
    if version in ("1.0", "1.2"):
        return str(version)
    return "1.2" if super_pods.described_in(document) else "1.0"


def _with_version(document: dict[str, Any], form: str) -> dict[str, Any]:
    """The document, given a version where it has none: HCCL insists on one."""
    return document if "version" in document else {**document, "version": form}


def _require(violations: list[str], source: str) -> None:
    """Raise what is wrong with the table as one line, if anything is."""
    if not violations:
        return
    why = "; ".join(violations[:_SHOWN_VIOLATIONS])
    more = len(violations) - _SHOWN_VIOLATIONS
    raise ConfigError(f"use the rank table {source}", f"{why}; and {more} more" if more > 0 else why, _CORRECT)
