"""Commands that start ranks themselves: they run once per node, or there would be N x N ranks."""

from __future__ import annotations

import os
from collections.abc import Sequence

_PROGRAMS = frozenset(("torchrun", "msrun", "deepspeed", "accelerate", "mpirun", "mpiexec", "ray"))
_MODULES = frozenset(("torch.distributed.run", "torch.distributed.launch", "deepspeed", "accelerate.commands.launch"))


def foreign_launcher(argv: Sequence[str]) -> str | None:
    """The launcher that a command calls: by name, as ``python -m MODULE`` or as ``python /path/of/launcher``."""
    name = os.path.basename(argv[0])
    if name.partition(".")[0] in _PROGRAMS:  # Debian: mpirun.openmpi
        return name
    if not name.startswith("python"):
        return None
    words = iter(argv[1:])
    for word in words:
        if word[:2] in ("-W", "-X"):
            if len(word) == 2:
                next(words, "")
        elif word.startswith("-") and not word.startswith("--"):
            flags, m, module = word.partition("m")  # -m MODULE, -mMODULE, -um MODULE
            if "c" in flags:
                return None
            if m:
                module = module or next(words, "")
                return module if module in _MODULES else None
        elif not word.startswith("-"):  # a script, whose own options follow
            script = os.path.basename(word)
            return script if script in _PROGRAMS else None
    return None
