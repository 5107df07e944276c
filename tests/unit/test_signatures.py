"""Known errors: each shown by a real line, told apart, quickly found, and documented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ma2l.diagnose.culprit import accused
from ma2l.diagnose.ends import LIMIT
from ma2l.diagnose.known_errors import as_markdown
from ma2l.diagnose.signatures import PATH, WHO, entries, known, load, only_symptoms

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data/signatures"
SAMPLES: list[dict[str, Any]] = yaml.safe_load((DATA / "samples.yaml").read_text())
IDS = [sample["id"] for sample in SAMPLES]


def log_of(sample: dict[str, Any]) -> bytes:
    if "file" in sample:
        return Path(DATA, sample["file"]).read_bytes()
    return f"epoch 1 loss 0.5\n{sample['line']}\nbye\n".encode()


@pytest.mark.parametrize("sample", SAMPLES, ids=IDS)
def test_a_real_line_shows_its_error(sample: dict[str, Any]) -> None:
    signature = next(signature for signature in load() if signature.id == sample["id"])
    assert signature.shows(log_of(sample))
    assert sample["origin"]


@pytest.mark.parametrize("sample", SAMPLES, ids=IDS)
def test_a_real_line_is_explained_by_its_error_or_a_more_special_one(sample: dict[str, Any]) -> None:
    order = [signature.id for signature in load()]
    first = known(log_of(sample))[0]
    assert order.index(first.id) <= order.index(sample["id"]) or first.primary


@pytest.mark.parametrize("sample", [s for s in SAMPLES if "accuses" in s], ids=lambda s: s["accuses"])
def test_whom_a_line_accuses(sample: dict[str, Any]) -> None:
    assert str(accused(log_of(sample))) == sample["accuses"]


def test_every_error_has_a_line() -> None:
    assert {signature.id for signature in load()} == set(IDS)


def test_there_are_many_and_each_says_what_to_do() -> None:
    signatures = load()
    assert len(signatures) >= 60
    assert len({signature.id for signature in signatures}) == len(signatures)
    for signature in signatures:
        assert signature.kind in ("primary", "secondary"), signature.id
        assert signature.who in WHO, signature.id
        assert signature.texts or signature.pattern, signature.id
        assert signature.meaning
        assert signature.do
        assert "\n" not in str(signature)


def test_the_file_is_yaml_and_read_as_such() -> None:
    text = Path(PATH).read_text()
    assert entries(text) == yaml.safe_load(text)


def test_only_the_fields_that_are_documented_are_used() -> None:
    allowed = {"id", "text", "pattern", "kind", "who", "meaning", "do", "vague", "scheduler"}
    assert all(set(entry) <= allowed for entry in yaml.safe_load(Path(PATH).read_text()))


@pytest.mark.parametrize("error", ["EI0002", "EI0006", "EI0015", "heartbeat-lost", "gloo-peer", "force-stop"])
def test_symptoms_are_no_causes(error: str) -> None:
    found = known(log_of(next(sample for sample in SAMPLES if sample["id"] == error)))
    assert only_symptoms(found)


def test_a_cause_outranks_a_symptom_in_the_same_log() -> None:
    lines = (
        b"EI0006: Getting socket times out.\nRuntimeError: NPU out of memory. Tried to allocate 5 GiB\nEZ9999: Inner\n"
    )
    assert [signature.id for signature in known(lines)] == ["npu-out-of-memory", "EI0006"]
    assert not only_symptoms(known(lines))


@pytest.mark.parametrize("log", [b"", b"epoch 1 loss 0.5\n", b"saved checkpoint\n\x00\xff\n", b"exit 0"])
def test_nothing_is_known_of_an_ordinary_log(log: bytes) -> None:
    assert known(log) == []
    assert not only_symptoms([])


HOSTILE = [
    b"\x00\xff",
    b"[",
    b"gloo/transport/",
    b"TCPStore ",
    b"socket type[0], listen on ip[",
    b"E",
    b"\\S* ",
    b"serverId[",
    b"srcRank[",
    b"port 1 ",
]


@pytest.mark.parametrize("text", HOSTILE, ids=map(repr, HOSTILE))
def test_a_log_that_repeats_the_beginning_of_a_pattern_shows_nothing(text: bytes) -> None:
    """And is searched to its end: a pattern that explodes would not come back."""
    log = (text * LIMIT)[:LIMIT]
    assert known(log) == []
    assert accused(log) is None


def test_an_accused_of_too_many_digits_is_nobody() -> None:
    assert accused(b"Failed to connect agent[" + b"1" * 5000 + b"]") is None
    assert str(accused(b"Failed to connect agent[" + b"1" * 5000 + b",7]")) == "rank 7"
    assert accused(b"Timed out node list is: {worker}") is None


def test_no_pattern_can_explode() -> None:
    """The time of a search grows with the log and no faster: nothing of any length stands before something else."""
    for signature in load():
        pattern = signature.pattern.pattern.decode() if signature.pattern else ""
        assert ".*" not in pattern, signature.id
        assert ".+" not in pattern, signature.id


def test_it_is_said_who_must_act_where_it_is_not_the_user() -> None:
    by_id = {signature.id: str(signature) for signature in load()}
    assert by_id["EI0005"].endswith("on batches of the same shape")
    assert by_id["EI0008"].endswith("use the same image everywhere (for whoever runs the platform)")
    assert by_id["hbm-ecc"].endswith("works (a fault of hardware or links)")


def test_the_documentation_is_what_the_file_says() -> None:
    page = (ROOT / "docs/reference/known-errors.md").read_text()
    assert page == as_markdown(), "run: python -m ma2l.diagnose.known_errors > docs/reference/known-errors.md"
