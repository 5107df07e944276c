"""``ma2l version``."""

from __future__ import annotations

import sys

from ma2l import __version__
from ma2l.cli import show


def print_version() -> int:
    """Print the version and the Python that runs it."""
    show(f"ma2l {__version__} (Python {sys.version.split()[0]})\n")
    return 0
