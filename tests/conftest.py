"""What all tests share: no variable of the machine they run on reaches them, and in CI a skip is a failure."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from ma2l.platforms.signs import signs


def pytest_sessionstart() -> None:
    """Clear away what steers ma2l: a job's CI container may carry platform variables, and ``nohup`` or a background
    shell hand down ignored signals, which ma2l rightly leaves ignored."""
    for signum, handler in (
        (signal.SIGHUP, signal.SIG_DFL),
        (signal.SIGQUIT, signal.SIG_DFL),
        (signal.SIGINT, signal.default_int_handler),
    ):
        signal.signal(signum, handler)
    for name in list(os.environ):
        if name.startswith(("MA2L_", "MA_", "VC_", "MS_", "OMP_")) or name in signs(os.environ):
            del os.environ[name]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Turn a skip into a failure where the project's CI runs: everything must be installed there."""
    report = yield
    if os.environ.get("CI") and getattr(report, "skipped", False) and not hasattr(report, "wasxfail"):
        report.outcome = "failed"  # type: ignore[attr-defined]
        report.longrepr = f"skipped in CI: {report.longrepr}"  # type: ignore[attr-defined]
    return report
