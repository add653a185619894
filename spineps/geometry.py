"""Grids in space: orientation, cropping and resampling, each with its exact inverse.

Affines map voxel centres to RAS+ millimetres. Inside the pipeline arrays are in PIR orientation: the first axis runs to
posterior, the second to inferior, the third to the right.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

Axes = tuple[str, str, str]
Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]
FloatArray = NDArray[np.float32]
Matrix = NDArray[np.float64]
_Scalar = TypeVar("_Scalar", bound=np.generic)

PIR: Final[Axes] = ("P", "I", "R")
_DIRECTIONS: Final = (("L", "R"), ("P", "A"), ("I", "S"))  # negative and positive end of each world axis
_GAUSSIAN_REACH: Final = 4  # sigmas, as SciPy truncates its filter
ANTIALIAS_RATIO: Final = 1.3
"""An image is smoothed before it is sampled more coarsely than its own grid by more than this factor."""
ANTIALIAS_SIGMA: Final = 0.42
"""Sigma of that smoothing, in new voxels (full width at half maximum of about one new voxel)."""

PARALLEL_TOLERANCE: Final = 1e-3
"""Largest difference between the direction cosines of parallel axes."""
SPACING_QUANTUM_MM: Final = 1e-4 * 2**0.5
"""An irrational step: no spacing that a scanner writes lies halfway between two of its multiples."""


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """Shape and position of a voxel grid.

    Parameters
    ----------
    shape : tuple of 3 int
        Voxels along each array axis.
    affine : ndarray, shape (4, 4)
        From voxel indices (centres) to RAS+ millimetres. Copied and made read-only.

    Raises
    ------
    ValueError
        If the affine is not a finite, invertible 4x4 matrix or the shape not three positive numbers.
    """

    shape: Shape
    affine: Matrix

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise ValueError(f"expected a finite invertible 4x4 affine, found {affine.tolist()}")
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"expected three positive axis lengths, found {self.shape}")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    @classmethod
    def from_spacing(cls, shape: Sequence[int], spacing_mm: Sequence[float], axes: Axes = PIR) -> Geometry:
        """Grid of a given shape and spacing whose array axes run along ``axes``, its centre at the world's origin."""
        linear = np.zeros((3, 3))
        for column, (code, step) in enumerate(zip(axes, spacing_mm, strict=True)):
            row, sign = _world_axis(code)
            linear[row, column] = sign * step
        affine = np.eye(4)
        affine[:3, :3] = linear
        affine[:3, 3] = -linear @ ((np.asarray(shape) - 1) / 2)
        return cls((int(shape[0]), int(shape[1]), int(shape[2])), affine)

    @property
    def spacing_mm(self) -> Spacing:
        """Distance between neighbouring voxel centres along each array axis, in mm."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    @property
    def extent_mm(self) -> Spacing:
        """Edge length of the field of view along each array axis, in mm."""
        x, y, z = (n * s for n, s in zip(self.shape, self.spacing_mm, strict=True))
        return x, y, z

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def axes(self) -> Axes:
        """Anatomical direction that each array axis runs to, for example ``("P", "I", "R")``.

        Of an oblique grid, the closest: the assignment of array axes to world axes with the largest summed cosines.
        """
        cosines = self.affine[:3, :3] / np.asarray(self.spacing_mm)
        best = max(permutations(range(3)), key=lambda rows: sum(abs(cosines[r, c]) for c, r in enumerate(rows)))
        a, b, c = (_DIRECTIONS[row][int(cosines[row, column] > 0)] for column, row in enumerate(best))
        return a, b, c

    def straightened(self) -> Geometry:
        """The same voxels in an upright patient at the world's origin; equal for all positions and turns of a patient.

        The spacing is rounded to multiples of :data:`SPACING_QUANTUM_MM`, so that it does not carry the rounding errors of a
        turned affine into interpolated values.
        """
        spacing = [round(step / SPACING_QUANTUM_MM) * SPACING_QUANTUM_MM for step in self.spacing_mm]
        return Geometry.from_spacing(self.shape, spacing, self.axes)

    def to_mm(self, points_vox: Any) -> Matrix:
        """Voxel coordinates, shape (..., 3), to RAS+ millimetres."""
        return np.asarray(points_vox, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_vox(self, points_mm: Any) -> Matrix:
        """RAS+ millimetres, shape (..., 3), to (fractional) voxel coordinates."""
        return (np.asarray(points_mm, dtype=np.float64) - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T

    def matches(self, other: Geometry, *, tolerance_mm: float = 1e-2) -> bool:
        """Tell whether two grids have the same shape and every corner within ``tolerance_mm`` of each other."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij")).reshape(3, -1).T
        return bool(np.abs(self.to_mm(corners) - other.to_mm(corners)).max() <= tolerance_mm)

    def parallel_to(self, other: Geometry) -> bool:
        """Tell whether each array axis runs the same way as that of another grid."""
        mine, others = self.affine[:3, :3] / self.spacing_mm, other.affine[:3, :3] / other.spacing_mm
        return bool(np.abs(mine - others).max() < PARALLEL_TOLERANCE)

    def cropped(self, box: Box) -> Geometry:
        """Grid of the part inside ``box``, which may reach beyond this grid."""
        affine = self.affine.copy()
        affine[:3, 3] = self.to_mm(box.start)
        return Geometry(box.shape, affine)

    def resampled(self, spacing_mm: Sequence[float]) -> Geometry:
        """Grid of another spacing over the same field of view (same centre; the extent rounded to whole voxels)."""
        old = np.asarray(self.spacing_mm)
        new = np.asarray(spacing_mm, dtype=np.float64)
        shape = np.maximum(1, np.rint(np.asarray(self.shape) * old / new)).astype(int)
        affine = self.affine.copy()
        affine[:3, :3] *= new / old
        centre_mm = self.to_mm((np.asarray(self.shape) - 1) / 2)
        affine[:3, 3] = centre_mm - affine[:3, :3] @ ((shape - 1) / 2)
        return Geometry((int(shape[0]), int(shape[1]), int(shape[2])), affine)


@dataclass(frozen=True, slots=True)
class Box:
    """A box of voxels, ``start`` included, ``stop`` excluded; it may reach beyond the grid."""

    start: Shape
    stop: Shape

    @classmethod
    def whole(cls, shape: Shape) -> Box:
        """The box that holds all voxels of a grid."""
        return cls((0, 0, 0), shape)

    @classmethod
    def around(cls, mask: NDArray[np.bool_]) -> Box | None:
        """Smallest box around the true voxels of a 3D mask, or None if there are none."""
        spans = []
        for axis in range(3):
            hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
            if hit.size == 0:
                return None
            spans.append((int(hit[0]), int(hit[-1]) + 1))
        (a, b), (c, d), (e, f) = spans
        return cls((a, c, e), (b, d, f))

    @classmethod
    def of(cls, slices: tuple[slice, slice, slice]) -> Box:
        """The box that :attr:`slices` index."""
        a, b, c = slices
        return cls((a.start, b.start, c.start), (a.stop, b.stop, c.stop))

    @property
    def shape(self) -> Shape:
        """Voxels along each axis."""
        a, b, c = (max(0, hi - lo) for lo, hi in zip(self.start, self.stop, strict=True))
        return a, b, c

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """For indexing an array; only of a box inside the grid."""
        a, b, c = (slice(lo, hi) for lo, hi in zip(self.start, self.stop, strict=True))
        return a, b, c

    @property
    def empty(self) -> bool:
        """True where the box holds no voxel."""
        return 0 in self.shape

    def grown(self, margin_vox: Sequence[int]) -> Box:
        """The box with a margin on each side of each axis."""
        a, b, c = (lo - m for lo, m in zip(self.start, margin_vox, strict=True))
        d, e, f = (hi + m for hi, m in zip(self.stop, margin_vox, strict=True))
        return Box((a, b, c), (d, e, f))

    def intersect(self, other: Box) -> Box:
        """The voxels in both boxes (an empty box where there are none)."""
        lo = [max(p, q) for p, q in zip(self.start, other.start, strict=True)]
        hi = [max(low, min(p, q)) for low, p, q in zip(lo, self.stop, other.stop, strict=True)]
        return Box((lo[0], lo[1], lo[2]), (hi[0], hi[1], hi[2]))

    def shifted(self, offset_vox: Sequence[int]) -> Box:
        """The box moved by whole voxels."""
        a, b, c = (lo + o for lo, o in zip(self.start, offset_vox, strict=True))
        d, e, f = (hi + o for hi, o in zip(self.stop, offset_vox, strict=True))
        return Box((a, b, c), (d, e, f))


def extract(array: NDArray[_Scalar], box: Box, *, fill: float = 0) -> NDArray[_Scalar]:
    """Copy the voxels of ``box`` out of ``array``; what lies beyond the array is ``fill``."""
    inside = box.intersect(Box.whole(array.shape))  # type: ignore[arg-type]
    out = np.full(box.shape, fill, dtype=array.dtype)
    if not inside.empty:
        out[inside.shifted([-s for s in box.start]).slices] = array[inside.slices]
    return out


@dataclass(frozen=True, slots=True)
class Reorientation:
    """A change of the order and direction of array axes; no voxel is interpolated.

    Parameters
    ----------
    order : tuple of 3 int
        Old axis that becomes each new axis.
    flips : tuple of 3 bool
        Whether each new axis runs against its old one.
    """

    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @classmethod
    def between(cls, source: Axes, target: Axes) -> Reorientation:
        """The change that brings an array with ``source`` axes into ``target`` axes."""
        where = {_world_axis(code)[0]: (i, _world_axis(code)[1]) for i, code in enumerate(source)}
        found = [where[_world_axis(code)[0]] + (_world_axis(code)[1],) for code in target]
        (a, s, t), (b, u, v), (c, w, x) = found
        return cls((a, b, c), (s != t, u != v, w != x))

    def apply(self, array: NDArray[_Scalar]) -> NDArray[_Scalar]:
        """The array in its new orientation, as a contiguous copy."""
        turned = array.transpose(self.order)
        return np.ascontiguousarray(turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)])

    def apply_geometry(self, geometry: Geometry) -> Geometry:
        """The grid in its new orientation."""
        a, b, c = (geometry.shape[i] for i in self.order)
        linear = geometry.affine[:3, :3][:, self.order]
        origin = geometry.affine[:3, 3].copy()
        for axis, (length, flip) in enumerate(zip((a, b, c), self.flips, strict=True)):
            if flip:
                origin = origin + linear[:, axis] * (length - 1)
        affine = np.eye(4)
        affine[:3, :3] = linear * np.where(self.flips, -1.0, 1.0)
        affine[:3, 3] = origin
        return Geometry((a, b, c), affine)

    def inverse(self) -> Reorientation:
        """The change back."""
        a, b, c = (int(i) for i in np.argsort(self.order))
        return Reorientation((a, b, c), (self.flips[a], self.flips[b], self.flips[c]))


def resample(
    array: NDArray[_Scalar], source: Geometry, target: Geometry, *, order: int, beyond: float | None = None
) -> NDArray[_Scalar]:
    """Sample an array on another grid.

    Parameters
    ----------
    array : ndarray, 3D
        Values on the grid ``source``.
    source, target : Geometry
        They may differ in spacing, shape and origin; axes that are not parallel are slower.
    order : int
        Spline order: 0 for labels, 1 for probabilities, 3 for images. With order > 0 the array is :func:`smoothed` first.
    beyond : float, optional
        Value beyond the source grid; without it the edge values are repeated.

    Returns
    -------
    ndarray
        Of ``target.shape`` and the type of ``array``.
    """
    given = smoothed(array, source, target) if order > 0 else array
    return sampled(given, source, target, order=order, beyond=beyond)


def smoothed(array: NDArray[_Scalar], source: Geometry, target: Geometry) -> NDArray[_Scalar]:
    """An array on ``source``, smoothed along axes that become coarser on ``target`` by more than :data:`ANTIALIAS_RATIO`."""
    sigma = _antialias_sigma(source, target)
    if not sigma.any():
        return array
    from scipy import ndimage  # takes longer to import than a scan to be checked

    out: NDArray[_Scalar] = ndimage.gaussian_filter(array, sigma, mode="nearest")
    return out


def sampled(
    array: NDArray[_Scalar], source: Geometry, target: Geometry, *, order: int, beyond: float | None = None
) -> NDArray[_Scalar]:
    """:func:`resample` without smoothing."""
    if _same_voxels(source, target):
        return array.copy()
    from scipy import ndimage

    parallel = source.parallel_to(target)
    ratio = np.asarray(target.spacing_mm) / np.asarray(source.spacing_mm)
    matrix = ratio if parallel else np.linalg.inv(source.affine[:3, :3]) @ target.affine[:3, :3]
    offset = source.to_vox(target.to_mm((0, 0, 0)))
    mode: dict[str, Any] = {"mode": "nearest"} if beyond is None else {"mode": "constant", "cval": beyond}
    with warnings.catch_warnings():  # SciPy before 1.16 warns of a change in 0.18 whenever the matrix is a diagonal
        warnings.simplefilter("ignore", UserWarning)
        out: NDArray[_Scalar] = ndimage.affine_transform(
            array, matrix, offset=offset, output_shape=target.shape, order=order, output=array.dtype, **mode
        )
    return out


def _same_voxels(source: Geometry, target: Geometry) -> bool:
    ratio = np.asarray(target.spacing_mm) / np.asarray(source.spacing_mm)
    if source.shape != target.shape or not np.allclose(ratio, 1, atol=1e-6) or not source.parallel_to(target):
        return False
    return bool(np.allclose(source.to_vox(target.to_mm((0, 0, 0))), 0, atol=1e-4))


def smoothing_reach(source: Geometry, target: Geometry) -> Shape:
    """Voxels of ``source`` along each axis from which :func:`resample` smooths a value of ``target``."""
    a, b, c = (int(np.ceil(_GAUSSIAN_REACH * sigma)) for sigma in _antialias_sigma(source, target))
    return a, b, c


def _antialias_sigma(source: Geometry, target: Geometry) -> FloatArray:
    """Sigma in voxels of the smoothing along each axis."""
    ratio = np.asarray(target.spacing_mm) / np.asarray(source.spacing_mm)
    sigma: FloatArray = np.where(ratio > ANTIALIAS_RATIO, ANTIALIAS_SIGMA * ratio, 0)
    return sigma


def _world_axis(code: str) -> tuple[int, int]:
    """World axis (0 left-right, 1 posterior-anterior, 2 inferior-superior) and sign of an anatomical direction."""
    for row, (negative, positive) in enumerate(_DIRECTIONS):
        if code in (negative, positive):
            return row, 1 if code == positive else -1
    raise ValueError(f"expected one of L R P A I S, found {code!r}")
