"""Places and directions along a curved spine.

Everything here is in millimetres of the grid: voxel index times spacing, in PIR orientation (posterior, inferior, right).
Lengths and angles in it are those of the patient, however the scan was turned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

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
    """A smooth curve through points from top to bottom.

    Parameters
    ----------
    points_mm : ndarray, shape (n, 3)
        At least two, all different.
    """

    def __init__(self, points_mm: Matrix) -> None:
        self._places = np.concatenate(([0.0], np.cumsum(np.linalg.norm(np.diff(points_mm, axis=0), axis=1))))
        straight = (1, unit(points_mm[1] - points_mm[0]))
        ends = "natural" if len(points_mm) > 2 else (straight, straight)
        self._line = CubicSpline(self._places, points_mm, bc_type=ends)

    def direction(self, point_mm: Matrix) -> Matrix:
        """Unit vector down the curve where it passes nearest to a point; beyond its ends, as at the end."""
        reach = np.linspace(self._places[0], self._places[-1], max(2, int(self._places[-1]) + 1))
        nearest = reach[np.argmin(((self._line(reach) - point_mm) ** 2).sum(axis=1))]
        return unit(np.asarray(self._line(nearest, 1)))

    @property
    def length_mm(self) -> float:
        """Its length."""
        samples = self._line(np.linspace(self._places[0], self._places[-1], 2 + int(self._places[-1])))
        return float(np.linalg.norm(np.diff(samples, axis=0), axis=1).sum())
