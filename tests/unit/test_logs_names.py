"""What log files are called."""

from __future__ import annotations

import pytest

from ma2l.logs.names import Names


def test_off_a_platform_as_msrun() -> None:
    names = Names("/logs", "node0")
    assert (names.rank(3, 1), names.scheduler()) == ("/logs/worker_3.log", "/logs/scheduler.log")
    assert (names.once(), names.launcher()) == ("/logs/node0.log", "/logs/node0.launcher.log")
    assert (names.plan(), names.outcome()) == ("/logs/node0.plan.json", "/logs/node0.outcome.json")


def test_on_modelarts_as_its_own_boot_program_and_never_log() -> None:
    names = Names("/logs", "node1", "modelarts-job-x")
    assert names.rank(9, 1) == "/logs/modelarts-job-x-proc-rank-9-device-1.txt"
    own = (names.scheduler(), names.once(), names.launcher())
    assert own == ("/logs/scheduler.txt", "/logs/node1.txt", "/logs/node1.launcher.txt")


@pytest.mark.parametrize("job_id", ["", "job"])
def test_a_later_attempt_overwrites_nothing(job_id: str) -> None:
    def paths(attempt: int) -> set[str]:
        n = Names("/logs", "node0", job_id, attempt)
        return {n.rank(0, 0), n.scheduler(), n.once(), n.launcher(), n.plan(), n.outcome()}

    assert len(paths(1) | paths(2) | paths(3)) == 18
    assert all(".attempt3." in path for path in paths(3))


def test_two_nodes_share_a_directory() -> None:
    first, second = Names("/logs", "node0"), Names("/logs", "node1")
    assert {first.plan(), first.outcome(), first.launcher()}.isdisjoint(
        {second.plan(), second.outcome(), second.launcher()}
    )
