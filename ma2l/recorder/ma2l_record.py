"""Writes what a rank measured into the files that Ais-Bench reads. Nothing but the standard library, Python 3.7 on.

    import ma2l_record

    ma2l_record.throughput(1234.5)  # samples per second of this rank; every rank calls it, at the end
    ma2l_record.accuracy(0.761)     # may be called by every rank; rank 0's counts

``ma2l --recorder`` puts this module on the path of training code, whatever interpreter that runs in. It may also be
copied beside a training script: the files are the interface. Where they go say ``MA2L_RESULTS_DIR`` and, where every
server is a job of its own, ``MA2L_SERVER``; who this is says ``RANK_ID`` or ``RANK``, and ``RANK_SIZE`` or
``WORLD_SIZE``. All of them ma2l sets.
"""

import os
import sys

__all__ = ["accuracy", "throughput"]


def throughput(samples_per_second):
    """Write this rank's throughput; the last call counts.

    Returns:
        Whether it was written. A directory that cannot be written is a line on standard error: a figure is no reason
        to end a training.

    Raises:
        TypeError, ValueError: it is not a number.
    """
    value = float(samples_per_second)
    rank = _rank()
    if rank is None:
        return _refused("nothing says which rank this is (RANK_ID, RANK)")
    if rank == 0:
        _write_size()
    server = os.environ.get("MA2L_SERVER")
    return _write(os.path.join(server or "", "throughput_%d.json" % rank), value)


def accuracy(value):
    """Write the accuracy; only rank 0 does. Returns and raises as ``throughput``."""
    value = float(value)
    rank = _rank()
    if rank is None:
        return _refused("nothing says which rank this is (RANK_ID, RANK)")
    if rank != 0:
        return False
    _write_size()
    server = os.environ.get("MA2L_SERVER")
    return _write("accuracy_%s.json" % server if server else "accuracy.json", value)


def _rank():
    return _number("RANK_ID", "RANK")


def _number(*names):
    for name in names:
        text = os.environ.get(name, "")
        if text.isdigit():
            return int(text)
    return None


def _write_size():
    """The number of ranks, once: it is how a reader knows that none is missing."""
    size = _number("RANK_SIZE", "WORLD_SIZE")
    directory = os.environ.get("MA2L_RESULTS_DIR", "")
    if size and directory:
        _write("ranksize.json", size)


def _write(name, value):
    """Write a file whole or not at all: somebody may be uploading the directory right now."""
    directory = os.environ.get("MA2L_RESULTS_DIR", "")
    if not directory:
        return _refused("nothing says where to (MA2L_RESULTS_DIR); run under ma2l, or pass --results-dir DIR to it")
    path = os.path.join(directory, name)
    part = "%s.%d.part" % (path, os.getpid())
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(part, "w") as file:
            file.write(repr(value))
        os.replace(part, path)
    except OSError as error:
        return _refused("%s: %s" % (path, error.strerror))
    return True


def _refused(why):
    sys.stderr.write("ma2l_record: cannot write a figure: %s\n" % why)
    return False
