"""``ma2l results``: what a job measured, merged from where its nodes wrote it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ma2l import log
from ma2l.cli import options, show
from ma2l.errors import ConfigError, IncompleteResults, UsageError
from ma2l.linux.files import write_whole
from ma2l.settings import split_anywhere

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ma2l.results.sources import Found
    from ma2l.settings import Settings

USAGE = """\
usage: ma2l results [--format table|json] [--output FILE] DIR|obs://BUCKET/PATH/ ...

Merges the figures of a job (throughput_<rank>.json, accuracy.json, ...) by the rules of Ais-Bench. Give what its nodes
wrote to (their train_url), or copies of that, or the place in the bucket where it was uploaded.
Exit code 65: something is missing or contradicts itself; what there is has been printed.
"""
FORMATS = ("table", "json")


def results(words: Sequence[str]) -> int:
    """Parse, read, merge, print; returns the exit code.

    Raises:
        UsageError: wrong words.
        ConfigError: a place cannot be read, or holds no figure.
        IncompleteResults: see above.
    """
    flags, places = split_anywhere(words, ("format", "output"))
    if "help" in flags:
        show(USAGE)
        return 0
    form, output = flags.pop("format", "table"), flags.pop("output", "")
    if form not in FORMATS:
        raise UsageError(f"use --format {form}", "no such format", f"choose one of {', '.join(FORMATS)}")
    if not places:
        raise UsageError("show results", "no directory was named", "write ma2l results DIR...")
    from ma2l.results.job import result_of
    from ma2l.results.show import as_json, as_table

    settings = options(flags, os.environ)
    found = [_read(place, place if len(places) > 1 else "", settings) for place in places]
    if not any(one.source.files for one in found):
        raise ConfigError(f"show the results in {', '.join(places)}", "there is no figure in it", "name a train_url")
    result = result_of(found)
    if output:
        _write(as_json(result), output)
    show(as_json(result) if form == "json" else as_table(result))
    if not result.complete:
        raise IncompleteResults(f"give the whole result of {', '.join(places)}", "; ".join(result.problems))
    return 0


def _read(place: str, called: str, settings: Settings) -> Found:
    from ma2l.results import sources

    if "://" in place:
        from ma2l.obs import reading

        return reading.of_bucket(place, settings, os.environ, called)
    try:
        return sources.of_directory(place, called)
    except OSError as error:
        raise ConfigError(f"read {place}", str(error.strerror), "name a directory") from None


def _write(text: str, path: str) -> None:
    try:
        write_whole(text, path)
    except OSError as error:
        raise ConfigError(f"write {path}", str(error.strerror), "choose another --output") from None
    log.info(f"wrote {path}")
