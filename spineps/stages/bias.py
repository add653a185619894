"""The bias field of an image, by N4 (Tustison et al. 2010, IEEE Trans Med Imaging 29:1310-1320).

What blurs the histogram of log intensities is taken for the field: each round sharpens the histogram (Sled et al. 1998, IEEE
Trans Med Imaging 17:87-97) and fits cubic B-splines to what an image has to lose for it (Lee et al. 1997, IEEE Trans Vis
Comput Graph 3:228-244). Voxels lie on a grid, so that the weights of a fit are products of one factor an axis: fitting and
evaluating are three small products of matrices, where ITK visits 64 control points for each voxel. The numbers are ITK's.

As in ANTs control points lie a fixed distance apart: the image is thought of as padded on both sides until its length is a
multiple of that distance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import FloatArray, Spacing

SPLINE_MM: Final = 100.0
"""Distance of the control points of the published settings."""
TOLERANCE: Final = 1e-7
"""A level ends where what a round changes varies by less than this share over the mask."""
_BINS: Final = 200
_WIDTH: Final = 0.15
"""Full width at half maximum, in log intensities, of the Gaussian that blurs the histogram in a round."""
_WIENER_NOISE: Final = 0.01
_NOTHING: Final = 1e-10
"""A bin with less than this share of the fullest one's mass holds the rounding of a Fourier transform: it stays where it is."""
_ORDER: Final = 3

_Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    """One axis: how it is padded, divided into spans, and which of its voxels are looked at.

    Parameters
    ----------
    length, before, padded : int
        Voxels of the image, those ahead of it, and all.
    spans : int
        Intervals of the splines at the first level.
    places : ndarray of int
        Where it is looked at, counted from the image's first voxel; some lie outside of it.
    """

    length: int
    before: int
    padded: int
    spans: int
    places: NDArray[np.intp]

    @classmethod
    def of(cls, length: int, spacing_mm: float, shrink: int) -> _Axis:
        """The axis of an image of so many voxels, every ``shrink`` of which are looked at."""
        length_mm = (length - 1) * spacing_mm
        spans = max(1, math.ceil(length_mm / SPLINE_MM))
        missing = int((spans * SPLINE_MM - length_mm) / spacing_mm + 0.5)
        before, padded = missing // 2, length + missing
        return cls(length, before, padded, spans, _places(padded, before, shrink, spacing_mm))

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Which places lie in the image."""
        return (self.places >= 0) & (self.places < self.length)

    def seen_basis(self, level: int) -> _Array:
        """Weights of the control points of a level at the places in the image."""
        return _basis(len(self.places), self.spans << level)[self.inside]

    def whole_basis(self, level: int) -> _Array:
        """Weights of the control points of a level at each voxel of the image."""
        return _basis(self.padded, self.spans << level)[self.before : self.before + self.length]


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
        Positive, around 1; 1 where nothing is to be seen or all is equally bright.
    """
    axes = [_Axis.of(n, step, shrink) for n, step in zip(image.shape, spacing_mm, strict=True)]
    seen = np.ix_(*(axis.places[axis.inside] for axis in axes))
    if not mask[seen].any():
        return np.ones(image.shape, np.float32)
    lattice = _fitted(image[seen].astype(np.float64), mask[seen], axes, iterations)
    whole = [_sparse(axis.whole_basis(len(iterations) - 1).astype(np.float32)) for axis in axes]
    field: FloatArray = _along_axes(lattice.astype(np.float32), whole)
    return np.exp(field, out=field)


def _fitted(image: _Array, mask: NDArray[np.bool_], axes: Sequence[_Axis], iterations: tuple[int, ...]) -> _Array:
    """Control points, after the last level, of the splines whose sum is the logarithm of the field."""
    places = np.flatnonzero(mask)
    bright = image.reshape(-1)[places]
    logs = np.log(bright, out=np.zeros_like(bright), where=bright > 0)
    field, lattice = np.zeros_like(logs), np.zeros([axis.spans + _ORDER for axis in axes])
    for level, most in enumerate(iterations):
        if level:
            lattice = _along_axes(lattice, [_sparse(_finer(n)) for n in lattice.shape])
        bases = [axis.seen_basis(level) for axis in axes]
        spline = [_sparse(basis) for basis in bases]
        pulls = [_sparse((basis**3 / (basis**2).sum(1, keepdims=True)).T) for basis in bases]
        counts = _along_axes(mask.astype(np.float64), [_sparse((basis**2).T) for basis in bases])
        excess = np.zeros(image.shape)
        for _ in range(most):
            left = logs - field
            excess.reshape(-1)[places] = left - _sharpened(left)
            lattice += np.divide(_along_axes(excess, pulls), counts, out=np.zeros_like(counts), where=counts > 0)
            before, field = field, _along_axes(lattice, spline).reshape(-1)[places]
            if _variation(np.exp(before - field)) <= TOLERANCE:
                break
    return lattice


def _sharpened(logs: _Array) -> _Array:
    """Log intensities as they would be without the blur of one round: the mean of what may have become each."""
    low, high = float(logs.min()), float(logs.max())
    step = (high - low) / (_BINS - 1)
    if step <= 0:
        return logs
    place = (logs - low) / step
    bins = np.minimum(place.astype(np.intp), _BINS - 1)
    share = place - bins
    upper: _Array = np.bincount(bins, share, minlength=_BINS).astype(np.float64)
    histogram = np.bincount(bins, minlength=_BINS) - upper
    histogram[1:] += upper[:-1]
    expected = _expected(histogram, low, step)
    sharpened: _Array = expected[bins] + share * np.diff(expected, append=expected[-1])[bins]
    return sharpened


def _expected(histogram: _Array, low: float, step: float) -> _Array:
    """Mean log intensity, before the blur, of what lies in each bin of a blurred histogram."""
    size = 2 ** (math.ceil(math.log2(_BINS)) + 1)
    ahead = (size - _BINS) // 2
    width = _WIDTH / step
    apart = np.minimum(np.arange(size), size - np.arange(size))
    blur = np.fft.rfft(2 * math.sqrt(math.log(2) / math.pi) / width * np.exp(-4 * math.log(2) * (apart / width) ** 2)).real
    padded = np.pad(histogram, (ahead, size - _BINS - ahead))
    sharp = np.fft.irfft(np.fft.rfft(padded) * blur / (blur**2 + _WIENER_NOISE), size).clip(min=0)
    centres = low + (np.arange(size) - ahead) * step
    mass, sums = (np.fft.irfft(np.fft.rfft(values) * blur, size) for values in (sharp, sharp * centres))
    expected: _Array = np.divide(sums, mass, out=centres, where=mass > _NOTHING * mass.max())[ahead : ahead + _BINS]
    return expected


def _variation(values: _Array) -> float:
    """Standard deviation over mean; 0 of fewer than two values."""
    return float(values.std(ddof=1) / values.mean()) if values.size > 1 else 0.0


def _basis(count: int, spans: int) -> _Array:
    """Weights of the ``spans + 3`` control points of a cubic spline at places spread evenly over it, shape (count, points)."""
    place = np.linspace(0, spans, count)
    span = np.minimum(place.astype(np.intp), spans - 1)
    t = place - span
    near = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], 1) / 6
    weights = np.zeros((count, spans + _ORDER))
    np.put_along_axis(weights, span[:, None] + np.arange(_ORDER + 1), near, 1)
    return weights


def _finer(points: int) -> _Array:
    """What makes control points of the same spline half as far apart, shape (new points, points)."""
    finer = np.zeros((2 * points - _ORDER, points))
    for new, row in enumerate(finer):
        row[new // 2 :][: 2 + new % 2] = (1 / 8, 6 / 8, 1 / 8) if new % 2 else (1 / 2, 1 / 2)
    return finer


def _sparse(matrix: NDArray[Any]) -> Any:
    """A matrix most of which is zero, for :func:`_along_axes`; its products do not depend on the number of threads."""
    from scipy import sparse

    return sparse.csr_matrix(matrix)


def _along_axes(values: NDArray[Any], matrices: Sequence[Any]) -> NDArray[Any]:
    """Each axis multiplied by its sparse matrix, shape (size after, size before)."""
    for matrix in matrices:  # each product puts its axis last, so that three of them restore their order
        rest = values.shape[1:]
        values = np.ascontiguousarray((matrix @ values.reshape(len(values), -1)).T).reshape(*rest, matrix.shape[0])
    return values


def _places(length: int, before: int, step: int, spacing_mm: float) -> NDArray[np.intp]:
    """Every so many voxels of a padded axis, those that ANTs takes: around its middle, none ahead of the step's own grid.

    Counted from the image's first voxel. Where two are equally near, the last bit of a place in mm decides there, and so it
    does here.
    """
    count, begin, coarse_mm = max(1, length // step), -(before // step), step * spacing_mm
    origin_mm = spacing_mm * ((length - 1) / 2 - before) - coarse_mm * (begin + (count - 1) / 2)
    nearest = math.floor((origin_mm + coarse_mm * begin) / spacing_mm + 0.5) + before
    first = max(before % step, nearest)
    return np.arange(count) * step + (first - before)
