"""The launcher's own log: one-line messages on standard error and, with time and level, in its log file.

Importing loguru takes longer than starting eight workers and seeing one of them fail, so it comes in when there is time
(``start``): a moment after the workers run, or when ma2l begins to wait for something. Until then messages are kept in
memory, and ``flush`` delivers them as they are.
"""

from __future__ import annotations

import os
import time

from ma2l.logs.sink import Sink

TYPE_CHECKING = False  # typing is not imported on the start path
if TYPE_CHECKING:
    import loguru

_early: list[tuple[str, float, str]] = []
_logger: loguru.Logger | None = None
_started = False
_console: Sink | None = None
_file: int | None = None
_quiet = False
_status = False
"""Whether a line is shown that is to be taken away again."""
_COLOURS = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m"}


def console() -> Sink:
    """Standard error, shared with the loop that waits for room on it."""
    global _console
    if _console is None:
        _console = Sink(2)
    return _console


def use_console(fd: int) -> None:
    """Say everything on this descriptor instead of standard error, which is let go; takes the descriptor over."""
    global _console
    said_on = console()
    if said_on.fd != 2:
        os.close(said_on.fd)
    _console = Sink(fd)
    _console.terminal = said_on.terminal
    if _console.fd != fd:
        os.close(fd)


def be_quiet() -> None:
    """Show warnings and errors alone; a file of messages has all."""
    global _quiet
    _quiet = True


def has_status() -> bool:
    """Whether somebody looks at a line that changes in its place."""
    return console().terminal and not _quiet


def status(text: str) -> None:
    """Show what is waited for, in one line of a terminal that the next one replaces; nowhere else."""
    global _status
    if has_status():
        console().write(f"\r\x1b[K{text}".encode(errors="backslashreplace"))
        _status = True


def clear_status() -> None:
    """Take that line away, before anything else is shown."""
    global _status
    if _status:
        console().write(b"\r\x1b[K")
        _status = False


def quote(lines: bytes) -> None:
    """Show what somebody else wrote, as it is."""
    clear_status()
    console().write(lines)
    _write_file(lines)


def detail(message: str) -> None:
    """Note something for the log file only."""
    _log("DEBUG", message)


def info(message: str) -> None:
    """Say what was decided or is waited for."""
    _log("INFO", message)


def warning(message: str) -> None:
    """Say what is odd and does not end the run."""
    _log("WARNING", message)


def error(message: str) -> None:
    """Say what ends the run."""
    _log("ERROR", message)


def use_file(path: str) -> None:
    """Keep the messages in a file as well; one that cannot be opened is a warning and no more."""
    global _file
    if _file is not None:
        os.close(_file)
        _file = None
    try:
        _file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    except OSError as problem:
        warning(f"the launcher's log {path} cannot be written ({problem.strerror}); messages appear here only")


def start() -> None:
    """Load loguru and pass on what was kept. May be called more than once."""
    global _logger, _started
    if not _started:
        _started = True
        _logger = _loguru()
    if _logger is None:
        flush()
        return
    kept, _early[:] = _early[:], []
    for level, at, message in kept:
        _logger.bind(at=at).log(level, message)


def _loguru() -> loguru.Logger | None:
    """loguru, writing here and nowhere else; ``None`` where it cannot be imported, which is no reason to end a run.

    While it is imported it obeys the variables ``LOGURU_*``. They are the training's, and a wrong value is an error.
    """
    theirs = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("LOGURU_")}
    try:
        from loguru import logger

        logger.remove()
        logger.add(_emit, format="{message}", level="DEBUG", catch=False)
        return logger
    except Exception as problem:  # noqa: BLE001 - its files may be anything by now
        _early.append(("WARNING", time.time(), f"messages do without loguru, which cannot be imported: {problem!r}"))
        return None
    finally:
        os.environ.update(theirs)


def _log(level: str, message: str) -> None:
    _early.append((level, time.time(), message))
    if _started:
        start()


def flush() -> None:
    """Deliver what is still kept, without loguru: there is no time for it yet, or the process is about to end."""
    clear_status()
    for level, at, message in _early:
        _deliver(level, at, message)
    _early.clear()


def _emit(message: loguru.Message) -> None:
    record = message.record
    _deliver(record["level"].name, record["extra"]["at"], record["message"])


def _deliver(level: str, at: float, text: str) -> None:
    sign = "" if level == "INFO" else f"{level.lower()}: "
    text = text.replace("\n", "\\n")  # a file's name may hold one; a message is one line
    colour, plain = (_COLOURS.get(level, ""), "\x1b[0m") if console().terminal else ("", "")
    if level != "DEBUG" and not (_quiet and level == "INFO"):
        clear_status()
        line = f"{colour}ma2l: {sign}{text}{plain if colour else ''}\n"
        console().write(line.encode(errors="backslashreplace"))
    line = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at))} {level} {text}\n"
    _write_file(line.encode(errors="backslashreplace"))


def _write_file(line: bytes) -> None:
    global _file
    if _file is None:
        return
    try:
        os.write(_file, line)
    except OSError as problem:
        os.close(_file)
        _file = None
        console().write(f"ma2l: warning: the launcher's log is no longer written: {problem.strerror}\n".encode())
