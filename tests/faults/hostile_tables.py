"""A program: gives the table reader that many hostile inputs and counts what came of them.

Usage: ``python -m tests.faults.hostile_tables COUNT SEED``. Prints ``{"table": N, "incomplete": N, "refused": N}``;
dies with a traceback and the input where anything else came of one.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
import sys
from collections import Counter

from tests.rank_tables import FORMS, MAKERS, only_known_outcomes

HOSTILE_VALUES = (
    "-1", "1e999", "1E400", "NaN", "-Infinity", "9" * 400, "9" * 5000, "0.5", "18446744073709551616", "true", "null",
    "{}", "[]", '""', '"0"', '" 0"', '"\\ud800"', '"\\u0000"', '"\u0663"', '"1.0"', '"2.0"', '"completed"',
    '"255.255.255.256"', '"' + "a" * 3000 + '"', "[" * 60 + "]" * 60, "[" * 3000, '{"a":' * 2000, '{"server_list":[]}',
    '[{"device_id":"0"}]',
)  # fmt: skip
"""Put in the place of a value of JSON: out of range, of another type, not in Unicode, endless, or right elsewhere."""
HOSTILE_BYTES = (
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\x1f\x8b\x08",
    b"H4sI",
    b"\\u",
    b'"',
    b"{",
    b"]",
    b",",
)


def hostile(chance: random.Random) -> bytes:
    """One input: a table, damaged once to three times, some of them packed, and some of those damaged again."""
    sizes = [chance.randint(1, 3) for _ in range(chance.randint(1, 3))]
    raw = json.dumps(MAKERS[chance.choice(FORMS)](sizes)).encode()
    for _ in range(chance.randint(1, 3)):
        raw = chance.choice((*[_with_other_value] * 12, _with_other_bytes, _torn, _repeated))(raw, chance)
    if chance.random() < 0.2:
        raw = gzip.compress(raw, 1)
        raw = base64.b64encode(raw) if chance.random() < 0.5 else raw
        raw = _with_other_bytes(raw, chance) if chance.random() < 0.5 else raw
    return raw


def _with_other_value(raw: bytes, chance: random.Random) -> bytes:
    """What stands between a colon and the next comma or bracket becomes something else."""
    colons = [at for at, byte in enumerate(raw) if byte == ord(":")]
    if not colons:
        return raw
    begin = chance.choice(colons) + 1
    end = next((at for at in range(begin, len(raw)) if raw[at] in b",]}"), len(raw))
    return raw[:begin] + chance.choice(HOSTILE_VALUES).encode(errors="surrogatepass") + raw[end:]


def _with_other_bytes(raw: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(raw) + 1)
    return raw[:at] + chance.choice(HOSTILE_BYTES) + raw[at + chance.randint(0, 3) :]


def _torn(raw: bytes, chance: random.Random) -> bytes:
    """A writer was seen at work: the beginning alone, or a hole of zeros as a shared file system shows it."""
    at = chance.randrange(len(raw) + 1)
    return raw[:at] if chance.random() < 0.5 else raw[:at] + b"\0" * min(64, len(raw) - at) + raw[at + 64 :]


def _repeated(raw: bytes, chance: random.Random) -> bytes:
    """A part stands twice: duplicate keys, ranks and addresses."""
    begin, end = sorted(chance.randrange(len(raw) + 1) for _ in range(2))
    return raw[:end] + raw[begin:]


def main(count: int, seed: int) -> None:
    """Try them all."""
    chance = random.Random(seed)
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        raw = hostile(chance)
        try:
            outcomes[only_known_outcomes(raw)] += 1
        except BaseException:
            print(f"with the input {raw!r}", file=sys.stderr)
            raise
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
