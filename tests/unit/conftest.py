"""What unit tests share: code that owns the process's signals runs in a child of the test."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable

import pytest

InChild = Callable[[Callable[[], object]], None]


@pytest.fixture
def in_child() -> InChild:
    """Run a function in a forked child; an assertion that fails there fails the test."""

    def run(body: Callable[[], object]) -> None:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                signal.alarm(60)  # a hang is a failure
                body()
                code = 0
            except BaseException:
                os.write(writer, traceback.format_exc().encode())
                raise
            finally:
                os._exit(code)
        os.close(writer)
        with open(reader, "rb") as pipe:
            problem = pipe.read().decode()
        _, status = os.waitpid(pid, 0)
        assert status == 0, problem or f"the child ended with status {status}"

    return run
