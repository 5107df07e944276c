"""The end of the image's entrypoint: from what the shell part hands over to the launcher or the user's command.

The shell part (``entrypoint/``) runs hooks in a child shell and leaves a directory with environments as the kernel's
``/proc/<pid>/environ`` and ``env -0`` write them: ``NAME=value`` entries, each ended by a NUL.

before
    The environment that the container was given, with names that no shell keeps.
after.0, after.N
    The child's at its beginning, and after step N. Their difference is what hooks have exported and unset.
results
    Lines ``done N CODE`` or ``lost N CODE`` for each step; only the former has its ``after.N``.
set, unset
    What the entrypoint itself adds and takes away: secrets read from files.
no-preload
    Exists if a hook has unset ``LD_PRELOAD``, which no shell here has in its environment.
"""
