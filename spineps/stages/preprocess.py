"""Preprocessing: orientation, crop to the signal, optional bias field correction, normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spineps.config import PreprocessConfig
from spineps.errors import ErrorCode, InputError
from spineps.geometry import PIR, Box, FloatArray, Geometry, Reorientation, resample
from spineps.stages.bias import bias_field
from spineps.volume import Scan

CLIP_PERCENTILES: Final = (0.5, 99.5)
"""Intensities are clipped to these percentiles before they are normalised (as nnU-Net does for CT)."""
SIGNAL_SHARE: Final = 0.02
"""Outer planes whose values all lie below this share of the 99.5 percentile (above the least value) hold no signal."""
N4_SPACING_MM: Final = 8.0
"""Spacing at which the bias field is estimated: it is smooth, so that every so many voxels tell it."""
N4_ITERATIONS: Final = (50, 30, 20, 10)
_SAMPLE: Final = 2_000_000
"""At most about this many voxels are looked at for percentiles."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An image ready for the semantic network, and where it lies.

    Parameters
    ----------
    image : ndarray of float32, shape (P, I, R)
        The cropped image in PIR orientation, its intensities as they were.
    geometry : Geometry
        Of ``image``.
    box : Box
        Where ``image`` lies in ``full``.
    full : Geometry
        Of the whole scan in PIR orientation.
    turn : Reorientation
        From the scan's own axes to PIR.
    """

    image: FloatArray
    geometry: Geometry
    box: Box
    full: Geometry
    turn: Reorientation


def prepare(scan: Scan, config: PreprocessConfig | None = None) -> Prepared:
    """Reorient a scan to PIR, crop it to its signal and, if asked for, correct its bias field."""
    config = config or PreprocessConfig()
    turn = Reorientation.between(scan.geometry.axes, PIR)
    image = turn.apply(scan.image)
    full = turn.apply_geometry(scan.geometry)
    box = signal_box(image) if config.crop else Box.whole(full.shape)
    image = np.ascontiguousarray(image[box.slices])
    geometry = full.cropped(box)
    if config.n4:
        image = correct_bias_field(image, geometry)
    return Prepared(image, geometry, box, full, turn)


def signal_box(image: FloatArray) -> Box:
    """Smallest box outside of which there is only background; the whole image if nothing stands out."""
    low = float(image.min())
    high = float(_percentiles(image, (99.5,))[0])
    return Box.around(image > low + SIGNAL_SHARE * (high - low)) or Box.whole((image.shape[0], image.shape[1], image.shape[2]))


def normalise(image: FloatArray, empty: NDArray[np.bool_] | None = None) -> FloatArray:
    """Clip to :data:`CLIP_PERCENTILES`, then scale to zero mean and unit variance.

    Invariant to any change of intensities ``a * x + b`` with a > 0. Voxels that are ``empty`` count for neither.

    Raises
    ------
    InputError
        INPUT_CONSTANT where nothing remains to be seen.
    """
    seen = image if empty is None else image[~empty]
    low, high = _percentiles(seen, CLIP_PERCENTILES)
    clipped = np.clip(image, low, high).astype(np.float64)
    within = clipped if empty is None else clipped[~empty]
    deviation = float(within.std())
    if deviation <= 1e-6 * max(1e-30, float(np.abs(clipped).max())):
        raise InputError(
            ErrorCode.INPUT_CONSTANT,
            "the image is constant between its 0.5 and 99.5 percentile.",
            remedy="Check that the file holds an image.",
        )
    scaled: FloatArray = ((clipped - within.mean()) / deviation).astype(np.float32)
    return scaled


def correct_bias_field(image: FloatArray, geometry: Geometry) -> FloatArray:
    """Divide an image by its bias field (N4, Tustison et al. 2010).

    The field is estimated from voxels :data:`N4_SPACING_MM` apart and interpolated linearly to the image.
    """
    shifted = image - image.min()
    coarse_grid = geometry.resampled([max(N4_SPACING_MM, s) for s in geometry.spacing_mm])
    coarse = resample(shifted, geometry, coarse_grid, order=0)  # the voxels themselves: mixed with air they would look dark
    mask = coarse > float(_percentiles(coarse, (99.5,))[0]) * SIGNAL_SHARE
    if not mask.any():
        return image
    field = bias_field(coarse, mask, coarse_grid.spacing_mm, N4_ITERATIONS)
    fine: FloatArray = resample(field, coarse_grid, geometry, order=1)
    corrected: FloatArray = (shifted / np.maximum(fine, 1e-3)).astype(np.float32)
    return corrected


def _percentiles(image: FloatArray, percentiles: tuple[float, ...]) -> Any:
    """Percentiles of an image, from an evenly spread part of its voxels where it is large."""
    flat = image.reshape(-1)
    return np.percentile(flat[:: max(1, flat.size // _SAMPLE)], percentiles)
