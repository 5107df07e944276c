"""Who holds NPUs: open device files, npu-smi's table of processes, and waiting for their end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ma2l import log
from ma2l.ascend.holders import Holder, find, wait_until_free
from ma2l.ascend.npu_smi import parse_processes, processes
from ma2l.errors import NoUsableDevice, Stopped
from ma2l.linux.wait import Wakeup
from tests.unit.scenario import NoWaiting

DATA = Path(__file__).parent.parent / "data" / "ascend"
NOWHERE = {"PATH": "/nowhere"}


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(log, "start", lambda: None)
    monkeypatch.setattr(log, "info", lines.append)
    return lines


@pytest.fixture
def dev(tmp_path: Path) -> str:
    """A directory with the device files of NPUs 0, 1 and 2, and the one that every user of an NPU has open."""
    (tmp_path / "dev").mkdir()
    for name in ("davinci0", "davinci1", "davinci2", "davinci_manager"):
        (tmp_path / "dev" / name).touch()
    return f"{tmp_path}/dev"


@contextmanager
def holder(dev: str, *names: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with these files open."""
    fds = [os.open(f"{dev}/{name}", os.O_RDONLY) for name in names]
    process = subprocess.Popen(["sleep", "1000"], pass_fds=fds)
    for fd in fds:
        os.close(fd)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def npu_smi(directory: Path, text: str) -> dict[str, str]:
    """An npu-smi that prints this."""
    (directory / "printed").write_text(text)
    script = directory / "npu-smi"
    script.write_text(f'#!/bin/sh\n[ "$*" = info ] && exec cat {directory}/printed; exit 1\n')
    script.chmod(0o755)
    return {"PATH": f"{directory}:/usr/bin:/bin"}


def test_whoever_has_a_device_file_open_holds_the_npu(dev: str) -> None:
    with holder(dev, "davinci_manager", "davinci2", "davinci0") as first, holder(dev, "davinci1") as second:
        assert find((0, 1, 2), NOWHERE, dev=dev) == tuple(
            sorted(
                (Holder(first.pid, "sleep 1000", (0, 2)), Holder(second.pid, "sleep 1000", (1,))),
                key=lambda found: found.pid,
            )
        )
        assert [found.pid for found in find((1,), NOWHERE, dev=dev)] == [second.pid]


def test_the_manager_alone_and_other_npus_are_nobodys_business(dev: str) -> None:
    with holder(dev, "davinci_manager", "davinci2"):
        assert find((0, 1), NOWHERE, dev=dev) == ()


def test_a_long_command_line_is_cut_and_secrets_are_masked(dev: str) -> None:
    fd = os.open(f"{dev}/davinci0", os.O_RDONLY)
    words = ["sh", "-c", "read line", "x", "--access-token", "hunter2", *["y" * 50] * 2]
    process = subprocess.Popen(words, pass_fds=[fd], stdin=subprocess.PIPE)
    os.close(fd)
    (found,) = find((0,), NOWHERE, dev=dev)
    process.communicate(b"\n")
    assert len(found.command) == 80
    assert found.command.endswith("...")
    assert "hunter2" not in found.command


def test_npu_smi_tells_of_processes_that_cannot_be_seen_from_here(dev: str, tmp_path: Path) -> None:
    environ = npu_smi(tmp_path, (DATA / "npu-smi-info-910b2.txt").read_text())
    assert find((1, 2), environ, dev=dev) == (
        Holder(16144, "VLLMWorker_DP", (1,)),
        Holder(16145, "VLLMWorker_DP", (2,)),
    )


@pytest.mark.parametrize("sample", ["npu-smi-info-a3.txt", "npu-smi-info-910a-one-card.txt"])
def test_where_nothing_runs_nobody_is_named(sample: str, tmp_path: Path) -> None:
    text = (DATA / sample).read_text()
    assert parse_processes(text) == ()
    assert processes(npu_smi(tmp_path, text)) == ()


def test_on_a3_a_process_belongs_to_the_chip_that_npu_and_chip_name(tmp_path: Path) -> None:
    idle = "| No running processes found in NPU 5" + " " * 60 + "|"
    busy = "| 5       1                 | 77            | python                   | 1024                    |"
    text = "\n".join(
        busy if "NPU 5 " in line else line for line in (DATA / "npu-smi-info-a3.txt").read_text().split("\n")
    )
    assert idle.split("  ")[0] not in text
    assert processes(npu_smi(tmp_path, text)) == ((11, 77, "python"),)


@pytest.mark.parametrize("text", ["", "dcmi module initialize failed. ret is -8005\n"])
def test_an_npu_smi_that_tells_nothing_holds_nobody_up(text: str, tmp_path: Path, dev: str) -> None:
    assert find((0,), npu_smi(tmp_path, text), dev=dev) == ()


@given(st.text())
def test_the_parser_never_raises(text: str) -> None:
    parse_processes(text)


class Script(NoWaiting):
    """Each wait does the next thing and then wakes up."""

    def __init__(self, *steps: Callable[[], Wakeup | None]) -> None:
        super().__init__()
        self._steps = list(steps)

    def wait(self, fds: object = (), deadline: float | None = None) -> Wakeup:
        return self._steps.pop(0)() or Wakeup()


def test_free_npus_are_not_waited_for(dev: str, said: list[str]) -> None:
    wait_until_free((0, 1), 60, NOWHERE, NoWaiting(), None, dev=dev)
    assert said == []


def test_who_is_waited_for_is_named_once(dev: str, said: list[str]) -> None:
    with holder(dev, "davinci0") as process:

        def end() -> None:
            process.kill()
            process.wait()

        wait_until_free((0, 1), 60, NOWHERE, Script(lambda: None, lambda: None, end), None, dev=dev)
        assert said == [f"waiting up to 60 s for NPU 0-1, in use by pid {process.pid} (sleep 1000, NPU 0)"]


def test_after_that_time_the_holder_is_named_and_a_retry_may_help(dev: str) -> None:
    with holder(dev, "davinci1") as process, pytest.raises(NoUsableDevice) as raised:
        wait_until_free((0, 1), 0, NOWHERE, NoWaiting(), None, dev=dev)
    assert str(raised.value) == (
        f"cannot use NPU 0-1: after 0 s still in use by pid {process.pid} (sleep 1000, NPU 1); "
        "end these processes or choose other NPUs; --wait-npu 0 does not look"
    )
    assert raised.value.exit_code == 197


@pytest.mark.parametrize(("wakeup", "signum"), [(Wakeup(signals=(15,)), 15), (Wakeup(ready=(9,)), 9)])
def test_a_stop_signal_or_the_guards_end_ends_the_wait(dev: str, wakeup: Wakeup, signum: int) -> None:
    with holder(dev, "davinci0"), pytest.raises(Stopped) as raised:
        wait_until_free((0,), 60, NOWHERE, Script(lambda: wakeup), 9, dev=dev)
    assert raised.value.signum == signum
