"""``python -m ma2l.diagnose.known_errors``: prints ``docs/reference/known-errors.md``, made of ``signatures.yaml``."""

from __future__ import annotations

import sys

from ma2l.diagnose.signatures import WHO, load

_HEAD = """\
# Known errors

What ma2l recognises in the end of a failed process's log, in the order in which it looks. This page is made from
`ma2l/diagnose/signatures.yaml`; `python -m ma2l.diagnose.known_errors` prints it.

A *primary* error is a cause. A *secondary* one is a symptom that a rank shows because another one has failed: it never
outranks a cause in another rank's log. Errors marked * say little and are only named where the log shows nothing else.

Who must act:

"""


def as_markdown() -> str:
    """The page."""
    who = "".join(f"- **{name}**: {meaning}\n" for name, meaning in WHO.items())
    rows = "".join(
        f"| `{s.id}`{' *' if s.vague else ''} | {_cell(s.meaning)} | {s.kind} | {s.who} | {_cell(s.do)} |\n"
        for s in load()
    )
    return f"{_HEAD}{who}\n| error | meaning | kind | who | what to do |\n|---|---|---|---|---|\n{rows}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
