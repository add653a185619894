"""Curved planes through a spine: one sagittal and one coronal image that follow its bends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import PIR, FloatArray, Geometry, Matrix, Reorientation
from spineps.labels import CANAL_AND_CORD, DISC_OFFSET, SACRUM_INSTANCE, is_vertebra, lookup
from spineps.volume import Result

SAGITTAL_MARGIN_MM: Final = 45.0
"""Room in front of and behind the spine in sagittal pictures."""
CORONAL_WIDTH_MM: Final = 90.0
CANAL_STEP_MM: Final = 15.0
"""Beyond the vertebrae the curve follows the spinal canal, with a point this often."""

_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The course of the spine through a volume in PIR orientation.

    Parameters
    ----------
    p_of_i, r_of_i : ndarray of float64, shape (I,)
        Position (fractional voxels) of the vertebral bodies at each row.
    """

    p_of_i: Matrix
    r_of_i: Matrix


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """A flat image of a curved plane, rows to inferior.

    Parameters
    ----------
    image : ndarray of float32, shape (rows, columns), or None
        Intensities, interpolated between slices; None without a scan.
    semantic, instance : ndarray of uint8 or uint16, shape (rows, columns)
        Labels of the nearest voxels.
    row_mm, column_mm : float
        Size of a pixel.
    first_column : int
        Column of the uncropped plane that the first one is.
    """

    image: FloatArray | None
    semantic: NDArray[Any]
    instance: NDArray[Any]
    row_mm: float
    column_mm: float
    first_column: int = 0

    @property
    def height_mm(self) -> float:
        """Height of the plane."""
        return self.semantic.shape[0] * self.row_mm

    @property
    def width_mm(self) -> float:
        """Width of the plane."""
        return self.semantic.shape[1] * self.column_mm


class SpineViews:
    """A result turned to PIR, without a copy of its voxels, and the curve of its spine.

    Parameters
    ----------
    result : Result
        With masks in one grid and at least the masks filled; the scan may be missing.
    """

    def __init__(self, result: Result) -> None:
        turn = Reorientation.between(result.instance.geometry.axes, PIR)
        self.geometry = turn.apply_geometry(result.instance.geometry)
        self.semantic = _turned(result.semantic.labels, turn)
        self.instance = _turned(result.instance.labels, turn)
        self.image = None if result.scan is None else _turned(result.scan.image, turn)
        self.curve = _curve(result, self.geometry, self.semantic)

    def sagittal(self, *, margin_mm: float, right_mm: float = 0.0) -> Plane:
        """Plane along the spine, anterior to the left; cropped to the spine with a margin.

        Parameters
        ----------
        margin_mm : float
            Left around what the plane through the middle of the vertebrae shows of the spine.
        right_mm : float
            How far to the patient's right of the middle the plane lies. The crop is the same for all.
        """
        middle = _sagittal_nearest(self.semantic, self.curve.r_of_i)
        columns = _span(np.any(middle, axis=0), round(margin_mm / self.geometry.spacing_mm[0]))
        r_of_i = np.clip(self.curve.r_of_i + right_mm / self.geometry.spacing_mm[2], 0, self.geometry.shape[2] - 1)
        image = None if self.image is None else _sagittal_linear(self.image, r_of_i)[:, columns]
        semantic, instance = (_sagittal_nearest(mask, r_of_i)[:, columns] for mask in (self.semantic, self.instance))
        p_mm, i_mm, _ = self.geometry.spacing_mm
        return Plane(image, semantic, instance, i_mm, p_mm, columns.start or 0)

    def coronal(self, *, width_mm: float) -> Plane:
        """Plane through the middle of the vertebral bodies, the patient's right to the left, at most ``width_mm`` wide."""
        _, i_mm, r_mm = self.geometry.spacing_mm
        half = max(1, round(width_mm / 2 / r_mm))
        middle = round(float((self.curve.r_of_i.min() + self.curve.r_of_i.max()) / 2))
        bend = round(float(np.ptp(self.curve.r_of_i) / 2))
        columns = slice(max(0, middle - bend - half), middle + bend + half + 1)
        image = None if self.image is None else _coronal_linear(self.image, self.curve.p_of_i)[:, columns][:, ::-1]
        semantic = _coronal_nearest(self.semantic, self.curve.p_of_i)[:, columns][:, ::-1]
        instance = _coronal_nearest(self.instance, self.curve.p_of_i)[:, columns][:, ::-1]
        return Plane(image, semantic, instance, i_mm, r_mm)


def _turned(array: NDArray[_Scalar], turn: Reorientation) -> NDArray[_Scalar]:
    """A view of the array in its new orientation; planes read a small part of it, so a copy would be waste."""
    a, b, c = (slice(None, None, -1 if flip else 1) for flip in turn.flips)
    return array.transpose(turn.order)[a, b, c]


def _curve(result: Result, geometry: Geometry, semantic: NDArray[Any]) -> Curve:
    """Curve through the centres of the vertebral bodies, beyond them parallel to the spinal canal."""
    bodies = _body_centres(result, geometry)
    if not len(bodies):
        bodies = np.array([[(n - 1) / 2 for n in geometry.shape]])
    above, below = _canal_centres(semantic, geometry, bodies)
    points = np.concatenate([above, bodies, below])
    rows = np.arange(geometry.shape[1])
    p_of_i, r_of_i = (np.interp(rows, points[:, 1], points[:, axis]) for axis in (0, 2))
    return Curve(np.clip(p_of_i, 0, geometry.shape[0] - 1), np.clip(r_of_i, 0, geometry.shape[2] - 1))


def _body_centres(result: Result, geometry: Geometry) -> Matrix:
    """Centres of vertebral bodies, discs and the sacrum, shape (n, 3), in PIR voxels from top to bottom."""
    centres_mm = [result.instance.geometry.to_mm(c.voxel) for c in result.centroids if _on_the_column(c.instance)]
    centres_mm = centres_mm or [np.asarray(v.centroid_mm) for v in result.vertebrae]
    if not centres_mm:
        return np.zeros((0, 3))
    centres = geometry.to_vox(np.stack(centres_mm))
    return centres[np.argsort(centres[:, 1], kind="stable")]


def _on_the_column(instance: int) -> bool:
    return instance == SACRUM_INSTANCE or is_vertebra(instance) or is_vertebra(instance - DISC_OFFSET)


def _canal_centres(semantic: NDArray[Any], geometry: Geometry, bodies: Matrix) -> tuple[Matrix, Matrix]:
    """Points above the first and below the last body, moved from the canal's centre line onto the bodies' curve.

    The canal's way from the end of the vertebrae on is taken, and its offset to the bodies there kept.
    """
    step = max(1, round(CANAL_STEP_MM / geometry.spacing_mm[1]))
    table = lookup(CANAL_AND_CORD)
    sides = []
    for end, rows in (
        (bodies[0], np.arange(int(bodies[0, 1]) - step, 0, -step)[::-1]),
        (bodies[-1], np.arange(int(bodies[-1, 1]) + step, geometry.shape[1], step)),
    ):
        start = _canal_at(semantic, table, int(np.clip(end[1], 0, geometry.shape[1] - 1)))
        found = [(row, _canal_at(semantic, table, int(row))) for row in rows] if start is not None else []
        points = [(end[0] + at[0] - start[0], row, end[2] + at[1] - start[1]) for row, at in found if at is not None and start]
        sides.append(np.array(points).reshape(-1, 3))
    return sides[0], sides[1]


def _canal_at(semantic: NDArray[Any], table: NDArray[np.bool_], row: int) -> tuple[float, float] | None:
    """Centre (P, R) of canal and cord in a row, or None where there is none."""
    hits = np.argwhere(table[np.minimum(semantic[:, row], table.size - 1)])
    if not len(hits):
        return None
    p, r = hits.mean(axis=0)
    return float(p), float(r)


def _sagittal_nearest(volume: NDArray[_Scalar], r_of_i: Matrix) -> NDArray[_Scalar]:
    """Rows I, columns P of a volume in PIR."""
    rows = np.arange(volume.shape[1])
    plane: NDArray[_Scalar] = volume[:, rows, np.rint(r_of_i).astype(int)].T
    return plane


def _sagittal_linear(volume: FloatArray, r_of_i: Matrix) -> FloatArray:
    rows, low = np.arange(volume.shape[1]), np.floor(r_of_i).astype(int)
    high, share = np.minimum(low + 1, volume.shape[2] - 1), (r_of_i - low).astype(np.float32)
    plane: FloatArray = (volume[:, rows, low] * (1 - share) + volume[:, rows, high] * share).T
    return plane


def _coronal_nearest(volume: NDArray[_Scalar], p_of_i: Matrix) -> NDArray[_Scalar]:
    """Rows I, columns R of a volume in PIR."""
    plane: NDArray[_Scalar] = volume[np.rint(p_of_i).astype(int), np.arange(volume.shape[1])]
    return plane


def _coronal_linear(volume: FloatArray, p_of_i: Matrix) -> FloatArray:
    rows, low = np.arange(volume.shape[1]), np.floor(p_of_i).astype(int)
    high, share = np.minimum(low + 1, volume.shape[0] - 1), (p_of_i - low).astype(np.float32)[:, None]
    plane: FloatArray = volume[low, rows] * (1 - share) + volume[high, rows] * share
    return plane


def _span(hit: NDArray[np.bool_], margin_vox: int) -> slice:
    """From the first to the last true element with a margin; everything where none is true."""
    places = np.flatnonzero(hit)
    return slice(max(0, places[0] - margin_vox), places[-1] + margin_vox + 1) if places.size else slice(None)
