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
"""A body this much taller than the median of its neighbours is more than one."""
LISTED_HEIGHT_RATIO: Final = 1.25
"""The same where the order of discs and bodies gives it away as well."""
VOLUME_RATIO: Final = 1.3
"""And at least this much larger than the median: two bodies and what joins them are never less."""
SLENDER: Final = 1.45
"""Height over depth of one body is 0.8 to 1.1 at every level; without neighbours this tells a merged pair."""
DISC_SHARE: Final = 0.25
"""Height of a disc as a share of the height of a body, at most levels."""
NEIGHBOURS: Final = 3
"""Bodies on either side that a body is compared with; sizes change slowly along the spine."""
WAIST_REACH: Final = 0.3
"""A cut is looked for within this share of a part's height around its expected place."""
LEAST_PART: Final = 0.4
"""Each part has at least this share of the volume and height of an even division, else the body is left whole."""
_BIN_MM: Final = 1.0
_SMOOTHING_BINS: Final = 1.5


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
        """Extent across the spine in the sagittal plane."""
        across = np.array([axis[1], -axis[0], 0.0])
        return self.height_mm(across / max(1e-9, float(np.linalg.norm(across))), spacing_mm)

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


def parts_expected(k: int, heights: list[float], volumes: list[float], *, depth_mm: float, out_of_order: bool) -> int:
    """How many bodies a component of the mask is, from its size and that of its neighbours.

    Parameters
    ----------
    k : int
        Which component, counted from the top.
    heights, volumes : list of float
        Of all components from top to bottom.
    depth_mm : float
        Extent of this one in the sagittal plane, across the spine.
    out_of_order : bool
        Whether the order of bodies and discs gives it away as merged.
    """
    around = [j for j in range(max(0, k - NEIGHBOURS), min(len(heights), k + NEIGHBOURS + 1)) if j != k]
    if len(around) < 2:
        return _parts(heights[k], depth_mm) if heights[k] > SLENDER * depth_mm else 1
    typical = float(np.median([heights[j] for j in around]))
    ratio = heights[k] / max(1e-6, typical)
    larger = volumes[k] > VOLUME_RATIO * float(np.median([volumes[j] for j in around]))
    if not larger or ratio < (LISTED_HEIGHT_RATIO if out_of_order else HEIGHT_RATIO):
        return 1
    if not out_of_order and heights[k] < 1.1 * depth_mm:
        return 1
    return _parts(heights[k], typical)


def _parts(height_mm: float, one_mm: float) -> int:
    return max(2, round((height_mm / one_mm + DISC_SHARE) / (1 + DISC_SHARE)))


def cut_piece(piece: Piece, axis: Matrix, count: int, spacing_mm: Spacing) -> list[Piece]:
    """Cut a component across the spine at its waists.

    Returns
    -------
    list of Piece
        ``count`` parts from top to bottom, or the piece itself where the parts would be too unequal to be bodies.
    """
    points = piece.points_mm(spacing_mm) @ axis
    low, high = float(points.min()), float(points.max())
    area = np.histogram(points, bins=max(4, round((high - low) / _BIN_MM)), range=(low, high))[0]
    profile = ndimage.gaussian_filter1d(area.astype(np.float64), _SMOOTHING_BINS, mode="nearest")
    edges = np.linspace(low, high, len(area) + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    length = (high - low) / count
    cuts = []
    for j in range(1, count):
        offset = (middles - (low + j * length)) / length
        candidates = np.flatnonzero(np.abs(offset) <= WAIST_REACH)
        # A flat profile is cut at the expected place: the offset weighs next to nothing against a real waist.
        cost = profile[candidates] / profile.max() + 0.1 * offset[candidates] ** 2
        cuts.append(float(middles[candidates[np.argmin(cost)]]))
    where = np.argwhere(piece.mask)
    numbers = np.searchsorted(cuts, points)
    parts = [_part(piece, where[numbers == j]) for j in range(count) if (numbers == j).any()]
    heights = np.diff([low, *cuts, high])
    fair = min(part.size for part in parts) >= LEAST_PART * piece.size / count and heights.min() >= LEAST_PART * length
    return parts if len(parts) == count and fair else [piece]


def _part(piece: Piece, where: NDArray[np.int64]) -> Piece:
    low, high = where.min(axis=0), where.max(axis=0) + 1
    mask = np.zeros(high - low, np.bool_)
    mask[tuple((where - low).T)] = True
    start = low + np.asarray(piece.box.start)
    stop = high + np.asarray(piece.box.start)
    box = Box((int(start[0]), int(start[1]), int(start[2])), (int(stop[0]), int(stop[1]), int(stop[2])))
    return Piece(where.mean(axis=0) + np.asarray(piece.box.start), box, mask)
