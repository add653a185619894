"""The field of view within its grid: what a scan was resampled from.

A scan that was resampled onto a turned grid (registered, or set upright by another program) is a turned box of image in an
empty surround. The networks know fields of view whose edges run along their grid, so they are shown such a scan on the grid of
its own field. The box is found by its faces: those of the convex hull of all that is not empty.
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import FloatArray, Geometry, Matrix

if TYPE_CHECKING:
    from scipy.spatial import ConvexHull

LEAST_SURROUND: Final = 0.04
"""A smaller share of empty voxels is no surround of a turned field."""
LEAST_TURN_DEGREES: Final = 2.0
"""A field that is turned by less is left as it is."""
LEAST_FILL: Final = 0.96
"""Share of the box that the hull must fill: the outline of a patient before an empty background is no box."""
_CORNERS: Final = 4
"""Corners of the grid, of eight, that must hold the same value for it to be that of the surround."""
_SAME_FACE: Final = np.cos(np.deg2rad(1.5))
_ACROSS: Final = np.sin(np.deg2rad(3))
_LINES: Final = 96
"""At most about this many lines along each axis are looked at for the ends of the image."""


def surround(image: FloatArray) -> NDArray[np.bool_] | None:
    """Voxels of an empty surround, or None where the image fills its grid.

    Parameters
    ----------
    image : ndarray of float32, shape (P, I, R)
        Any intensities; the surround holds one value exactly, and most corners of the grid lie in it.
    """
    corners = image[tuple(slice(None, None, max(1, n - 1)) for n in image.shape)]
    values, counts = np.unique(corners, return_counts=True)
    if counts.max() < _CORNERS:
        return None
    empty: NDArray[np.bool_] = image == values[counts.argmax()]
    return empty if LEAST_SURROUND <= empty.mean() < 1 else None


def turned_field(empty: NDArray[np.bool_], geometry: Geometry) -> Geometry | None:
    """Grid along the edges of a turned field of view, of the same spacing; None where there is none.

    Parameters
    ----------
    empty : ndarray of bool, shape (P, I, R)
        Voxels of the surround; see :func:`surround`.
    geometry : Geometry
        Of ``empty``.
    """
    from scipy.spatial import ConvexHull, QhullError  # takes as long to import as a scan to be measured

    spacing = np.asarray(geometry.spacing_mm)
    points = _ends_of_lines(~empty) * spacing
    try:
        hull = ConvexHull(points)
    except QhullError:  # flat
        return None
    turn = _edges(hull)
    if turn is None:
        return None
    along = points @ turn
    low, high = along.min(axis=0), along.max(axis=0)
    if hull.volume < LEAST_FILL * _shared_volume(turn, low, high, geometry):
        return None
    return _grid(turn, low, high, geometry)


def _ends_of_lines(seen: NDArray[np.bool_]) -> Matrix:
    """First and last voxel of the image on lines along each axis."""
    ends = []
    for axis in range(3):
        steps = [1 if other == axis else max(1, n // _LINES) for other, n in enumerate(seen.shape)]
        lines = seen[tuple(slice(None, None, step) for step in steps)]
        some = lines.any(axis=axis)
        first = lines.argmax(axis=axis)[some]
        last = lines.shape[axis] - 1 - np.flip(lines, axis).argmax(axis=axis)[some]
        places = np.argwhere(some) * [step for other, step in enumerate(steps) if other != axis]
        ends += [np.insert(places, axis, end, axis=1) for end in (first, last)]
    return np.concatenate(ends).astype(np.float64)


def _edges(hull: ConvexHull) -> Matrix | None:
    """Directions of the box's edges as columns, each near the axis of its number; None where they are those of the grid."""
    corners = hull.points[hull.simplices]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    normals = hull.equations[:, :3]
    tilted = np.where((np.abs(normals) < _SAME_FACE).all(axis=1), areas, 0)  # the others may be the grid's own ends
    first = _direction_of_most(normals, tilted)
    if first is None:
        return None
    across = np.abs(normals @ first) < _ACROSS
    second = _direction_of_most(normals, np.where(across, tilted, 0))
    if second is None:
        second = _direction_of_most(normals, np.where(across, areas, 0))
    if second is None:
        return None
    second -= (second @ first) * first
    second /= np.linalg.norm(second)
    found = np.stack([first, second, np.cross(first, second)], axis=1)
    order = max(permutations(range(3)), key=lambda columns: float(np.abs(found[range(3), columns]).sum()))
    turn: Matrix = found[:, order]
    turn = turn * np.sign(np.diag(turn))
    degrees = np.rad2deg(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))
    return turn if degrees >= LEAST_TURN_DEGREES else None


def _direction_of_most(normals: Matrix, areas: Matrix) -> Matrix | None:
    """Mean normal of the faces that look the same way and have the largest area together."""
    if not areas.any():
        return None
    largest = np.argsort(areas)[::-1][:100]
    alike = np.abs(normals[largest] @ normals.T) > _SAME_FACE
    best = int((alike * areas).sum(axis=1).argmax())
    sides = normals[alike[best]] * np.sign(normals[alike[best]] @ normals[largest[best]])[:, None]
    mean: Matrix = areas[alike[best]] @ sides
    return mean / np.linalg.norm(mean)


def _shared_volume(turn: Matrix, low: Matrix, high: Matrix, geometry: Geometry) -> float:
    """Volume in mm³ of the part of a turned box that lies within the grid, from a lattice of points."""
    length = (np.asarray(geometry.shape) - 1) * geometry.spacing_mm
    axes = [(np.arange(48) + 0.5) / 48 * n for n in length]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) @ turn
    inside = ((points >= low) & (points <= high)).all(axis=-1)
    return float(inside.mean() * np.prod(length))


def _grid(turn: Matrix, low: Matrix, high: Matrix, geometry: Geometry) -> Geometry:
    """Grid of the same spacing along the edges of a box, its outermost voxels on the faces."""
    spacing = np.asarray(geometry.spacing_mm)
    shape = np.rint((high - low) / spacing).astype(int) + 1
    start = (low + high) / 2 - (shape - 1) / 2 * spacing
    to_world = geometry.affine[:3, :3] / spacing
    affine = np.eye(4)
    affine[:3, :3] = to_world @ turn * spacing
    affine[:3, 3] = geometry.affine[:3, 3] + to_world @ turn @ start
    return Geometry((int(shape[0]), int(shape[1]), int(shape[2])), affine)
