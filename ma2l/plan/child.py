"""How a further Python process runs a module of this very ma2l, whatever ``PYTHONPATH`` and working directory say."""

from __future__ import annotations

import os

_PLACE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run_module(module: str) -> tuple[str, str]:
    """Words for a Python interpreter: call ``ma2l.<module>.main`` with the words that follow, exit with its code.

    ma2l's place comes last on the path: the child finds everything else where it would without it.
    """
    start = f"import sys; sys.path.append({_PLACE!a}); from ma2l.{module} import main; sys.exit(main(sys.argv[1:]))"
    return ("-c", start)
