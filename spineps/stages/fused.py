"""Vertebral bodies that a mask joins: how many there are in one, and where to cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineps.geometry import Box, Matrix, Spacing

HEIGHT_RATIO: Final = 1.45
"""A body this much taller than one is more than one."""
LISTED_HEIGHT_RATIO: Final = 1.25
"""The same where the order of discs and bodies, or a waist, gives it away as well."""
VOLUME_RATIO: Final = 1.3
"""And at least this much larger than its neighbours: two bodies and what joins them are never less."""
AGAIN_RATIOS: Final = (1.4, 1.6)
"""A part of a body that was cut is cut again if it is this much taller than one, at a waist and without one."""
SLENDER: Final = 1.45
"""Height over depth of one body is 0.8 to 1.1 at every level; above this it is more than one, whatever its neighbours are."""
HEIGHT_OF_DEPTH: Final = 0.9
"""Height of a body guessed from its depth, where too few neighbours are single."""
DISC_SHARE: Final = 0.25
"""Height of a disc as a share of the height of a body, at most levels."""
NEIGHBOURS: Final = 3
"""Bodies on either side that a body is compared with; sizes change slowly along the spine."""
WAIST: Final = 0.55
"""Area of a waist as a share of the smaller of the largest areas above and below it; that of a biconcave body is 0.8."""
LEAST_HEIGHT: Final = 0.45
"""Each part is at least this share of a body high, else the body is left whole."""
GROWTH: Final = (0.8, 1.3)
"""Bodies grow from level to level: a neighbour's size is scaled by the ratio of depths, which merging does not change."""
LEAST_VOLUME: Final = 0.4
"""And at least this share of a body large."""
LEAST_AREA: Final = 0.5
"""And somewhere at least this share as broad: the dens, or what remains of a bridge, is no body."""
OFF_CENTRE_COST: Final = 0.15
"""A cut at the wrong place costs this share of the area for each squared share of a body's height: a flat profile is cut
evenly, but a real waist counts for more."""
_BIN_MM: Final = 1.0
_SMOOTHING_BINS: Final = 1.0
_DEPTH_BIN_MM: Final = 3.0
_ALIGNED: Final = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A component of the mask of bodies: its centre (voxels), its box and the voxels in the box."""

    centre_vox: Matrix
    box: Box
    mask: NDArray[np.bool_]

    @property
    def size(self) -> int:
        """Voxels."""
        return int(np.count_nonzero(self.mask))

    def shifted(self, offset_vox: Sequence[int]) -> Piece:
        """The piece moved by whole voxels."""
        return Piece(self.centre_vox + np.asarray(offset_vox), self.box.shifted(offset_vox), self.mask)

    def points_mm(self, spacing_mm: Spacing) -> Matrix:
        """Voxel centres, shape (n, 3), P, I, R in mm."""
        points: Matrix = (np.argwhere(self.mask) + np.asarray(self.box.start)) * np.asarray(spacing_mm)
        return points

    def height_mm(self, axis: Matrix, spacing_mm: Spacing) -> float:
        """Extent along the spine: that of an even column with the same spread, so that no corner counts."""
        return float(np.std(self.points_mm(spacing_mm) @ axis) * np.sqrt(12))

    def depth_mm(self, axis: Matrix, spacing_mm: Spacing) -> float:
        """Extent across the spine in the sagittal plane, the median along the spine."""
        points = self.points_mm(spacing_mm)
        across = np.array([axis[1], -axis[0], 0.0])
        positions = points @ (across / max(1e-9, float(np.linalg.norm(across))))
        bins = ((points @ axis) // _DEPTH_BIN_MM).astype(int)
        bins -= bins.min()
        low, high = np.full(bins.max() + 1, np.inf), np.full(bins.max() + 1, -np.inf)
        np.minimum.at(low, bins, positions)
        np.maximum.at(high, bins, positions)
        return float(np.median((high - low)[np.isfinite(low)])) + spacing_mm[0]

    def union(self, other: Piece) -> Piece:
        """Both pieces as one."""
        low = np.minimum(self.box.start, other.box.start)
        high = np.maximum(self.box.stop, other.box.stop)
        box = Box((int(low[0]), int(low[1]), int(low[2])), (int(high[0]), int(high[1]), int(high[2])))
        mask = np.zeros(box.shape, np.bool_)
        for piece in (self, other):
            mask[piece.box.shifted([-s for s in box.start]).slices] |= piece.mask
        total = self.size + other.size
        return Piece((self.centre_vox * self.size + other.centre_vox * other.size) / total, box, mask)


@dataclass(frozen=True, slots=True)
class Size:
    """Height and depth of a body in mm, and its volume in voxels."""

    height_mm: float
    depth_mm: float
    volume: float

    @property
    def slender(self) -> bool:
        """Too tall for its depth to be one body."""
        return self.height_mm > SLENDER * self.depth_mm


def one_body(k: int, sizes: Sequence[Size]) -> Size:
    """Size of a single body at a level: the median of the single ones around, or guessed from the depth.

    Parameters
    ----------
    k : int
        Which component of the mask, counted from the top.
    sizes : sequence of Size
        Of all components.

    Returns
    -------
    Size
        Its volume is 0 where too few neighbours tell it.
    """
    single = _single_neighbours(k, sizes)
    if len(single) < 2:
        return Size(HEIGHT_OF_DEPTH * sizes[k].depth_mm, sizes[k].depth_mm, 0.0)
    height, depth, volume = np.median([(size.height_mm, size.depth_mm, size.volume) for size in single], axis=0)
    scale = float(np.clip(sizes[k].depth_mm / depth, *GROWTH))
    return Size(float(height) * scale, float(depth) * scale, float(volume) * scale**3)


def looks_merged(k: int, sizes: Sequence[Size], *, out_of_order: bool) -> bool:
    """Tell whether a component of the mask is more than one body.

    Parameters
    ----------
    k : int
        Which component, counted from the top.
    sizes : sequence of Size
        Of all components.
    out_of_order : bool
        Whether the order of bodies and discs gives it away as merged.
    """
    size, one = sizes[k], one_body(k, sizes)
    if one.volume == 0:
        return size.slender
    larger = size.volume > VOLUME_RATIO * one.volume
    ratio = size.height_mm / max(1e-6, one.height_mm)
    if out_of_order:
        return larger and ratio >= LISTED_HEIGHT_RATIO
    return larger and ratio >= HEIGHT_RATIO and size.height_mm > 1.1 * size.depth_mm


def _single_neighbours(k: int, sizes: Sequence[Size]) -> list[Size]:
    around = range(max(0, k - NEIGHBOURS), min(len(sizes), k + NEIGHBOURS + 1))
    return [sizes[j] for j in around if j != k and not sizes[j].slender]


def split_piece(
    piece: Piece,
    axis: Matrix,
    one: Size,
    lost_mm: float,
    spacing_mm: Spacing,
    ratios: tuple[float, float] = (LISTED_HEIGHT_RATIO, LISTED_HEIGHT_RATIO),
) -> list[Piece]:
    """Cut a component across the spine, at its waist first, until each part is one body.

    Parameters
    ----------
    piece : Piece
        The component.
    axis : ndarray, shape (3,)
        Direction of the spine.
    one : Size
        Of one body.
    lost_mm : float
        What the erosion took from the height of the component.
    ratios : tuple of 2 float
        Heights in bodies from which on it is cut at a waist, and without one.

    Returns
    -------
    list of Piece
        From top to bottom; the piece itself where it cannot be cut into bodies.
    """
    axis = _own_axis(piece, axis, spacing_mm)
    height = piece.height_mm(axis, spacing_mm) + lost_mm
    if height < min(ratios) * one.height_mm or piece.size < VOLUME_RATIO * one.volume:
        return [piece]
    expected = max(2, round((height / one.height_mm + DISC_SHARE) / (1 + DISC_SHARE)))
    points = piece.points_mm(spacing_mm) @ axis
    volume = one.volume or piece.size / expected
    area = volume / max(_BIN_MM, one.height_mm - lost_mm)
    least = LEAST_HEIGHT * one.height_mm - lost_mm / 2, LEAST_VOLUME * volume, LEAST_AREA * area
    cut = _best_cut(points, expected, one.height_mm, least)
    if cut is None or height < ratios[cut[1] >= WAIST] * one.height_mm:
        return [piece]
    where = np.argwhere(piece.mask)
    halves = [_part(piece, where[side]) for side in (points < cut[0], points >= cut[0])]
    return [part for half in halves for part in split_piece(half, axis, one, lost_mm, spacing_mm, AGAIN_RATIOS)]


def _own_axis(piece: Piece, axis: Matrix, spacing_mm: Spacing) -> Matrix:
    """The piece's longest axis where that is about the spine's: a row of bodies knows its direction best."""
    points = piece.points_mm(spacing_mm)
    if len(points) < 8:
        return axis
    longest: Matrix = np.linalg.eigh(np.cov(points.T))[1][:, -1]
    longest = longest * np.sign(longest @ axis)
    return longest if float(longest @ axis) > _ALIGNED else axis


def _best_cut(points: Matrix, expected: int, one_mm: float, least: tuple[float, float, float]) -> tuple[float, float] | None:
    """Where to cut along the axis, and the area there as a share of the areas on both sides.

    ``least`` is the height (mm), the volume (voxels) and the largest cross-section (voxels a mm) that must be left on either
    side.
    """
    low, high = float(points.min()), float(points.max())
    if high - low < 2 * max(least[0], _BIN_MM):
        return None
    area, edges = np.histogram(points, bins=max(4, round((high - low) / _BIN_MM)), range=(low, high))
    profile = ndimage.gaussian_filter1d(area.astype(np.float64), _SMOOTHING_BINS, mode="nearest")
    middles = (edges[:-1] + edges[1:]) / 2
    above = np.cumsum(area)
    broad = least[2] * (high - low) / len(area)
    enough = (above >= least[1]) & (above[-1] - above >= least[1])
    enough &= (np.maximum.accumulate(profile) >= broad) & (np.maximum.accumulate(profile[::-1])[::-1] >= broad)
    inside = np.flatnonzero(enough & (middles - low >= least[0]) & (high - middles >= least[0]))
    if inside.size == 0:
        return None
    places = low + (high - low) * np.arange(1, expected) / expected
    offset = np.abs(middles[inside, None] - places).min(axis=1) / one_mm
    at = int(inside[np.argmin(profile[inside] / profile.max() + OFF_CENTRE_COST * offset**2)])
    sides = min(float(profile[: at + 1].max()), float(profile[at:].max()))
    return float(middles[at]), float(profile[at]) / max(1e-9, sides)


def _part(piece: Piece, where: NDArray[np.int64]) -> Piece:
    low, high = where.min(axis=0), where.max(axis=0) + 1
    mask = np.zeros(high - low, np.bool_)
    mask[tuple((where - low).T)] = True
    start = low + np.asarray(piece.box.start)
    stop = high + np.asarray(piece.box.start)
    box = Box((int(start[0]), int(start[1]), int(start[2])), (int(stop[0]), int(stop[1]), int(stop[2])))
    return Piece(where.mean(axis=0) + np.asarray(piece.box.start), box, mask)
