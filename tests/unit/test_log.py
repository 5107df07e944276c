"""The launcher's own messages: one line each, never blocking, kept until there is time for loguru."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SAY = """\
import os, sys
sys.path[:0] = [{root!r}]
from ma2l import log
{body}
log.flush()
"""
ROOT = str(Path(__file__).parents[2])


def say(body: str, **popen: object) -> bytes:
    """Run Python code that logs; its standard error."""
    words = [sys.executable, "-c", SAY.format(root=ROOT, body=body)]
    options = {"stderr": subprocess.PIPE, "timeout": 60, "check": True, **popen}
    return bytes(subprocess.run(words, **options).stderr or b"")  # type: ignore[call-overload]


def test_levels_show_as_a_newcomer_expects() -> None:
    out = say("log.info('decided'); log.warning('odd'); log.error('ended'); log.detail('hidden')")
    assert out == b"ma2l: decided\nma2l: warning: odd\nma2l: error: ended\n"


@pytest.mark.parametrize("start", ["", "log.start()"])
def test_messages_are_the_same_and_in_order_with_and_without_loguru(start: str) -> None:
    body = f"log.info('one'); {start}\nlog.info('two {{}} <red>three</red> %s')"
    assert say(body) == b"ma2l: one\nma2l: two {} <red>three</red> %s\n"


@pytest.mark.parametrize("first", ["", "log.info('before'); log.start()"])
def test_another_console_takes_over_and_lets_standard_error_go(first: str) -> None:
    reader, writer = os.pipe()
    body = f"{first}\nlog.use_console({writer}); log.info('one'); log.start()\n"
    paths = "(f'/proc/self/fd/{fd}' for fd in range(3, 99))"
    held = f"sum(os.path.exists(f) and os.path.samefile(f, '/proc/self/fd/2') for f in {paths})"
    out = say(f"{body}log.info(str({held}))", pass_fds=[writer])
    os.close(writer)
    with open(reader, "rb") as pipe:
        assert pipe.read() == b"ma2l: one\nma2l: 0\n"
    assert out == (b"ma2l: before\n" if first else b"")


def test_what_is_quoted_is_on_the_console_and_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "launcher.log"
    assert say(f"log.use_file({str(path)!r}); log.quote(b'caf\\xe9\\n')") == b"caf\xe9\n"
    assert path.read_bytes() == b"caf\xe9\n"


@pytest.mark.parametrize("wrong", ["LOGURU_LEVEL=debug", "LOGURU_BACKTRACE=maybe", "LOGURU_AUTOINIT=perhaps"])
def test_variables_that_loguru_obeys_are_the_training_s_alone(wrong: str) -> None:
    name, _, value = wrong.partition("=")
    out = say(f"log.info('one'); log.start(); log.info(os.environ[{name!r}])", env={**os.environ, name: value})
    assert out == f"ma2l: one\nma2l: {value}\n".encode()


def test_without_loguru_messages_go_on(tmp_path: Path) -> None:
    (tmp_path / "loguru.py").write_text("raise OSError('stale')\n")
    body = f"sys.path.insert(0, {str(tmp_path)!r}); log.info('one'); log.start(); log.info('two'); log.start()"
    why = "ma2l: warning: messages do without loguru, which cannot be imported: OSError('stale')\n"
    assert say(body) == f"ma2l: one\n{why}ma2l: two\n".encode()


def test_the_start_path_does_not_import_loguru() -> None:
    assert say("log.info('x'); log.error(str('loguru' in sys.modules))") == b"ma2l: x\nma2l: error: False\n"


def test_the_file_has_time_level_and_details(tmp_path: Path) -> None:
    path = tmp_path / "launcher.log"
    path.write_text("kept\n")
    say(f"log.use_file({str(path)!r}); log.detail('fine print'); log.start(); log.warning('odd')")
    kept, detail, warning = path.read_text().splitlines()
    assert kept == "kept"
    assert detail[19:] == " DEBUG fine print"
    assert warning[19:] == " WARNING odd"


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("two\\nlines", b"ma2l: two\\nlines\n"),
        ("\\udcff", b"ma2l: \\udcff\n"),
        ("\\ud800", b"ma2l: \\ud800\n"),
        ("caf\\xe9", "ma2l: café\n".encode()),
    ],
)
def test_a_message_is_one_line_whatever_names_it_holds(tmp_path: Path, message: str, line: bytes) -> None:
    path = tmp_path / "launcher.log"
    assert say(f"log.use_file({str(path)!r}); log.info('{message}'); log.flush()") == line
    assert path.read_bytes().endswith(line[len("ma2l:") :])


def test_a_file_that_cannot_be_opened_is_one_warning(tmp_path: Path) -> None:
    out = say(f"log.use_file({str(tmp_path / 'no' / 'x')!r}); log.info('on'); log.info('and on')")
    assert out.count(b"warning") == 1
    assert out.endswith(b"ma2l: on\nma2l: and on\n")


def test_a_full_disk_is_one_warning() -> None:
    out = say("log.use_file('/dev/full'); log.info('on'); log.info('and on')")
    assert out.count(b"warning: the launcher's log is no longer written: No space left on device") == 1
    assert out.endswith(b"ma2l: and on\n")


def test_a_full_pipe_does_not_block() -> None:
    reader, writer = os.pipe()
    say("for _ in range(5000): log.info('x' * 100)", stderr=writer)
    os.close(writer)
    with open(reader, "rb") as file:
        lines = file.read().splitlines()
    assert set(lines) == {b"ma2l: " + b"x" * 100}


def test_a_closed_reader_does_not_end_anything() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    say("for _ in range(50): log.info('x')", stderr=writer)
    os.close(writer)


def test_quiet_shows_what_is_wrong_alone(tmp_path: Path) -> None:
    body = (
        f"log.use_file({str(tmp_path / 'log')!r}); log.be_quiet(); log.info('one'); log.warning('two'); log.status('x')"
    )
    assert say(body) == b"ma2l: warning: two\n"
    assert "INFO one" in (tmp_path / "log").read_text()


def test_a_status_is_for_terminals_and_gives_way_to_every_line() -> None:
    assert say("log.status('waiting')") == b""
    master, slave = os.openpty()
    say(
        "log.start(); log.status('waiting'); log.status('waiting on'); log.info('one'); log.status('still')",
        stderr=slave,
    )
    os.close(slave)
    shown = os.read(master, 4096)
    os.close(master)
    clear = b"\r\x1b[K"
    assert shown == clear + b"waiting" + clear + b"waiting on" + clear + b"ma2l: one\r\n" + clear + b"still" + clear
