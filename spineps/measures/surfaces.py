"""Faces and walls of a mask, to a fraction of a voxel.

A mask is smoothed by less than a voxel and sampled along the axes of a structure; a wall is where the smoothed mask crosses
one half. Averaged over many such places the steps of the voxels cancel out (the crossing of a plane is exact to a tenth of
a voxel unless it runs along the voxels), and corners are rounded by a fraction of a voxel only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineps.geometry import Box, FloatArray, Geometry, Matrix
from spineps.measures.frames import Frame, unit

SMOOTHING_VOX: Final = 0.6
"""Sigma of the smoothing, in voxels of the finest axis: enough to level the steps of a sloping face, too little to move a
wall. In millimetres it is the same along all axes: across thick slices it would eat into the faces near the last slice."""
_PAD_VOX: Final = 3
_BEYOND_VOX: Final = 1.75
"""How far beyond a face the field of view must go on for it to be a face: masks often leave the outermost plane empty."""
_CUT_SHARE: Final = 0.05
"""Share of a face that may lack."""
_INNER: Final = 0.8
"""Share of a face's radius over which its plane is fitted; further out are the rims, which are round or have spurs."""
_OUTLIER: Final = 2.5
_OUTLIER_FLOOR_MM: Final = 0.4
_FIT_ROUNDS: Final = 3
_LEAST_COLUMNS: Final = 12
BODY_TALL: Final = 0.72
DISC_TALL: Final = 0.3
"""A column counts where it has this share of the height that is expected at its place: of a body, to leave the roots of the
pedicles out; a disc is often twice as high in the middle as at its rim."""
_ROUGH: Final = 0.14
"""A face whose plane is off by more than this share of its radius (root mean square) is no endplate."""


@dataclass(frozen=True, slots=True, eq=False)
class Occupancy:
    """A mask in its box: 1 inside, 0 outside, smoothed between.

    Parameters
    ----------
    values : ndarray of float32
        In the box, padded.
    start_vox : ndarray, shape (3,)
        Index in the whole grid of its first voxel.
    geometry : Geometry
        The whole grid, in PIR orientation.
    """

    values: FloatArray
    start_vox: Matrix
    geometry: Geometry

    @classmethod
    def of(cls, mask: NDArray[np.bool_], box: Box, geometry: Geometry, *, smoothing_vox: float = SMOOTHING_VOX) -> Occupancy:
        """Of a mask that was cut out of the whole grid by a box."""
        padded = np.pad(mask.astype(np.float32), _PAD_VOX)
        if smoothing_vox:
            spacing = np.asarray(geometry.spacing_mm)
            padded = ndimage.gaussian_filter(padded, smoothing_vox * spacing.min() / spacing, truncate=3.0)
        return cls(padded, np.asarray(box.start, dtype=np.float64) - _PAD_VOX, geometry)

    def sampled(self, frame: Frame, axes: tuple[Matrix, Matrix, Matrix]) -> FloatArray:
        """Values at the places of three evenly spaced local axes (back, right, down; mm) of a frame."""
        spacing = np.asarray(self.geometry.spacing_mm)
        steps = np.array([a[1] - a[0] if len(a) > 1 else 1.0 for a in axes])
        low = np.array([a[0] for a in axes])
        matrix = frame.axes.T / spacing[:, None] * steps
        offset = (frame.origin_mm + low @ frame.axes) / spacing - self.start_vox
        out: FloatArray = ndimage.affine_transform(
            self.values, matrix, offset=offset, output_shape=tuple(len(a) for a in axes), order=1, mode="constant"
        )
        return out


def axis_mm(low: float, high: float, step: float) -> Matrix:
    """Evenly spaced places from ``low`` to ``high``, with about the given step."""
    return np.linspace(low, high, max(2, round((high - low) / step) + 1), dtype=np.float64)


def crossings(field: FloatArray, places: Matrix) -> tuple[Matrix, Matrix]:
    """First and last place along the last axis at which a field reaches one half; NaN where it never does.

    Parameters
    ----------
    field : ndarray, shape (..., n)
        Values of an occupancy.
    places : ndarray, shape (n,)
        Where they lie, in mm.
    """
    inside = field >= 0.5
    hit = inside.any(axis=-1)
    first = np.where(hit, _crossing(field, places, inside), np.nan)
    mirrored = _crossing(field[..., ::-1], places[::-1], inside[..., ::-1])
    return first, np.where(hit, mirrored, np.nan)


def _crossing(field: FloatArray, places: Matrix, inside: NDArray[np.bool_]) -> Matrix:
    index = inside.argmax(axis=-1)
    before = np.maximum(index - 1, 0)
    here = np.take_along_axis(field, index[..., None], axis=-1)[..., 0].astype(np.float64)
    there = np.take_along_axis(field, before[..., None], axis=-1)[..., 0].astype(np.float64)
    share = np.where(index > 0, (here - 0.5) / np.maximum(here - there, 1e-9), 0.0)
    crossing: Matrix = places[index] + np.clip(share, 0, 1) * (places[before] - places[index])
    return crossing


def _tall(height: Matrix, back: Matrix, right: Matrix, share: float) -> NDArray[np.bool_]:
    """Columns that are at least as tall as a share of the height that a plane through all heights gives at their place.

    The roots of the pedicles, which masks count to the body, reach over two thirds of its height in the thoracic spine; a
    wedged body is half as high in front as at its back.
    """
    known = np.isfinite(height)
    if known.sum() < _LEAST_COLUMNS:
        return np.zeros(height.shape, np.bool_)
    usual = float(np.median(height[known]))
    tall = known & (height >= 0.5 * usual)
    u, v = np.meshgrid(back, right, indexing="ij")
    terms = np.stack([np.ones_like(u), u, v], axis=-1)
    expected = terms @ np.linalg.lstsq(terms[tall], height[tall], rcond=None)[0]
    chosen: NDArray[np.bool_] = known & (height >= share * np.clip(expected, 0.5 * usual, None))
    return chosen


@dataclass(frozen=True, slots=True, eq=False)
class Plate:
    """A face as a plane.

    Parameters
    ----------
    centre_mm : ndarray, shape (3,)
        Its middle, in grid millimetres.
    normal : ndarray, shape (3,)
        Unit vector down along the spine.
    """

    centre_mm: Matrix
    normal: Matrix


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Upper and lower face of a structure over its footprint.

    Parameters
    ----------
    frame : Frame
        Its axes.
    back_mm, right_mm : ndarray, shapes (m,) and (n,)
        Where the columns stand.
    top_mm, bottom_mm : ndarray, shape (m, n)
        Local height of the two faces (down is positive); NaN outside the footprint.
    """

    frame: Frame
    back_mm: Matrix
    right_mm: Matrix
    top_mm: Matrix
    bottom_mm: Matrix

    @classmethod
    def of(
        cls, occupancy: Occupancy, frame: Frame, reach_mm: tuple[float, float, float], step_mm: float, tall: float
    ) -> Columns:
        """Sample a structure; ``reach_mm`` is how far it can extend to both sides of the frame's origin."""
        back, right = (axis_mm(-reach, reach, step_mm) for reach in reach_mm[:2])
        down = axis_mm(-reach_mm[2], reach_mm[2], step_mm)
        top, bottom = crossings(occupancy.sampled(frame, (back, right, down)), down)
        outside = ~_tall(bottom - top, back, right, tall)
        top[outside], bottom[outside] = np.nan, np.nan
        return cls(frame, back, right, top, bottom)

    @property
    def height_mm(self) -> Matrix:
        """Height of each column; NaN outside the footprint."""
        return self.bottom_mm - self.top_mm

    @property
    def footprint(self) -> NDArray[np.bool_]:
        """Columns that meet the structure over its usual height, and not a process, a spur or a rounded edge."""
        known: NDArray[np.bool_] = np.isfinite(self.top_mm)
        return known

    @property
    def empty(self) -> bool:
        """True where there are too few columns to say anything."""
        return int(self.footprint.sum()) < _LEAST_COLUMNS

    def radius(self) -> tuple[tuple[float, float], tuple[float, float], Matrix]:
        """Centre and half axes (back, right; mm) of the footprint as an ellipse, and the relative distance of each column."""
        known = self.footprint
        back, right = (c[known] for c in np.meshgrid(self.back_mm, self.right_mm, indexing="ij"))
        centre = float(back.mean()), float(right.mean())
        half = max(1.0, 2 * float(back.std())), max(1.0, 2 * float(right.std()))
        u, v = (self.back_mm - centre[0]) / half[0], (self.right_mm - centre[1]) / half[1]
        return centre, half, np.hypot(u[:, None], v[None, :])

    def plate(self, surface_mm: Matrix) -> Plate | None:
        """Plane through one of the faces, or None where it is too rough to be one."""
        centre, half, radius = self.radius()
        chosen = self.footprint & (radius <= _INNER)
        if int(chosen.sum()) < _LEAST_COLUMNS:
            return None
        back, right = (c[chosen] for c in np.meshgrid(self.back_mm - centre[0], self.right_mm - centre[1], indexing="ij"))
        height = surface_mm[chosen]
        terms = np.stack([np.ones_like(back), back, right], axis=1)
        keep = np.ones(len(height), np.bool_)
        for _ in range(_FIT_ROUNDS):
            coefficients = np.linalg.lstsq(terms[keep], height[keep], rcond=None)[0]
            error = np.abs(height - terms @ coefficients)
            keep = error <= max(_OUTLIER_FLOOR_MM, _OUTLIER * 1.4826 * float(np.median(error)))
        if np.sqrt(np.mean((height - terms @ coefficients) ** 2)) > _ROUGH * min(half):
            return None
        level, slope_back, slope_right = (float(c) for c in coefficients)
        normal = unit(np.array([-slope_back, -slope_right, 1.0])) @ self.frame.axes
        return Plate(self.frame.to_mm(np.array([centre[0], centre[1], level])), normal)

    def cut(self, geometry: Geometry, *, upper: bool) -> bool:
        """Tell whether the upper or the lower face is the edge of the field of view: whether there is nothing beyond it.

        That the field of view ends beside the structure, as it often does at the outermost slices, does not matter.
        """
        surface = self.top_mm if upper else self.bottom_mm
        known = self.footprint
        back, right = (c[known] for c in np.meshgrid(self.back_mm, self.right_mm, indexing="ij"))
        spacing = np.asarray(geometry.spacing_mm)
        beyond = _BEYOND_VOX * float(np.linalg.norm(self.frame.down * spacing))
        level = surface[known] + (-beyond if upper else beyond)
        vox = self.frame.to_mm(np.stack([back, right, level], axis=1)) / spacing
        outside = ((vox < -0.5) | (vox > np.asarray(geometry.shape) - 0.5)).any(axis=1)
        return bool(outside.mean() > _CUT_SHARE)
