"""The curve of a spine and coordinates along it.

A spine is described straightened: ``u`` runs to posterior, ``v`` to the right, ``s`` along the curve to inferior, all in
mm; ``s`` is 0 at the top of C1. Bodies lie on ``u = v = 0``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineps.geometry import FloatArray, Matrix
from spineps.phantom.fields import lookup
from spineps.phantom.morphometry import L1, SACRUM_LENGTH_MM, T1, Level, Morphometry

STEP_MM: Final = 1.0
RUN_OUT_MM: Final = 190.0
"""The curve goes on straight above C1 and below the sacrum, for the head and the pelvic floor."""
_SOLVER_STEPS: Final = 6
_FAR_MM: Final = 1e3
_SMOOTHING_MM: Final = 10.0
_LORDOSIS: Final = ((0.475, 0.15), (0.675, 0.33), (0.875, 0.67), (1.0, 1.0))
"""Share of the lumbar lordosis reached at the middles of L3, L4 and L5 and at the sacrum, as shares of the way from L1."""


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Where vertebrae and discs lie along the curve, in mm from the top of C1.

    Parameters
    ----------
    levels : tuple of Level
        The vertebrae.
    sizes : Morphometry
        Their sizes.
    top : ndarray
        Upper edge of each body.
    sacrum_top, sacrum_end : float
        The sacrum.
    """

    levels: tuple[Level, ...]
    sizes: Morphometry
    top: NDArray[np.float64]
    sacrum_top: float
    sacrum_end: float

    @property
    def bottom(self) -> NDArray[np.float64]:
        """Lower edge of each body."""
        edge: NDArray[np.float64] = self.top + self.sizes.height
        return edge

    @property
    def centre(self) -> NDArray[np.float64]:
        """Middle of each body."""
        middle: NDArray[np.float64] = self.top + self.sizes.height / 2
        return middle

    @property
    def positions(self) -> NDArray[np.float64]:
        """Table position of each vertebra (C1 0 ... L5 23)."""
        return np.array([level.position for level in self.levels])

    def at_level(self, level: float) -> float:
        """Place along the curve of a fractional level index (24 is S1, 25 S3)."""
        knots = np.append(self.positions, (24.0, 25.0))
        places = np.append(self.centre, (self.sacrum_top + 15, self.sacrum_top + 45))
        return float(np.interp(level, knots, places))

    def profile(self, name: str, tail: float = 0.5) -> NDArray[np.float64]:
        """One size along the whole curve, sampled as :class:`Centreline`; ``tail`` is its share at the sacrum's end."""
        values = getattr(self.sizes, name)
        knots = np.append(self.centre, (self.sacrum_top + 10, self.sacrum_end))
        grid = np.arange(-RUN_OUT_MM, self.sacrum_end + RUN_OUT_MM, STEP_MM)
        sizes: NDArray[np.float64] = np.interp(grid, knots, np.append(values, (values[-1], values[-1] * tail)))
        return sizes

    def level_profile(self) -> NDArray[np.float64]:
        """Level index along the curve, sampled as :class:`Centreline`."""
        grid = np.arange(-RUN_OUT_MM, self.sacrum_end + RUN_OUT_MM, STEP_MM)
        knots = np.concatenate(([-RUN_OUT_MM], self.centre, (self.sacrum_top + 15, self.sacrum_end + RUN_OUT_MM)))
        levels: NDArray[np.float64] = np.interp(grid, knots, np.concatenate(([-8.0], self.positions, (24.0, 34.0))))
        return levels


def stack_up(levels: tuple[Level, ...], sizes: Morphometry, sacrum_scale: float) -> Stack:
    """Place bodies and discs one below the other."""
    edges = np.concatenate(([0.0], np.cumsum(sizes.height + sizes.disc)))
    end = float(edges[-1]) + SACRUM_LENGTH_MM * sacrum_scale
    return Stack(levels, sizes, edges[:-1], float(edges[-1]), end)


@dataclass(frozen=True, slots=True, eq=False)
class Centreline:
    """A curve in space, sampled every :data:`STEP_MM` from ``-RUN_OUT_MM``.

    Parameters
    ----------
    points : ndarray, shape (n, 3)
        Posterior, inferior and right coordinate in mm.
    sagittal, coronal, roll : ndarray, shape (n,)
        Angles of its direction in radians: to posterior, to the right, and about itself.
    """

    points: Matrix
    sagittal: NDArray[np.float64]
    coronal: NDArray[np.float64]
    roll: NDArray[np.float64]

    def tangents(self) -> Matrix:
        """Unit direction at each sample, shape (n, 3)."""
        th, ph = self.sagittal, self.coronal
        return np.stack([np.sin(th) * np.cos(ph), np.cos(th) * np.cos(ph), np.sin(ph)], axis=1)

    def point(self, s: float, u: float = 0.0, v: float = 0.0) -> Matrix:
        """The point in space of straightened coordinates, shape (3,)."""
        i = int(np.clip(round((s + RUN_OUT_MM) / STEP_MM), 0, len(self.points) - 1))
        th, ph, roll = self.sagittal[i], self.coronal[i], self.roll[i]
        back = np.array([np.cos(th), -np.sin(th), 0.0])
        right = np.array([-np.sin(th) * np.sin(ph), -np.cos(th) * np.sin(ph), np.cos(ph)])
        u, v = u * np.cos(roll) - v * np.sin(roll), u * np.sin(roll) + v * np.cos(roll)
        place: Matrix = self.points[i] + u * back + v * right
        return place


def draw_centreline(rng: np.random.Generator, stack: Stack, *, straight: float = 0.0) -> Centreline:
    """A spine's curve: cervical lordosis, thoracic kyphosis, lumbar lordosis, the sacrum's bend, scoliosis.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    stack : Stack
        The vertebrae along it.
    straight : float
        1 for a spine without scoliosis, 0 for the population's.

    Returns
    -------
    Centreline
        With the origin anywhere: the caller places it.
    """
    grid = np.arange(-RUN_OUT_MM, stack.sacrum_end + RUN_OUT_MM, STEP_MM, dtype=np.float64)
    sagittal = _sagittal_angle(rng, stack, grid)
    severe = rng.random() < 0.3
    amplitude = np.deg2rad(rng.uniform(4, 16) if severe else abs(rng.normal(0, 2.5))) * (1 - straight)
    wave = np.sin(2 * np.pi * (grid / rng.uniform(180, 420) + rng.random()))
    coronal = amplitude * wave + rng.normal(0, 0.02)
    roll = -amplitude * wave * rng.uniform(-0.3, 1.2) + rng.normal(0, 0.04)
    line = Centreline(np.zeros((len(grid), 3)), sagittal, coronal, roll)
    return Centreline(np.cumsum(line.tangents(), axis=0) * STEP_MM, sagittal, coronal, roll)


def _sagittal_angle(rng: np.random.Generator, stack: Stack, grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angle to posterior along the curve; at the middle of the thoracic spine it is about zero.

    Two thirds of the lumbar lordosis lie below L4, most of it about the last disc (segmental angles of Bernhardt and Bridwell
    1989, Spine 14:717-721, and of Vialle et al. 2005, J Bone Joint Surg Am 87:260-267).
    """
    cervical, kyphosis, lumbar, sacral = np.deg2rad(
        [rng.normal(20, 14), rng.normal(34, 11), rng.normal(56, 11), rng.normal(62, 14)]
    )
    t1 = float(np.interp(T1, stack.positions, stack.top))
    l1 = float(np.interp(L1, stack.positions, stack.top))
    end, sacrum, low = stack.sacrum_end, stack.sacrum_top, cervical - kyphosis
    length = end - sacrum
    knots = [
        (0.0, 0.0),
        (t1 * 0.8, cervical),
        (t1 + (l1 - t1) * 0.25, cervical),
        (l1, low),
        *((l1 + (sacrum - l1) * place, low + share * lumbar) for place, share in _LORDOSIS),
        (sacrum + 0.15 * length, low + lumbar + 0.26),
        (end, low + lumbar + 0.26 - sacral),
    ]
    places, angles = zip(*knots, strict=True)
    angle = ndimage.gaussian_filter1d(np.interp(grid, places, angles), _SMOOTHING_MM / STEP_MM, mode="nearest")
    middle = float(np.interp(12, stack.positions, stack.centre))
    shifted: NDArray[np.float64] = angle - np.interp(middle, grid, angle) + rng.normal(0.05, 0.07)
    return shifted


def straighten(line: Centreline, x: Any, y: Any, z: Any) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Straightened coordinates (u, v, s) of points in space, by Newton steps from the height of each point.

    Parameters
    ----------
    line : Centreline
        The curve.
    x, y, z : ndarray
        Posterior, inferior and right coordinate in mm, of one shape.

    Returns
    -------
    u, v, s : ndarray of float32
        Points that have no foot on the curve near them get a ``u`` far away.
    """
    tangents = line.tangents()
    curvature = np.gradient(line.sagittal, STEP_MM)
    rising = np.maximum.accumulate(line.points[:, 1] + np.arange(len(line.points)) * 1e-4)
    s = (np.interp(y, rising, np.arange(len(rising)) * STEP_MM) - RUN_OUT_MM).astype(np.float32)

    def at(table: Any) -> FloatArray:
        return lookup(table, s, -RUN_OUT_MM, STEP_MM)

    def offsets() -> tuple[FloatArray, ...]:
        return tuple(c - at(line.points[:, k]) for k, c in enumerate((x, y, z)))

    def along(dx: FloatArray, dy: FloatArray, dz: FloatArray) -> FloatArray:
        rest: FloatArray = dx * at(tangents[:, 0]) + dy * at(tangents[:, 1]) + dz * at(tangents[:, 2])
        return rest

    for _ in range(_SOLVER_STEPS):
        dx, dy, dz = offsets()
        th = at(line.sagittal)
        u = dx * np.cos(th) - dy * np.sin(th)
        s += np.clip(along(dx, dy, dz) / np.clip(1 + at(curvature) * u, 0.45, 3), -25, 25)
        np.clip(s, -RUN_OUT_MM + 1, (len(tangents) - 2) * STEP_MM - RUN_OUT_MM, out=s)
    dx, dy, dz = offsets()
    th, ph, roll = at(line.sagittal), at(line.coronal), at(line.roll)
    back = dx * np.cos(th) - dy * np.sin(th)
    right = -dx * np.sin(th) * np.sin(ph) - dy * np.cos(th) * np.sin(ph) + dz * np.cos(ph)
    u = back * np.cos(roll) + right * np.sin(roll)
    v = -back * np.sin(roll) + right * np.cos(roll)
    missed = np.abs(along(dx, dy, dz)) > 4 * STEP_MM
    u[missed] = np.where(u[missed] < 0, -_FAR_MM, _FAR_MM)
    return u.astype(np.float32), v.astype(np.float32), s
