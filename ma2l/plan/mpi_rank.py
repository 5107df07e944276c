"""What stands between mpirun and CMD in each rank: a few lines for any POSIX shell. Pure.

Because mpirun does not do four things:

* It gives a rank its place in ``OMPI_*`` names only, which torch does not read.
* Asked to stop, it kills the ranks after a second (4.1) or half of one (5.0), and a checkpoint takes longer. So ma2l
  asks the ranks, and mpirun ends when they have ended.
* Told to keep going when a rank fails, it exits with 0 whatever became of the ranks, and 4.1 hangs when one dies of a
  signal. Here the shell keeps a failure from mpirun, and tells ma2l.
* It takes all output through its own hands, in pieces of lines, and waits for whoever keeps that open.

A shell and not Python: eight of these start in a few milliseconds, and other hosts need no ma2l.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ma2l.linux import cpulist
from ma2l.plan.spec import ProcessSpec

NAME = "ma2l-rank"
"""What the shell calls itself: ``sh -c SCRIPT ma2l-rank CMD...``."""
STOP_FILE = "stop"
"""Appears in the run's directory when ranks on mpirun's host are to stop."""


def script(
    log: str | None,
    chdir: str | None,
    slots: Sequence[int],
    run_id: str,
    run_dir: str,
    keep_going: bool,
    bound: Sequence[ProcessSpec] = (),
) -> str:
    """The shell's text; on mpirun's host the rank writes straight to its log, elsewhere mpirun carries its output.

    CMD runs in the background of the shell, which can act on signals so, but has its standard input. mpirun signals the
    whole process group: SIGTERM reaches CMD without the shell's help, and SIGURG hurts nobody. After a stop the shell
    ends with 0, or mpirun would cut the other ranks short. What CMD leaves behind is ma2l's to end on mpirun's host,
    the shell's elsewhere: mpirun waits for whoever keeps the output open.

    What a shell runs in its background ignores SIGINT and SIGQUIT; bash lets it have them back, dash and busybox never.

    Args:
        log: file of a rank with ``{rank}`` and ``{local_rank}`` in it; ``None`` leaves all output to mpirun.
        chdir: directory of a rank, in the same way; ``None`` stays.
        slots: ranks of each host.
        run_id: marks the line that tells how a rank ended.
        run_dir: exists on mpirun's host only.
        keep_going: whether mpirun learns of no failure; then every rank says how it ended, one that ended with 0 too.
            On several hosts they do so in any case: mpirun of 5.0 exits with 0 when it has lost one of them.
        bound: CPUs and variables of each rank of mpirun's host, where ranks are bound.
    """
    here, stop = shlex.quote(run_dir), shlex.quote(f"{run_dir}/{STOP_FILE}")
    starts = [sum(slots[:node]) for node in range(1, len(slots))]
    node = " + ".join(f"(RANK >= {start})" for start in starts) or "0"
    local_size = "LOCAL_WORLD_SIZE=$OMPI_COMM_WORLD_LOCAL_SIZE"
    if len(set(slots)) > 1:  # 5.0 gives every rank the size of the largest host
        cases = " ".join(f"{number}) LOCAL_WORLD_SIZE={size};;" for number, size in enumerate(slots))
        local_size = f"case $NODE_RANK in {cases} esac"
    # A failed redirection of exec would end a POSIX shell: try it first.
    output = f"[ -d {here} ] && {{ true >>{_filled(log)}; }} && exec 4>>{_filled(log)}\n" if log else ""
    binding = _binding(bound, here) if bound else ""
    directory = f"cd -- {_filled(chdir)} || exit 78\n" if chdir else ""
    unless_well = "" if keep_going or len(slots) > 1 else '[ "$code" = 0 ] || '
    return f"""\
export RANK=$OMPI_COMM_WORLD_RANK WORLD_SIZE=$OMPI_COMM_WORLD_SIZE
export NODE_RANK=$(({node})) LOCAL_RANK=$OMPI_COMM_WORLD_LOCAL_RANK
{local_size}
export LOCAL_WORLD_SIZE NPUS_PER_NODE=$LOCAL_WORLD_SIZE
export RANK_ID=$RANK RANK_SIZE=$WORLD_SIZE DEVICE_ID=$LOCAL_RANK ASCEND_DEVICE_ID=$LOCAL_RANK
{binding}asked= told= child= code=
tell() {{ [ -z "$asked" ] || [ -z "$child" ] || [ "$told" ] || {{ told=1; kill -TERM "$child"; }}; }}
[ -d {here} ] || trap 'asked=1; caught=1; tell' URG
trap 'caught=1' TERM
{directory}exec 3<&0 4>&1
{output}[ -e {stop} ] && exit 0
(trap - INT QUIT; exec "$@") <&3 >&4 2>&1 3<&- 4>&- &
child=$!
exec 3<&- 4>&-
[ ! -e {stop} ] || asked=1
tell
caught=1
while [ "$caught" ]; do
    caught=
    wait "$child" 2>/dev/null
    now=$?
    [ "$now" = 127 ] && [ "$code" ] || code=$now
done
[ -d {here} ] || {{ trap '' TERM; kill -TERM "-$$" 2>/dev/null; }}
[ "$asked" ] || [ -e {stop} ] && exit 0
{unless_well}echo "{report_prefix(run_id)}$RANK ended with exit code $code (pid $child)" >&2
exit {"0" if keep_going else '"$code"'}
"""


def report_prefix(run_id: str) -> str:
    """How the line begins in which a rank says how it ended; its number follows."""
    return f"ma2l {run_id}: rank "


def _binding(bound: Sequence[ProcessSpec], here: str) -> str:
    """Binds the shell, and with it what it runs; on another host than mpirun's nobody knows where its NPUs are."""
    cases = []
    for place, spec in enumerate(bound):
        variables = [f"{name}={shlex.quote(value)}" for name, value in spec.env.items() if value is not None]
        export = f"export {' '.join(variables)}; " if variables else ""
        cases.append(f"{place}) {export}taskset -cp {cpulist.text(spec.cpus)} $$;;")
    lines = "\n    ".join(cases)
    failed = 'echo "ma2l: rank $RANK is not bound to CPUs" >&2'
    return f"[ -d {here} ] && case $LOCAL_RANK in\n    {lines}\nesac >/dev/null || {failed}\n"


def _filled(template: str) -> str:
    """A path as a word of the shell, its ``{rank}`` and ``{local_rank}`` replaced there."""
    quoted = shlex.quote(template)
    for place, variable in (("{rank}", "RANK"), ("{local_rank}", "LOCAL_RANK")):
        quoted = quoted.replace(place, f"'\"${variable}\"'")
    return quoted
