"""The bias field of an image, by N4 (Tustison et al. 2010, IEEE Trans Med Imaging 29:1310-1320) as SimpleITK has it.

SimpleITK wants a number of control points. As in ANTs they lie a fixed distance apart instead: the image is padded on both
sides until its length is a multiple of that distance.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import FloatArray, Spacing

SPLINE_MM: Final = 100.0
"""Distance of the control points of the published settings."""
TOLERANCE: Final = 1e-7
_ORDER: Final = 3


def bias_field(
    image: FloatArray, mask: NDArray[np.bool_], spacing_mm: Spacing, iterations: tuple[int, ...], *, shrink: int = 1
) -> FloatArray:
    """What an image has to be divided by.

    Parameters
    ----------
    image : ndarray of float32, shape (P, I, R)
        Intensities from 0 on.
    mask : ndarray of bool
        Voxels that the field is fitted to, of the same shape.
    spacing_mm : tuple of 3 float
        Voxel spacing.
    iterations : tuple of int
        At most so many at each level; the control points get twice as dense from one to the next.
    shrink : int
        Only every so many voxels along each axis are looked at.

    Returns
    -------
    ndarray of float32, shape (P, I, R)
        Positive, around 1.
    """
    import SimpleITK

    lengths_mm = [(n - 1) * step for n, step in zip(image.shape, spacing_mm, strict=True)]
    spans = [max(1, math.ceil(length / SPLINE_MM)) for length in lengths_mm]
    missing = [
        int((count * SPLINE_MM - length) / step + 0.5)
        for count, length, step in zip(spans, lengths_mm, spacing_mm, strict=True)
    ]
    before = [n // 2 for n in missing]
    after = [n - low for n, low in zip(missing, before, strict=True)]

    def made(array: NDArray[Any], step: int = 1) -> Any:
        found = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.T))
        found.SetSpacing([step * s for s in spacing_mm])
        return found

    whole, seen = (np.pad(a, list(zip(before, after, strict=True))) for a in (image.astype(np.float32), mask.astype(np.uint8)))
    sampled = tuple(_sampled(n, low, shrink, s) for n, low, s in zip(whole.shape, before, spacing_mm, strict=True))
    n4 = SimpleITK.N4BiasFieldCorrectionImageFilter()
    n4.SetSplineOrder(_ORDER)
    n4.SetNumberOfControlPoints([count + _ORDER for count in spans])
    n4.SetMaximumNumberOfIterations(iterations)
    n4.SetConvergenceThreshold(TOLERANCE)
    n4.Execute(made(whole[sampled], shrink), made(seen[sampled], shrink))
    field: FloatArray = SimpleITK.GetArrayFromImage(SimpleITK.Exp(n4.GetLogBiasFieldAsImage(made(whole)))).T
    p, i, r = (slice(low, low + n) for low, n in zip(before, image.shape, strict=True))
    return field[p, i, r]


def _sampled(length: int, before: int, step: int, spacing_mm: float) -> slice:
    """Every so many voxels of a padded axis, those that ANTs takes: around its middle, none ahead of the step's own grid.

    Where two are equally near, the last bit of a place in mm decides there, and so it does here.
    """
    count, begin, coarse_mm = max(1, length // step), -(before // step), step * spacing_mm
    origin_mm = spacing_mm * ((length - 1) / 2 - before) - coarse_mm * (begin + (count - 1) / 2)
    nearest = math.floor((origin_mm + coarse_mm * begin) / spacing_mm + 0.5) + before
    first = max(before % step, nearest)
    return slice(first, first + step * (count - 1) + 1, step)
