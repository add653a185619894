"""Where a training sample lies in its phantom: turned, scaled, mirrored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spineps.geometry import Shape, Spacing


@dataclass(frozen=True, slots=True, eq=False)
class Tilt:
    """Distribution of rotations about the axes (P, I, R), in degrees.

    Parameters
    ----------
    sigma : tuple of 3 float
        Of the normal distribution that most angles come from.
    limit : tuple of 3 float
        Of the uniform distribution that the rest comes from.
    uniform : float
        Share of the uniform distribution.
    """

    sigma: tuple[float, float, float]
    limit: tuple[float, float, float]
    uniform: float

    def draw(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Draw a rotation matrix."""
        angles = [
            rng.uniform(-limit, limit) if rng.random() < self.uniform else rng.normal(0, sigma)
            for sigma, limit in zip(self.sigma, self.limit, strict=True)
        ]
        about_p, about_i, about_r = np.deg2rad(angles)
        return _turn(0, 1, about_r) @ _turn(0, 2, about_i) @ _turn(1, 2, about_p)


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """A sample's position: ``phantom_mm = centre_mm + matrix @ sample_mm``.

    Parameters
    ----------
    centre_mm : ndarray, shape (3,)
        Point of the phantom at the sample's origin, from the centre of the phantom's first voxel.
    matrix : ndarray, shape (3, 3)
        Rotation, scale and mirroring.
    mirrored : bool
        Whether left and right change places, so that labels must too.
    """

    centre_mm: NDArray[np.float64]
    matrix: NDArray[np.float64]
    mirrored: bool

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        centre_mm: NDArray[np.float64],
        *,
        tilt: Tilt,
        log_scale: tuple[float, float],
        flip: float,
    ) -> Placement:
        """Draw rotation, scale (sigma of its logarithm: common to all axes, and of each) and mirroring (its probability)."""
        common, single = log_scale
        matrix = tilt.draw(rng) @ np.diag(np.exp(rng.normal(0, common) + rng.normal(0, single, 3)))
        mirrored = bool(rng.random() < flip)
        if mirrored:
            matrix = matrix @ np.diag([1.0, 1.0, -1.0])
        return cls(centre_mm, matrix, mirrored)


def sample_grid(shape: Shape, spacing_mm: Spacing, shift_mm: Spacing = (0.0, 0.0, 0.0)) -> list[Tensor]:
    """Coordinates of a sample's voxels along (P, I, R) in mm from its centre: three tensors that broadcast to its shape."""
    axes = []
    for axis, (n, step, shift) in enumerate(zip(shape, spacing_mm, shift_mm, strict=True)):
        view = [1, 1, 1]
        view[axis] = n
        axes.append((torch.arange(n, dtype=torch.float32) - (n - 1) / 2).mul_(step).add_(shift).view(view))
    return axes


def nearest_voxels(
    axes_mm: Sequence[Tensor], placement: Placement, shape: Shape, spacing_mm: Spacing
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Nearest voxel of a phantom for each voxel of a sample.

    Parameters
    ----------
    axes_mm : sequence of 3 tensors
        Coordinates of the sample's voxels; see :func:`sample_grid`.
    placement : Placement
        Where the sample lies.
    shape, spacing_mm
        The phantom's grid.

    Returns
    -------
    index : ndarray of int32
        Flat index into the phantom's arrays.
    outside : ndarray of bool
        True where the sample's voxel lies beyond the phantom; the index is then that of the closest edge voxel.
    """
    size = (axes_mm[0] + axes_mm[1] + axes_mm[2]).shape
    outside = torch.zeros(size, dtype=torch.bool)
    flat = torch.zeros(size, dtype=torch.int32)
    for row, centre, step, count in zip(placement.matrix, placement.centre_mm, spacing_mm, shape, strict=True):
        terms = [axis * float(factor / step) for axis, factor in zip(axes_mm, row, strict=True)]
        voxel = torch.round(terms[0] + terms[1] + terms[2] + float(centre / step)).to(torch.int32)
        outside |= (voxel < 0) | (voxel >= count)
        flat.mul_(count).add_(voxel.clamp_(0, count - 1))
    return flat.numpy(), outside.numpy()


def _turn(first: int, second: int, angle: float) -> NDArray[np.float64]:
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix
