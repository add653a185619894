"""The record of a run: what was done, with what, to what, and what came out; plain values without names of people or places.

Everything but the block ``timing`` is the same for the same input, settings, models and versions.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from spineps.config import PipelineConfig
from spineps.errors import Finding, SpinepsError
from spineps.geometry import Geometry
from spineps.outputs.levels import levels_block
from spineps.volume import Result, Scan, Source, Vertebra

RECORD_FORMAT: Final = 1
"""Raised when a reader of older records would misunderstand a new one."""
DONE: Final = "DONE"
"""Status of a run that ended well; any other status is the code of the error that ended it."""

# Packages that can change a result.
_PACKAGES: Final = (
    "torch",
    "numpy",
    "scipy",
    "nibabel",
    "TPTBox",
    "connected-components-3d",
    "fastremap",
    "fill-voids",
    "edt",
    "SimpleITK",
    "safetensors",
    "pillow",
)
_TIMING: Final = "timing"


def run_record(result: Result, outputs: Mapping[str, str]) -> dict[str, Any]:
    """Record of a run that ended well.

    Parameters
    ----------
    result : Result
        What came out; everything in its ``provenance`` is taken over.
    outputs : mapping of str to str
        What each written file is ("semantic", ...) and the sha256 of its bytes. File names are not recorded: they may carry
        a patient's name, and follow from the record's own.

    Returns
    -------
    dict
        Plain values for JSON.
    """
    source = result.semantic.source if result.scan is None else result.scan.source
    provenance = dict(result.provenance)
    timing = provenance.pop("seconds", {})
    provenance.pop("input_sha256", None)  # stands in the block "input"
    head = _head(DONE)
    head["versions"] |= {name: number for name, number in provenance.pop("versions", {}).items() if name != "spineps"}
    return {
        **head,
        **provenance,
        "input": _input(source, result.semantic.geometry),
        "findings": _findings(result.findings),
        "levels": levels_block(result.levels),
        "score": _rounded(result.score),
        "vertebrae": [_vertebra(vertebra) for vertebra in result.vertebrae],
        "outputs": dict(outputs),
        _TIMING: dict(timing),
    }


def failure_record(scan: Scan | Source, config: PipelineConfig, error: SpinepsError) -> dict[str, Any]:
    """Record of a scan in which there was nothing to segment, or (given its source alone) that was refused; see
    :func:`run_record`.
    """
    source, geometry = (scan.source, scan.geometry) if isinstance(scan, Scan) else (scan, None)
    return {
        **_head(str(error.code)),
        "settings": config.as_dict(),
        "settings_sha256": config.sha256(),
        "input": _input(source, geometry),
        "message": error.message,
        "findings": _findings(source.findings),
        "vertebrae": [],
        "outputs": {},
        _TIMING: {},
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that can change a result."""
    found = {package: _version(package) for package in _PACKAGES}
    return {"python": platform.python_version(), **{package: number for package, number in found.items() if number}}


@lru_cache
def _version(package: str) -> str | None:
    """Installed version of a package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _head(status: str) -> dict[str, Any]:
    import spineps

    return {"record_format": RECORD_FORMAT, "status": status, "spineps": spineps.__version__, "versions": versions()}


def _input(source: Source, geometry: Geometry | None) -> dict[str, Any]:
    if geometry is None:
        return {"sha256": source.sha256}
    return {
        "sha256": source.sha256,
        "shape": list(geometry.shape),
        "spacing_mm": [round(step, 5) for step in geometry.spacing_mm],
        "orientation": "".join(geometry.axes),
    }


def _findings(findings: Iterable[Finding]) -> list[dict[str, str]]:
    return [{"code": str(finding.code), "message": finding.message} for finding in findings]


def _vertebra(vertebra: Vertebra) -> dict[str, Any]:
    return {
        "label": vertebra.label,
        "name": vertebra.name,
        "centroid_mm": [round(value, 3) for value in vertebra.centroid_mm],
        "volume_ml": round(vertebra.volume_ml, 3),
        "agreement": round(vertebra.agreement, 4),
        "partial": vertebra.partial,
        "mask_confidence": _rounded(vertebra.mask_confidence),
        "name_confidence": _rounded(vertebra.name_confidence),
    }


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)
