"""Where ranks leave what they measured, and what tells them: Ais-Bench's files below ``train_url``.

``docs/reference/results.md`` describes the files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from ma2l.cluster import Part
from ma2l.plan.spec import EnvDiff
from ma2l.platforms import modelarts
from ma2l.settings import Settings

RECORDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "recorder")
"""Directory of the one module that training code may import, whatever interpreter it runs in."""


def results_dir(settings: Settings, environ: Mapping[str, str], command: Sequence[str]) -> str:
    """The option, else the ``train_url`` of the command, else ModelArts' own; empty where nobody names one.

    It may be a URL: jobs of ModelArts v1 copy their figures into the bucket themselves.
    """
    place = settings.results_dir or named_in(command) or modelarts.channels(environ).get(modelarts.TRAIN_URL, "")
    return place if not place or is_url(place) else os.path.abspath(place)


def is_url(place: str) -> bool:
    """Whether it is in a bucket."""
    return "://" in place


def names(settings: Settings, environ: Mapping[str, str], command: Sequence[str], part: Part | None) -> EnvDiff:
    """What the recorder reads, in training code or as ``ma2l record``, and on request where Python finds it."""
    env: dict[str, str | None] = {}
    place = results_dir(settings, environ, command)
    if place and not is_url(place):
        env["MA2L_RESULTS_DIR"] = place
    if part or "MA2L_SERVER" in environ:
        env["MA2L_SERVER"] = str(part.server) if part else None
    if settings.recorder:
        env["PYTHONPATH"] = ":".join(filter(None, (environ.get("PYTHONPATH"), RECORDER)))  # last: it shadows nothing
    return env


def named_in(command: Sequence[str]) -> str:
    """The value of ``--train_url VALUE`` or ``--train_url=VALUE``, which ModelArts appends to a command."""
    option = f"--{modelarts.TRAIN_URL}"
    for place, word in enumerate(command):
        name, equals, value = word.partition("=")
        if name == option:
            return value if equals else "".join(command[place + 1 : place + 2])
    return ""
