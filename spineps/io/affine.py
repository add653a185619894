"""Which of a header's affines stands, and whether it can be trusted with left and right."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from typing import Final

import numpy as np

from spineps.errors import ErrorCode, Finding, FindingCode, InputError
from spineps.geometry import Geometry, Matrix
from spineps.io.header import AffineFields
from spineps.io.shown import refusal

SPACING_MM: Final = (0.1, 15.0)
"""Distances between voxels that occur in MRI and CT; outside of them the unit is wrong."""
CONFLICT_VOX: Final = 0.5
"""Sform and qform may disagree by less than this at every corner of the grid (rounding in their makers)."""
SHEAR_LIMIT_DEG: Final = 2.0
SHEAR_NOTED_DEG: Final = 0.1

_QUATERNION_EXCESS: Final = 1e-5  # of the squared norm over 1, from rounding to 32 bits
_SPACING_MISMATCH: Final = 0.01
_FARTHEST_MM: Final = 1e9
_LEAST_MM: Final = 2e-4
_LEAST_VOLUME_MM3: Final = 2e-12  # a Geometry asks for more than 1e-12
_SINGULAR: Final = 1e-3  # volume of the parallelepiped of unit axes
_CHOOSE: Final = "Find out which is right and say so with --affine sform or --affine qform."
_RESTORE: Final = "Convert the scan again from its source."


class AffineChoice(str, Enum):
    """Which affine of the header to use; ``auto`` is the sform, else the qform, if they do not contradict each other."""

    AUTO = "auto"
    BASE = "base"
    SFORM = "sform"
    QFORM = "qform"


def choose_affine(fields: AffineFields, choice: AffineChoice, name: str) -> tuple[Geometry, tuple[Finding, ...]]:
    """Grid of a scan from what its header says.

    Parameters
    ----------
    fields : AffineFields
        From the header.
    choice : AffineChoice
        The user's word. ``base`` builds an affine from voxel sizes alone: first axis to the left, second to anterior,
        third to superior, the centre at the origin (what nibabel assumes without an affine).
    name : str
        Shown name for messages.

    Raises
    ------
    InputError
        INPUT_AFFINE, INPUT_AFFINE_CONFLICT or INPUT_HEADER.
    """
    pick: dict[AffineChoice, Callable[[], tuple[Matrix, list[Finding]]]] = {
        AffineChoice.AUTO: lambda: _auto(fields, name),
        AffineChoice.BASE: lambda: _base(fields, name),
        AffineChoice.SFORM: lambda: _stated(fields, name, choice),
        AffineChoice.QFORM: lambda: _stated(fields, name, choice),
    }
    affine, findings = pick[choice]()
    geometry = Geometry(fields.shape, affine)
    _require_spacing(geometry, name)
    findings += _shear_findings(geometry, name)
    if choice is not AffineChoice.BASE:
        findings += _pixdim_findings(fields, geometry)
    return geometry, tuple(findings)


def _auto(fields: AffineFields, name: str) -> tuple[Matrix, list[Finding]]:
    sform, qform = _sform(fields), _qform(fields)
    if sform is not None and qform is not None:
        _require_agreement(fields, sform, qform, name)
        return sform, []
    if sform is not None:
        unusable = Finding(FindingCode.HEADER_REPAIRED, "The header's qform is invalid; its sform was used.")
        return sform, [unusable] if fields.qform_code > 0 else []
    if qform is not None:
        unusable = Finding(FindingCode.AFFINE_FROM_QFORM, "The header's sform is invalid; its qform was used.")
        return qform, [unusable] if fields.sform_code > 0 else []
    _require_some_spacing(fields, name)
    if fields.sform_code <= 0 and fields.qform_code <= 0:
        remedy = "Convert the scan again from its source, or accept a guess of left and right with --affine base."
        raise refusal(ErrorCode.INPUT_AFFINE, name, "does not say how it lies in space (sform and qform code 0)", remedy=remedy)
    what = "has an affine that is not finite, not invertible or no rotation"
    raise refusal(ErrorCode.INPUT_AFFINE, name, what, remedy=_RESTORE)


def _base(fields: AffineFields, name: str) -> tuple[Matrix, list[Finding]]:
    _require_some_spacing(fields, name)
    x, y, z = fields.pixdim[1:]
    affine = np.diag([-x, y, z, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(fields.shape) - 1) / 2)
    message = "Position and directions were guessed from voxel sizes alone, as asked; left and right may be swapped."
    return affine, [Finding(FindingCode.AFFINE_CHOSEN, message)]


def _stated(fields: AffineFields, name: str, choice: AffineChoice) -> tuple[Matrix, list[Finding]]:
    """The affine that the user asked for; a finding where the other one contradicts it."""
    sform, qform = _sform(fields), _qform(fields)
    chosen, other = (sform, qform) if choice is AffineChoice.SFORM else (qform, sform)
    if chosen is None:
        what = f"has no valid {choice.value}, which was asked for"
        raise refusal(ErrorCode.INPUT_AFFINE, name, what, remedy="Leave out --affine or choose another one.")
    if other is None or _corner_distance_vox(fields, chosen, other) < CONFLICT_VOX:
        return chosen, []
    message = f"Sform and qform contradict each other; the {choice.value} was used, as asked."
    return chosen, [Finding(FindingCode.AFFINE_CHOSEN, message)]


def _sform(fields: AffineFields) -> Matrix | None:
    return fields.sform if fields.sform_code > 0 and _is_valid(fields.sform) else None


def _qform(fields: AffineFields) -> Matrix | None:
    """The qform, from its quaternion, as the NIfTI standard defines it ("method 2")."""
    if fields.qform_code <= 0 or not _has_spacing(fields) or not np.isfinite([*fields.quaternion, *fields.offset]).all():
        return None
    b, c, d = fields.quaternion
    rest = 1.0 - (b * b + c * c + d * d)
    if rest < -_QUATERNION_EXCESS:
        return None
    a = math.sqrt(max(rest, 0.0))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    handedness, x, y, z = fields.pixdim
    affine = np.eye(4)
    affine[:3, :3] = rotation * (x, y, -z if handedness < 0 else z)
    affine[:3, 3] = fields.offset
    return affine if _is_valid(affine) else None


def _is_valid(affine: Matrix) -> bool:
    """Whether an affine is finite, of this world, and its axes span space."""
    if not (np.abs(affine) <= _FARTHEST_MM).all():  # false for NaN as well
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if lengths.min() < _LEAST_MM:
        return False
    shape, volume = abs(np.linalg.det(affine[:3, :3] / lengths)), abs(np.linalg.det(affine[:3, :3]))
    return bool(shape > _SINGULAR and volume > _LEAST_VOLUME_MM3)


def _has_spacing(fields: AffineFields) -> bool:
    return all(_LEAST_MM <= size <= _FARTHEST_MM for size in fields.pixdim[1:])


def _require_some_spacing(fields: AffineFields, name: str) -> None:
    if not _has_spacing(fields):
        what = "has neither a valid affine nor valid voxel sizes"
        raise refusal(ErrorCode.INPUT_HEADER, name, what, remedy=_RESTORE)


def _require_agreement(fields: AffineFields, sform: Matrix, qform: Matrix, name: str) -> None:
    distance_vox = _corner_distance_vox(fields, sform, qform)
    if distance_vox < CONFLICT_VOX:
        return
    mirrored = np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0
    kind = "one mirrors the other" if mirrored else f"up to {distance_vox:.3g} voxels apart"
    what = f"has a sform and a qform that contradict each other ({kind})"
    raise refusal(ErrorCode.INPUT_AFFINE_CONFLICT, name, what, remedy=_CHOOSE)


def _corner_distance_vox(fields: AffineFields, one: Matrix, other: Matrix) -> float:
    """Largest distance between the places that two affines give a corner of the grid, in voxels of the first."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in fields.shape], indexing="ij")).reshape(3, -1).T
    difference = other - one
    moved_mm = corners @ difference[:3, :3].T + difference[:3, 3]
    moved_vox = moved_mm @ np.linalg.inv(one[:3, :3]).T
    return float(np.linalg.norm(moved_vox, axis=1).max())


def _require_spacing(geometry: Geometry, name: str) -> None:
    low, high = SPACING_MM
    spacing = geometry.spacing_mm
    if all(low <= step <= high for step in spacing):
        return
    what = f"has voxels of {_by(spacing)} mm, outside of {low:g} to {high:g} mm{_guessed_unit(spacing)}"
    raise refusal(ErrorCode.INPUT_AFFINE, name, what, remedy="Write its affine in millimetres.")


def _guessed_unit(spacing: tuple[float, float, float]) -> str:
    low, high = SPACING_MM
    for unit, factor in (("metres", 1000.0), ("micrometres", 0.001)):
        if all(low <= step * factor <= high for step in spacing):
            return f" (it seems to be in {unit})"
    return ""


def _shear_findings(geometry: Geometry, name: str) -> list[Finding]:
    unit = geometry.affine[:3, :3] / np.asarray(geometry.spacing_mm)
    cosines = np.abs(unit.T @ unit)[np.triu_indices(3, 1)]
    shear_deg = math.degrees(math.asin(min(1.0, float(cosines.max()))))
    if shear_deg > SHEAR_LIMIT_DEG:
        what = f"has axes that are {shear_deg:.1f} degrees off a right angle, more than {SHEAR_LIMIT_DEG:g}"
        raise _shear_error(name, what)
    if shear_deg <= SHEAR_NOTED_DEG:
        return []
    return [Finding(FindingCode.SHEAR, f"The axes are {shear_deg:.1f} degrees off a right angle.")]


def _shear_error(name: str, what: str) -> InputError:
    remedy = "Resample it to a grid with right angles, or convert it again from its source."
    return refusal(ErrorCode.INPUT_AFFINE, name, what, remedy=remedy)


def _pixdim_findings(fields: AffineFields, geometry: Geometry) -> list[Finding]:
    if _has_spacing(fields) and np.allclose(fields.pixdim[1:], geometry.spacing_mm, rtol=_SPACING_MISMATCH, atol=0):
        return []
    message = f"The header's voxel sizes are wrong; the affine's {_by(geometry.spacing_mm)} mm were used."
    return [Finding(FindingCode.SPACING_FROM_AFFINE, message)]


def in_memory(affine: Matrix, shape: tuple[int, int, int]) -> AffineFields:
    """Fields of an image that knows one affine and no header."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    x, y, z = (float(length) for length in lengths)
    return AffineFields(1, 0, affine, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (1.0, x, y, z), shape)


def _by(values: tuple[float, ...]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
