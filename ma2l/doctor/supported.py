"""Which versions belong together, as published. What no table names is not judged.

Sources:

* CANN and driver: "CANN Version Mapping" of CANN 8.5.0's release notes; "Version compatibility" of MindIE 2.1.RC1
  (CANN 8.2.RC1); MindCluster 6.0.RC1's "Related product versions" (CANN 8.0.RC1); the version table of MindSpore
  Transformers 1.5 (CANN 8.1.RC1).
* Frameworks and CANN: ``version_match.json`` of ascend-deployer; "Version compatibility" of Ascend Extension for
  PyTorch 7.2.0, and the version tables in its README.
* Driver and firmware: ``compatible_version_fw`` in the driver's own ``version.info``.
"""

from __future__ import annotations

import re

DRIVERS = {
    "8.5.0": ("25.5", "25.3", "25.2", "25.0"),
    "8.2.RC1": ("25.2", "25.0", "24.1.0", "24.1.RC3", "24.1.RC2"),
    "8.1.RC1": ("25.0",),
    "8.0.RC1": ("24.1.RC1",),
}
"""Beginnings of the driver versions (Ascend HDK) that a CANN version was released for."""

_FROM_8_0_RC2 = ("8.0.RC2", "8.0.RC3", "8.0.0", "8.1.RC1", "8.2.RC1", "8.3.RC1")
FRAMEWORKS: dict[str, dict[str, tuple[str, ...]]] = {
    "mindspore": {
        "2.3.0": ("8.0.RC1",),
        "2.6.0rc1": ("8.1.RC1",),
        "2.6.0": ("8.2.RC1",),
        "2.7.0rc1": ("8.2.RC1",),
        "2.7.1": ("8.3.RC1",),
        "2.7.2": ("8.5.0",),
    },
    "torch_npu": {
        "2.1.0.post3": ("8.0.RC1",),
        "2.1.0.post6": ("8.0.RC2",),
        "2.1.0.post10": _FROM_8_0_RC2,
        "2.1.0.post12": _FROM_8_0_RC2,
        "2.1.0.post13": _FROM_8_0_RC2,
        "2.1.0.post17": _FROM_8_0_RC2,
        "2.2.0": ("8.0.RC1",),
        "2.2.0.post2": ("8.0.RC2",),
        "2.3.1.post4": _FROM_8_0_RC2,
        "2.3.1.post6": _FROM_8_0_RC2,
        "2.4.0.post2": _FROM_8_0_RC2,
        "2.4.0.post4": _FROM_8_0_RC2,
        "2.5.1": _FROM_8_0_RC2,
        "2.5.1.post1": _FROM_8_0_RC2,
        "2.6.0": _FROM_8_0_RC2,
        "2.6.0.post3": _FROM_8_0_RC2,
        "2.6.0.post5": ("8.5.0",),
        "2.7.1": _FROM_8_0_RC2,
        "2.7.1.post2": ("8.5.0",),
        "2.7.1.post4": ("9.0.0",),
        "2.8.0": _FROM_8_0_RC2,
        "2.8.0.post2": ("8.5.0",),
        "2.8.0.post4": ("9.0.0",),
        "2.9.0": ("8.5.0",),
        "2.9.0.post2": ("9.0.0",),
        "2.10.0": ("9.0.0",),
    },
}
"""CANN versions by framework and its version."""
_RELEASE = re.compile(r"(\d+\.\d+(?:\.\d+)?)(?:[.-]?(rc\d+|t\d+))?", re.IGNORECASE)


def release(version: str) -> str:
    """``8.1.RC1`` of ``8.1.RC1.beta1``, ``8.0.0`` of ``8.0.0.1``: what the tables call it."""
    match = _RELEASE.match(version.strip())
    if match is None:
        return version.strip()
    return f"{match[1]}.{match[2].upper()}" if match[2] else match[1]


def drivers_of(cann: str) -> tuple[str, ...] | None:
    """Beginnings of driver versions for a CANN version, ``None`` where no table names it."""
    return DRIVERS.get(release(cann))


def cann_of(framework: str, version: str) -> tuple[str, ...] | None:
    """CANN versions for a framework's version, ``None`` where no table names it."""
    return FRAMEWORKS[framework].get(version.partition("+")[0])


def fits(driver: str, beginnings: tuple[str, ...]) -> bool:
    """Whether a driver version is one of those: ``25.0`` stands for all of 25.0, ``24.1.RC3`` for itself."""
    given = driver.strip().upper().split(".")
    return any(given[: len(parts)] == parts for parts in (one.upper().split(".") for one in beginnings))


def between(version: str, span: str) -> bool | None:
    """Whether a version lies in ``[7.0.0,7.7.99]``; ``None`` where that is no span."""
    match = re.fullmatch(r"\[([\d.]+),([\d.]+)\]", span.strip())
    if match is None or not re.fullmatch(r"[\d.]+", version):
        return None
    low, high, given = ([int(part) for part in text.split(".") if part] for text in (match[1], match[2], version))
    return low <= given[: len(low)] and given[: len(high)] <= high
