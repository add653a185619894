"""Voxels into scans and label maps: stored numbers to values, and what a scan or a label map must hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spineps.errors import ErrorCode, Finding, FindingCode
from spineps.geometry import FloatArray, Geometry
from spineps.io.shown import refusal
from spineps.volume import LabelArray

NONFINITE_SHARE: Final = 0.01
"""Largest share of NaN and infinity in a scan; they come from resampling beyond the field of view."""
LEAST_VOXELS: Final = 8
"""Fewest voxels along any axis of a scan."""
LEAST_EXTENT_SI_MM: Final = 40.0
"""Least extent of a scan from superior to inferior: about one vertebra with its discs."""

_LARGEST_LABEL: Final = 65535
_MOST_LABELS: Final = 256
_ROUNDING: Final = 1e-4
_SAMPLE: Final = 1 << 16
# Share of neighbouring voxels, both not zero, with equal values. In scans of 8 bits with saturated fat at most 0.53, in masks
# of vertebrae, discs and 14 structures at least 0.92 (mean over the axes, measured on 20 scans and 19 masks).
_LABEL_UNIFORMITY: Final = 0.75
_SCAN_UNIFORMITY: Final = 0.6
_SCAN_VALUES: Final = 100
_SLAB_VALUES: Final = 1 << 22
_RUN: Final = 1 << 18
_EXPORT_AGAIN: Final = "Export or convert the scan again from its source."


def scan_values(stored: NDArray[Any], scaling: tuple[float, float] | None) -> FloatArray:
    """Stored numbers to float32 intensities, slab by slab, so that no second volume of doubles is needed.

    Values beyond the range of float32 become infinite.
    """
    if scaling is None and stored.dtype.itemsize < 8:
        return stored.astype(np.float32, copy=False)
    slope, intercept = scaling or (1.0, 0.0)
    values = np.empty(stored.shape, dtype=np.float32, order="F")
    step = max(1, _SLAB_VALUES // max(1, stored.shape[0] * stored.shape[1]))
    for start in range(0, stored.shape[2], step):
        slab = np.s_[:, :, start : start + step]
        values[slab] = stored[slab].astype(np.float64) * slope + intercept
    return values


def checked_scan(values: FloatArray, geometry: Geometry, name: str) -> tuple[FloatArray, tuple[Finding, ...]]:
    """Intensities that a model may be given, a few missing ones replaced by the least of the others.

    Raises
    ------
    InputError
        INPUT_FOV, INPUT_NONFINITE, INPUT_CONSTANT or INPUT_LOOKS_LIKE_LABELS.
    """
    _require_field_of_view(geometry, name)
    values, findings = _finite(values, name)
    if values.min() == values.max():
        what = f"has the value {float(values.flat[0]):g} in every voxel"
        raise refusal(ErrorCode.INPUT_CONSTANT, name, what, remedy=_EXPORT_AGAIN)
    if looks_like_labels(values):
        remedy = "If it is a semantic mask, run 'spineps instance -i MASK'; else give the scan itself."
        raise refusal(ErrorCode.INPUT_LOOKS_LIKE_LABELS, name, "looks like a label map, not like a scan", remedy=remedy)
    return values, findings


def checked_labels(
    stored: NDArray[Any], scaling: tuple[float, float] | None, name: str, *, allow_empty: bool = False
) -> LabelArray:
    """Labels as uint8 where they fit, else as uint16.

    Raises
    ------
    InputError
        INPUT_LABELS where a value is no whole number from 0 to 65535, where all are 0, or where many values are mixed as
        only in scans.
    """
    values = stored if scaling is None else stored.astype(np.float64) * scaling[0] + scaling[1]
    low, high = values.min(), values.max()
    remedy = "Give a mask of whole numbers; masks must be resampled with nearest neighbours."
    if not (low >= 0 and high <= _LARGEST_LABEL):  # false for NaN as well
        what = f"is no label map: its values should be whole numbers from 0 to {_LARGEST_LABEL}"
        raise refusal(ErrorCode.INPUT_LABELS, name, what, remedy=remedy)
    whole = np.rint(values) if np.issubdtype(values.dtype, np.floating) else values
    labels: LabelArray = whole.astype(np.uint8) if np.rint(high) <= 255 else whole.astype(np.uint16)
    if np.issubdtype(values.dtype, np.floating) and np.abs(values - labels).max() > _ROUNDING:
        raise refusal(ErrorCode.INPUT_LABELS, name, "is no label map: it holds fractions", remedy=remedy)
    if not labels.any() and not allow_empty:
        raise refusal(ErrorCode.INPUT_LABELS, name, "holds no label, only zeros", remedy="Check which mask you gave.")
    if _looks_like_scan(labels):
        raise refusal(ErrorCode.INPUT_LABELS, name, "looks like a scan, not like a label map", remedy="Give the mask.")
    return labels


def looks_like_labels(values: FloatArray) -> bool:
    """Tell a label map from a scan: few whole numbers, zero the commonest, the others in uniform regions.

    Parameters
    ----------
    values : ndarray of float32, 3D
        Finite intensities.
    """
    sample = values.ravel(order="K")[:: max(1, values.size // _SAMPLE)]
    if not _are_labels(sample) or not _are_labels(values):
        return False
    labels = values.astype(np.uint16)
    counts = _counts(labels)
    if np.count_nonzero(counts) > _MOST_LABELS or counts.argmax() != 0:
        return False
    return _uniformity(labels) >= _LABEL_UNIFORMITY


def _are_labels(values: FloatArray) -> bool:
    if values.min() < 0 or values.max() > _LARGEST_LABEL:
        return False
    return all(bool((part == np.rint(part)).all()) for part in _parts(values))


def _counts(labels: LabelArray) -> NDArray[np.int64]:
    """How often each of the 65536 labels occurs."""
    counts = np.zeros(_LARGEST_LABEL + 1, dtype=np.int64)
    for part in _parts(labels):
        counts += np.bincount(part, minlength=counts.size)
    return counts


def _parts(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The values in short runs, so that work on them needs no second volume."""
    flat = values.ravel(order="K")
    for start in range(0, flat.size, _RUN):
        yield flat[start : start + _RUN]


def _looks_like_scan(labels: LabelArray) -> bool:
    """Whether there are more values than any scheme has labels, and neighbours mostly differ."""
    many = np.count_nonzero(_counts(labels)) > _SCAN_VALUES
    return bool(many and _uniformity(labels) < _SCAN_UNIFORMITY)


def _uniformity(labels: LabelArray) -> float:
    """Mean over the axes of the share of neighbours, both labelled, with the same label; 1 where there are none."""
    shares = []
    for axis in range(3):
        ahead, behind = np.moveaxis(labels, axis, 0)[1:], np.moveaxis(labels, axis, 0)[:-1]
        both = np.count_nonzero((ahead != 0) & (behind != 0))
        equal = np.count_nonzero((ahead == behind) & (ahead != 0))
        shares.append(equal / both if both else 1.0)
    return sum(shares) / len(shares)


def _require_field_of_view(geometry: Geometry, name: str) -> None:
    remedy = "Give the whole scan; spineps needs a sagittal stack with at least one vertebra."
    if min(geometry.shape) < LEAST_VOXELS:
        shape = " x ".join(str(n) for n in geometry.shape)
        what = f"has {shape} voxels, fewer than {LEAST_VOXELS} along an axis"
        raise refusal(ErrorCode.INPUT_FOV, name, what, remedy=remedy)
    extent_mm = next(e for e, code in zip(geometry.extent_mm, geometry.axes, strict=True) if code in ("S", "I"))
    if extent_mm < LEAST_EXTENT_SI_MM:
        what = f"covers {extent_mm:.0f} mm from superior to inferior, less than {LEAST_EXTENT_SI_MM:.0f} mm"
        raise refusal(ErrorCode.INPUT_FOV, name, what, remedy=remedy)


def _finite(values: FloatArray, name: str) -> tuple[FloatArray, tuple[Finding, ...]]:
    good = np.isfinite(values)
    bad = values.size - int(np.count_nonzero(good))
    if not bad:
        return values, ()
    share = bad / values.size
    if share > NONFINITE_SHARE:
        what = f"has no finite number in {share:.1%} of its voxels, more than {NONFINITE_SHARE:.0%}"
        raise refusal(ErrorCode.INPUT_NONFINITE, name, what, remedy=_EXPORT_AGAIN)
    least = values[good].min()
    message = f"{bad:,} voxels without a finite number were given the least of the other values."
    return np.where(good, values, least), (Finding(FindingCode.NONFINITE_REPLACED, message),)
