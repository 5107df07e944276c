"""Which ranks the console shows."""

from __future__ import annotations

from collections.abc import Callable

from ma2l.errors import ConfigError


def console_ranks(text: str | None, world_size: int, terminal: bool) -> Callable[[int], bool]:
    """A test for global ranks.

    Args:
        text: ``all``, ``none``, ``first``, ``last``, or a list such as ``0,3-5,last``. ``None`` shows all ranks on a
            terminal; elsewhere the first and the last of the job, since frameworks print the loss on one of these.
        world_size: ranks of the whole job.
        terminal: whether the console is one.

    Raises:
        ConfigError: the text is something else.
    """
    if text is None:
        text = "all" if terminal else "first,last"
    chosen: list[range] = []
    for item in text.split(","):
        chosen.append(_ranks(item.strip(), text, world_size))
    return lambda rank: any(rank in ranks for ranks in chosen)


def _ranks(item: str, text: str, world_size: int) -> range:
    words = {"all": range(world_size), "none": range(0), "first": range(1), "last": range(world_size - 1, world_size)}
    if item in words:
        return words[item]
    low, dash, high = item.partition("-")
    ends = [int(end) for end in (low, high if dash else low) if end.isascii() and end.isdecimal() and len(end) < 10]
    if len(ends) == 2 and ends[0] <= ends[1]:
        return range(ends[0], ends[1] + 1)
    raise ConfigError(
        f"show the console ranks {text!r}",
        f"{item!r} names no ranks",
        "write all, none, first, last or a list such as 0,3-5",
    )
