"""Sets the stage of a mock on this machine: the files on disk and the table that completes later."""

from __future__ import annotations

from collections.abc import Mapping

from ma2l.errors import SystemRefused
from ma2l.linux.net import free_ports
from ma2l.mock.layout import complete, lay_out
from ma2l.mock.node import PORTS, MockJob, build
from ma2l.mock.shape import Shape
from ma2l.settings import Settings


def set_up(shape: Shape, settings: Settings, environ: Mapping[str, str], root: str, log_dir: str) -> MockJob:
    """Lay out a mock job below ``root``; its table turns complete after ``--mock-table-delay`` seconds.

    The timer is a daemon thread, so it ends with this process. Ports that the user has not chosen are free ones: real
    jobs have a network each, mock jobs share this machine's.

    Raises:
        SystemRefused: the file system refused.
    """
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS)))))
    mine = {name: value for name, value in environ.items() if value or name not in ports}  # empty is as good as unset
    job = build(shape, settings.mock_platform, settings.mock_soc, root, {**ports, **mine}, log_dir)
    delay = settings.mock_table_delay
    try:
        lay_out(job, completed=not delay)
    except OSError as error:
        raise SystemRefused(f"set up a mock in {root}", str(error.strerror), "make room, or set TMPDIR") from None
    if delay:
        import threading

        timer = threading.Timer(delay, complete, (job,))
        timer.daemon = True
        timer.start()
    return job
