"""Places and directions along a curved spine.

Everything here is in millimetres of the grid: voxel index times spacing, in PIR orientation (posterior, inferior, right).
Lengths and angles in it are those of the patient, however the scan was turned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import Matrix


def unit(vector: Matrix) -> Matrix:
    """The vector at length one."""
    scaled: Matrix = vector / max(1e-12, float(np.linalg.norm(vector)))
    return scaled


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """An upright set of axes of one structure.

    Parameters
    ----------
    origin_mm : ndarray, shape (3,)
        Its centre.
    axes : ndarray, shape (3, 3)
        Rows: unit vectors to its back, to its right and down along the spine.
    """

    origin_mm: Matrix
    axes: Matrix

    @classmethod
    def along(cls, origin_mm: Matrix, down: Matrix, back: Matrix) -> Frame:
        """Axes with the given direction down; ``back`` is made perpendicular to it."""
        down = unit(down)
        back = unit(back - (back @ down) * down)
        return cls(np.asarray(origin_mm, dtype=np.float64), np.stack([back, np.cross(back, down), down]))

    @property
    def back(self) -> Matrix:
        """Unit vector to the back."""
        return np.asarray(self.axes[0])

    @property
    def right(self) -> Matrix:
        """Unit vector to the right."""
        return np.asarray(self.axes[1])

    @property
    def down(self) -> Matrix:
        """Unit vector down along the spine."""
        return np.asarray(self.axes[2])

    def to_mm(self, local: Matrix) -> Matrix:
        """Places (back, right, down) in this frame, shape (..., 3), to grid millimetres."""
        return np.asarray(self.origin_mm + np.asarray(local) @ self.axes)

    def to_local(self, points_mm: Matrix) -> Matrix:
        """Grid millimetres, shape (..., 3), to (back, right, down)."""
        return np.asarray((np.asarray(points_mm) - self.origin_mm) @ self.axes.T)


def turn_back(first: Matrix, second: Matrix, right: Matrix) -> float:
    """Angle in degrees from one direction down the spine to another, seen from the right: positive towards the back.

    Between the lower face of a vertebra and the upper face of a lower one that is lordosis.
    """
    a, b = first - (first @ right) * right, second - (second @ right) * right
    return float(np.degrees(np.arctan2(-right @ np.cross(a, b), a @ b)))


def turn_right(first: Matrix, second: Matrix, back: Matrix) -> float:
    """Angle in degrees from one direction down the spine to another, seen from behind: positive towards the right."""
    a, b = first - (first @ back) * back, second - (second @ back) * back
    return float(np.degrees(np.arctan2(back @ np.cross(a, b), a @ b)))


class Course:
    """A smooth curve through points from top to bottom: the natural cubic spline over the lengths of their chords.

    Written out here, because the package that has it takes half a second to import, as long as measuring a scan.

    Parameters
    ----------
    points_mm : ndarray, shape (n, 3)
        At least two, all different.
    """

    def __init__(self, points_mm: Matrix) -> None:
        self._places = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(points_mm, axis=0), axis=1))))
        self._points = np.asarray(points_mm, dtype=np.float64)
        self._bends = _natural_bends(self._places, self._points)

    def direction(self, point_mm: Matrix) -> Matrix:
        """Unit vector down the curve where it passes nearest to a point; beyond its ends, as at the end."""
        reach = np.linspace(self._places[0], self._places[-1], max(2, int(self._places[-1]) + 1))
        nearest = int(np.argmin(((self._at(reach) - point_mm) ** 2).sum(axis=1)))
        return unit(self._slope(reach[nearest : nearest + 1])[0])

    @property
    def length_mm(self) -> float:
        """Its length."""
        samples = self._at(np.linspace(self._places[0], self._places[-1], 2 + int(self._places[-1])))
        return float(np.linalg.norm(np.diff(samples, axis=0), axis=1).sum())

    def _at(self, places: Matrix) -> Matrix:
        """Points of the curve, shape (m, 3)."""
        left, step, share = self._pieces(places)
        rest = 1 - share
        line = rest * self._points[left] + share * self._points[left + 1]
        curve = (rest**3 - rest) * self._bends[left] + (share**3 - share) * self._bends[left + 1]
        return np.asarray(line + curve * step**2 / 6)

    def _slope(self, places: Matrix) -> Matrix:
        """Its derivative, shape (m, 3)."""
        left, step, share = self._pieces(places)
        chord = (self._points[left + 1] - self._points[left]) / step
        curve = (1 - 3 * (1 - share) ** 2) * self._bends[left] + (3 * share**2 - 1) * self._bends[left + 1]
        return np.asarray(chord + curve * step / 6)

    def _pieces(self, places: Matrix) -> tuple[NDArray[np.intp], Matrix, Matrix]:
        """The point before each place, the distance from it to the next, and which share of that has been passed."""
        left = np.clip(np.searchsorted(self._places, places, side="right") - 1, 0, len(self._places) - 2)
        step = np.diff(self._places)[left][:, None]
        return left, step, (places - self._places[left])[:, None] / step


def _natural_bends(places: Matrix, points: Matrix) -> Matrix:
    """Second derivatives at the points of the spline that is straight at both ends, shape (n, 3)."""
    step = np.diff(places)
    system = np.eye(len(places))
    right = np.zeros_like(points)
    slope = np.diff(points, axis=0) / step[:, None]
    for k in range(1, len(places) - 1):
        system[k, k - 1 : k + 2] = step[k - 1], 2 * (step[k - 1] + step[k]), step[k]
        right[k] = 6 * (slope[k] - slope[k - 1])
    return np.asarray(np.linalg.solve(system, right))
