"""Whether and for how long the survivors of a failure save a dying checkpoint."""

from __future__ import annotations

import pytest

from ma2l.platforms.mindcluster import DYING_CHECKPOINT, dying_checkpoint


@pytest.mark.parametrize(
    "environ",
    [
        {"MS_ENABLE_TFT": "{TTP:1,UCE:1,ARF:1}"},
        {"MS_ENABLE_TFT": "{ TTP: 1 }"},
        {"MS_ENABLE_TFT": "{UCE:1}"},
        {"MS_ENABLE_TFT": "{TRE:1,ARF:1}"},
        {"TASKD_PROCESS_ENABLE": "on"},
        {"TTP_PORT": "8000"},
    ],
)
def test_announced(environ: dict[str, str]) -> None:
    assert dying_checkpoint(environ) == DYING_CHECKPOINT


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"MS_ENABLE_TFT": ""},
        {"MS_ENABLE_TFT": "{TTP:0}"},
        {"MS_ENABLE_TFT": "{TRE:1}"},
        {"TASKD_PROCESS_ENABLE": "off"},
        {"TASKD_PROCESS_ENABLE": ""},
        {"TTP_PORT": ""},
        {"TTP_OT": "60"},
    ],
)
def test_not_announced(environ: dict[str, str]) -> None:
    assert dying_checkpoint(environ) == 0


@pytest.mark.parametrize(("limit", "seconds"), [("60", 60.0), ("", 720.0), ("soon", 720.0), ("²", 720.0)])
def test_mindios_own_limit_counts(limit: str, seconds: float) -> None:
    assert dying_checkpoint({"TTP_PORT": "8000", "TTP_OT": limit}) == seconds
