"""The measured part of the row about rank tables: ``table_task.py SOURCE TARGET``.

Reads, checks and writes a table, alone in its interpreter, and prints how long that took (s).
"""

from __future__ import annotations

import sys
import time

from ma2l import ranktable

begun = time.perf_counter()
with open(sys.argv[1], "rb") as file:
    table = ranktable.parse(file.read(), sys.argv[1])
assert isinstance(table, ranktable.RankTable), table
content = ranktable.canonical(table.document)
ranktable.write(content, sys.argv[2])
ranktable.fingerprint(content)
print(time.perf_counter() - begun)
