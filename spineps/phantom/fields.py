"""Building blocks of implicit anatomy: smooth random fields, trilinear upsampling and distance functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from spineps.geometry import FloatArray

Point = tuple[float, float, float]
Rounding = tuple[float, float, float]
ROUND: Rounding = (1.0, 1.0, 1.0)


def single(values: Any) -> FloatArray:
    """The values as float32."""
    return np.asarray(values, dtype=np.float32)


def upsample(coarse: Any, shape: Sequence[int]) -> FloatArray:
    """Sample a coarse field trilinearly on a finer grid; the corner samples of both grids coincide.

    Parameters
    ----------
    coarse : array_like, 3D
        Values at evenly spaced nodes.
    shape : sequence of 3 int
        Samples along each axis of the result.

    Returns
    -------
    ndarray of float32
    """
    out = np.asarray(coarse, dtype=np.float32)
    for axis in sorted(range(3), key=lambda a: shape[a] / out.shape[a]):
        out = _stretch(out, axis, shape[axis])
    return np.ascontiguousarray(out)


def _stretch(values: FloatArray, axis: int, count: int) -> FloatArray:
    """Linear interpolation along one axis to ``count`` samples."""
    size = values.shape[axis]
    if size == count:
        return values
    at = np.linspace(0, size - 1, count)
    low = np.minimum(at.astype(np.intp), max(0, size - 2))
    fraction = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
    first = np.take(values, low, axis=axis)
    second = np.take(values, np.minimum(low + 1, size - 1), axis=axis)
    second -= first
    second *= fraction
    second += first
    stretched: FloatArray = second
    return stretched


def coarse_noise(rng: np.random.Generator, extent_mm: Sequence[float], cell_mm: float) -> FloatArray:
    """White noise of unit variance on nodes about ``cell_mm`` apart over a field of ``extent_mm``."""
    nodes = [max(2, round(length / cell_mm)) + 1 for length in extent_mm]
    return rng.standard_normal(nodes).astype(np.float32)


def noise(rng: np.random.Generator, shape: Sequence[int], extent_mm: Sequence[float], cell_mm: float) -> FloatArray:
    """Smooth noise, float32 of ``shape``, of about unit variance and a correlation length of ``cell_mm``."""
    return upsample(coarse_noise(rng, extent_mm, cell_mm), shape)


def factor(rng: np.random.Generator, spread: float) -> float:
    """A random factor around one, log-normal with standard deviation ``spread``."""
    return float(np.exp(rng.normal(0, spread)))


def lookup(table: Any, positions: Any, start: float, step: float) -> FloatArray:
    """Linear interpolation in an evenly spaced table; beyond its ends, the end values.

    Much faster than ``numpy.interp`` on large arrays.
    """
    values = np.asarray(table, dtype=np.float32)
    at = (positions - np.float32(start)) * np.float32(1 / step)
    np.clip(at, 0, len(values) - 1.001, out=at)
    low = at.astype(np.int32)
    at -= low
    out: FloatArray = values[low]
    out += at * (np.diff(values, append=values[-1:])[low])
    return out


def capsule(
    points: Sequence[FloatArray], ends: tuple[Point, Point], radii: tuple[float, float], axes: Rounding = ROUND
) -> FloatArray:
    """Approximate signed distance to a capsule, in mm, negative inside.

    Parameters
    ----------
    points : three ndarray
        Coordinates along each axis, in mm.
    ends : two points
        Its axis.
    radii : two floats
        At the two ends, in mm; linear between.
    axes : three floats
        Elongation along each coordinate axis (an elliptical cross-section where above or below 1).

    Returns
    -------
    ndarray of float32
    """
    rest = []
    direction = []
    for values, a, b, stretch in zip(points, *ends, axes, strict=True):
        rest.append((values - np.float32(a)) * np.float32(1 / stretch))
        direction.append(np.float32((b - a) / stretch))
    length2 = np.float32(sum(float(d) ** 2 for d in direction) + 1e-6)
    along = sum(r * d for r, d in zip(rest, direction, strict=True)) / length2
    along = np.clip(along, 0, 1)
    total, steep = np.zeros_like(along), np.zeros_like(along)
    for r, d, stretch in zip(rest, direction, axes, strict=True):
        across = r - along * d
        across *= across
        total += across
        steep += across * np.float32(stretch**-2)
    radius = np.float32(radii[0]) + np.float32(radii[1] - radii[0]) * along
    np.sqrt(total, out=total)
    steep = np.maximum(np.sqrt(steep), np.float32(1e-6)) / np.maximum(total, np.float32(1e-6))
    total -= radius
    if axes != ROUND:  # from the stretched space back to millimetres across the surface
        total = np.maximum(total / steep, -radius * np.float32(min(axes)))
    distance: FloatArray = total
    return distance


def ellipsoid(points: Sequence[FloatArray], centre: Point, radii: Point) -> FloatArray:
    """Approximate signed distance to an ellipsoid, in mm, negative inside."""
    total = sum(((p - np.float32(c)) * np.float32(1 / r)) ** 2 for p, c, r in zip(points, centre, radii, strict=True))
    distance: FloatArray = (np.sqrt(total) - 1) * np.float32(min(radii))
    return distance
