"""The midline of a spine, and whether another piece continues it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineps.geometry import Matrix

SMOOTHING_MM: Final = 40.0
"""Length of the running median along the midline: longer than one vertebra, so that one bad level does not bend it."""
END_MM: Final = 50.0
"""Length at an end of the midline from which its continuation is guessed."""
MAX_SLOPE: Final = 1.0
"""The continuation leans at most 45 degrees (the lumbosacral angle is the steepest)."""
MAX_GAP_MM: Final = 60.0
"""A spine continues across a gap of at most this length: a whole lumbar level lost in metal."""
SIDEWAYS_MM: Final = 20.0
"""How far a piece may lie beside the continued midline, near its end; half a body."""
SIDEWAYS_PER_GAP: Final = 0.5
"""What the tolerance grows by with each mm of gap, since the curve is unknown there."""


@dataclass(frozen=True, slots=True, eq=False)
class Midline:
    """Centre of a structure in each plane that shows it.

    Parameters
    ----------
    inferior_mm : ndarray, shape (n,)
        Increasing positions along I.
    centre_mm : ndarray, shape (n, 2)
        Smoothed positions along P and R.
    """

    inferior_mm: Matrix
    centre_mm: Matrix

    @classmethod
    def through(cls, points_mm: NDArray[np.float32], planes: NDArray[np.int64], step_mm: float) -> Midline:
        """Midline of voxels at ``points_mm`` (shape (n, 3); P, I, R) in planes ``step_mm`` apart along I."""
        if planes.size == 0:
            return cls(np.zeros(0), np.zeros((0, 2)))
        counts = np.bincount(planes)
        shown = np.flatnonzero(counts)
        sums = [np.bincount(planes, weights=points_mm[:, axis])[shown] for axis in (0, 2)]
        means = np.stack(sums, axis=1) / counts[shown, None]
        window = max(1, 2 * round(SMOOTHING_MM / step_mm / 2) + 1)
        smooth = ndimage.median_filter(means, size=(min(window, 2 * len(shown) - 1), 1), mode="nearest")
        return cls(shown.astype(np.float64) * step_mm, smooth)

    @property
    def known(self) -> bool:
        """False where the structure does not occur."""
        return self.inferior_mm.size > 0

    @property
    def span_mm(self) -> tuple[float, float]:
        """First and last position along I."""
        return float(self.inferior_mm[0]), float(self.inferior_mm[-1])

    def at(self, inferior_mm: float) -> Matrix:
        """Position (P, R) at a position along I: interpolated inside, beyond the ends continued in a straight line."""
        top, bottom = self.span_mm
        if top <= inferior_mm <= bottom:
            return np.array([np.interp(inferior_mm, self.inferior_mm, axis) for axis in self.centre_mm.T])
        end = top if inferior_mm < top else bottom
        near = np.abs(self.inferior_mm - end) <= END_MM
        along, across = self.inferior_mm[near], self.centre_mm[near]
        offset = along - along.mean()
        slope = offset @ across / max(1e-6, float(offset @ offset))
        start = across[0] if inferior_mm < top else across[-1]
        continued: Matrix = start + np.clip(slope, -MAX_SLOPE, MAX_SLOPE) * (inferior_mm - end)
        return continued

    def distance_mm(self, point_mm: NDArray[np.floating]) -> float:
        """Distance of a point (P, I, R) from the midline within its plane; beyond the ends, from the nearer end."""
        if not self.known:
            return 0.0
        top, bottom = self.span_mm
        across = self.at(float(np.clip(point_mm[1], top, bottom)))
        return float(np.hypot(point_mm[0] - across[0], point_mm[2] - across[1]))


def in_line(spine: Midline, piece: Midline) -> bool:
    """Tell whether a piece continues a spine above or below it (or runs along it, where a plane cuts both)."""
    if not spine.known or not piece.known:
        return False
    top, bottom = spine.span_mm
    low, high = piece.span_mm
    gap = max(0.0, low - bottom, top - high)
    if gap > MAX_GAP_MM:
        return False
    facing = float(np.clip((low + high) / 2, top, bottom)) if gap == 0 else (low if low > bottom else high)
    facing = float(np.clip(facing, low, high))
    offset = spine.at(facing) - piece.at(facing)
    return bool(np.hypot(*offset) <= SIDEWAYS_MM + SIDEWAYS_PER_GAP * gap)
