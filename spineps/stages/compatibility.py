"""Whether a scan is what a model for sagittal MRI can take: its plane by the spacing, its modality by the values."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.errors import ErrorCode, Finding, FindingCode, InputError
from spineps.geometry import PIR, Reorientation, Spacing
from spineps.volume import Scan

ISOTROPIC_RATIO: Final = 1.2
"""Spacings within this ratio count as equal: such a scan has no plane."""
THICK_MM: Final = 6.0
"""Slices thicker than this leave less than one slice for a spinous process."""
HU_AIR: Final = (-1100.0, -900.0)
HU_TISSUE: Final = (-250.0, 400.0)
"""Fat to cancellous bone."""
HU_PADDING: Final = -1500.0
"""Values below are a scanner's padding outside of its field."""
HU_LEAST_AIR: Final = 0.02
HU_LEAST_TISSUE: Final = 0.7
"""Least shares of air among all voxels, and of tissue among those that are neither air nor lung."""
HU_RANGE: Final = (-500.0, 250.0)
"""A CT holds values below and above these."""
COARSE_MM: Final = 2.5
"""Pixels in the sagittal plane coarser than this leave nothing of an endplate or a facet joint."""
_CT_NAME: Final = re.compile(r"(^|_)mod-ct(_|$)", re.IGNORECASE)
_SAMPLE: Final = 1_000_000


def check_compatibility(scan: Scan, *, force: bool = False) -> tuple[Finding, ...]:
    """Refuse scans that no model for sagittal MRI can segment.

    Parameters
    ----------
    scan : Scan
        In any orientation.
    force : bool
        Go on all the same, with a finding.

    Returns
    -------
    tuple of Finding
        THICK_SLICES, and COMPAT_FORCED for each objection overruled.

    Raises
    ------
    InputError
        COMPAT where the scan is axial or coronal, too coarse, or a CT, and ``force`` is not set.
    """
    spacing_mm = Reorientation.between(scan.geometry.axes, PIR).apply_geometry(scan.geometry).spacing_mm
    objections = [text for text in (_plane_objection(spacing_mm), _modality_objection(scan)) if text]
    if objections and not force:
        raise InputError(ErrorCode.COMPAT, objections[0], remedy="Give a sagittal MRI, or use --force to run all the same.")
    findings = [Finding(FindingCode.COMPAT_FORCED, text) for text in objections]
    if spacing_mm[2] > THICK_MM:
        text = f"The slices are {spacing_mm[2]:.1f} mm apart; beyond {THICK_MM:.0f} mm posterior elements are unreliable."
        findings.append(Finding(FindingCode.THICK_SLICES, text))
    return tuple(findings)


def _plane_objection(spacing_mm: Spacing) -> str | None:
    """What speaks against a sagittal or isotropic scan (the thickest axis tells the plane) of useful resolution."""
    p, i, r = spacing_mm
    thick = int(np.argmax(spacing_mm))
    if thick != 2 and spacing_mm[thick] > ISOTROPIC_RATIO * r:
        plane = ("coronal", "axial")[thick]
        return f"the scan is {plane} (spacing {p:.2f} x {i:.2f} x {r:.2f} mm along P, I, R), the model expects a sagittal one."
    if max(p, i) > COARSE_MM:
        return f"the pixels in the sagittal plane are {max(p, i):.1f} mm wide, the model expects at most {COARSE_MM} mm."
    return None


def _modality_objection(scan: Scan) -> str | None:
    """What speaks against an MRI: a file named as CT, or values on the Hounsfield scale."""
    if _CT_NAME.search(scan.source.prefix or ""):
        return "the file is named as a CT, the model expects an MRI."
    return _hounsfield_objection(scan.image)


def _hounsfield_objection(image: NDArray[np.float32]) -> str | None:
    """Air near -1000 and tissue around 0."""
    values = image.reshape(-1)[:: max(1, image.size // _SAMPLE)]
    values = values[values > HU_PADDING]
    if values.size == 0 or values.min() > HU_RANGE[0] or values.max() < HU_RANGE[1]:
        return None
    air = float(np.mean((values > HU_AIR[0]) & (values < HU_AIR[1])))
    solid = values[values > HU_RANGE[0]]
    tissue = float(np.mean((solid > HU_TISSUE[0]) & (solid < HU_TISSUE[1])))
    if air < HU_LEAST_AIR or tissue < HU_LEAST_TISSUE:
        return None
    return "the values look like a CT (air near -1000, tissue near 0), the model expects an MRI."
