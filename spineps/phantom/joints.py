"""The facet joints of a phantom: planes that neighbouring vertebrae share, so that their processes meet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spineps.geometry import FloatArray
from spineps.phantom.canvas import Patch
from spineps.phantom.fields import Point, Rounding
from spineps.phantom.morphometry import C7, T12, Level, Sizes


@dataclass(frozen=True, slots=True)
class Joint:
    """A facet joint: its centre and its plane, for the right side (mirror ``v`` for the left).

    Parameters
    ----------
    u, v, s : float
        Centre, in straightened coordinates.
    normal : tuple of 3 float
        Unit vector (u, v, s) from the superior process of the lower to the inferior process of the upper vertebra.
    half_mm : float
        Half the joint's length.
    gap_mm : float
        Width of the joint space.
    """

    u: float
    v: float
    s: float
    normal: Point
    half_mm: float
    gap_mm: float

    def beside(self, distance_mm: float, along_mm: float, origin: float, side: int) -> Point:
        """A point beside the joint plane, (u, v, w) with w from ``origin``; ``along_mm`` runs downwards in the plane."""
        n_u, n_v, n_s = self.normal
        across = np.hypot(n_u, n_v)
        down = (-n_u * n_s / across, -n_v * n_s / across, across)
        u, v, s = (
            c + distance_mm * n + along_mm * d for c, n, d in zip((self.u, self.v, self.s), self.normal, down, strict=True)
        )
        return float(u), float(side * v), float(s - origin)

    def height_above(self, patch: Patch, origin: float, side: int) -> FloatArray:
        """Signed distance from the joint plane, positive on the upper vertebra's side."""
        n_u, n_v, n_s = (np.float32(n) for n in self.normal)
        du, dv, ds = patch.u - np.float32(self.u), side * patch.v - np.float32(self.v), patch.w - np.float32(self.s - origin)
        distance: FloatArray = du * n_u + dv * n_v + ds * n_s
        return distance


def draw_joint(rng: np.random.Generator, upper: tuple[Level, Sizes], lower: Sizes | None, top: float, scale: float) -> Joint:
    """The facet joints between two vertebrae (or the last and the sacrum).

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    upper : Level and Sizes
        The vertebra above, whose region decides the joint's orientation.
    lower : Sizes or None
        The vertebra below; None for the sacrum.
    top : float
        Upper edge of the lower body along the curve.
    scale : float
        Stature.
    """
    level, sizes = upper
    below = lower or sizes
    centre = (sizes.canal_centre + below.canal_centre) / 2
    wide = (sizes.canal_width + below.canal_width) / 4
    deep = (sizes.canal_depth + below.canal_depth) / 2
    gap = float(rng.uniform(0.3, 1.8))
    if level.lumbar or level.position == T12:
        low = float(np.clip(level.position - 20, 0, 4))
        angle = np.deg2rad(rng.normal(28 + 5 * low, 8))
        normal = (float(np.sin(angle)), -float(np.cos(angle)), 0.0)
        v = wide + (0.8 + 1.0 * low + rng.normal(0, 1)) * scale
        return Joint(
            centre + 0.18 * deep + rng.normal(0, 1), v, top + 0.15 * below.height + rng.normal(0, 1), normal, 7.5 * scale, gap
        )
    if level.thoracic or level.position == C7:
        tilt = np.deg2rad(rng.normal(18, 6))
        normal = (float(np.cos(tilt)), 0.0, -float(np.sin(tilt)))
        return Joint(centre + 0.46 * deep + 1, wide + 0.5 * scale, top - 0.5 * sizes.disc, normal, 5.5 * scale, gap)
    tilt = np.deg2rad(rng.normal(45, 7))
    normal = (float(np.cos(tilt)), 0.0, -float(np.sin(tilt)))
    return Joint(centre + 0.05 * deep, wide + 4.6 * scale, top - 0.5 * sizes.disc, normal, 5.0 * scale, gap)


def facet_shape(joint: Joint) -> tuple[Rounding, float]:
    """Cross-section of articular processes at a joint, and how far from its plane their axes lie."""
    if joint.normal[1] != 0:
        return (0.95, 0.95, 1.0), 0.8
    if joint.normal[2] > -0.5:
        return (0.62, 1.25, 1.0), 0.55
    return (1.0, 1.15, 0.9), 0.5
