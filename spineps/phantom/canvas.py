"""The grid a phantom is painted on: its voxels, their place in the spine's and the body's coordinates, and what is there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import FloatArray, Geometry, Matrix
from spineps.labels import Structure
from spineps.phantom.curve import RUN_OUT_MM, STEP_MM, Centreline, Stack, straighten
from spineps.phantom.fields import coarse_noise, lookup, upsample
from spineps.phantom.tissues import Tissue

Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]

NODE_MM: Final = 5.0
"""Spacing of the nodes at which straightened coordinates are solved; between them they are interpolated."""
WARPS: Final = ((1.0, 38.0), (0.35, 16.0))
"""Relative amplitude and correlation length (mm) of the smooth deformation that makes shapes irregular."""


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """How the grid lies in the body.

    Parameters
    ----------
    rotation : ndarray, shape (3, 3)
        From grid axes (posterior, inferior, right) to the body's.
    pivot_mm : ndarray, shape (3,)
        Point of the grid, from its first voxel, that lies at ``anchor_mm`` of the body.
    anchor_mm : ndarray, shape (3,)
        That point in the coordinates of the centreline.
    """

    rotation: Matrix
    pivot_mm: Matrix
    anchor_mm: Matrix

    def to_grid(self, points_mm: Matrix) -> Matrix:
        """Points of the body, shape (..., 3), to millimetres from the grid's first voxel."""
        placed: Matrix = (points_mm - self.anchor_mm) @ self.rotation + self.pivot_mm
        return placed


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """Some voxels of a canvas, with their straightened coordinates.

    Parameters
    ----------
    index : ndarray of intp, shape (n,)
        Flat voxel indices.
    u, v, w : ndarray of float32, shape (n,)
        To posterior, to the right, and to inferior from the patch's own origin along the curve, in mm.
    """

    index: Indices
    u: FloatArray
    v: FloatArray
    w: FloatArray

    @property
    def points(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The three coordinates."""
        return self.u, self.v, self.w

    def where(self, chosen: Mask) -> Patch:
        """The part of the patch where a mask of shape (n,) is true."""
        return Patch(self.index[chosen], self.u[chosen], self.v[chosen], self.w[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """Voxels of a phantom, painted part by part.

    Parameters
    ----------
    geometry : Geometry
        The grid, in PIR.
    line, stack, pose
        The spine and how it lies in the grid.
    u, v, s : ndarray of float32
        Straightened coordinates of each voxel in mm.
    back, side, down : ndarray of float32
        The body's coordinates in mm: behind the smoothed spine, to the right of it, and downwards.
    storey : ndarray of float32
        Level index at each voxel's height in the body.
    level : ndarray of float32
        Level index (C1 0 ... L5 23) at each voxel's place along the curve.
    tissue, semantic, instance : ndarray of uint8
        What is painted.
    """

    geometry: Geometry
    line: Centreline
    stack: Stack
    pose: Pose
    u: FloatArray
    v: FloatArray
    s: FloatArray
    back: FloatArray
    side: FloatArray
    down: FloatArray
    storey: FloatArray
    level: FloatArray
    tissue: NDArray[np.uint8]
    semantic: NDArray[np.uint8]
    instance: NDArray[np.uint8]
    _noise: dict[float, FloatArray] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along each axis."""
        return self.geometry.shape

    def noise(self, rng: np.random.Generator, cell_mm: float) -> FloatArray:
        """Smooth noise of the canvas' shape; one field a correlation length is drawn and then reused."""
        if cell_mm not in self._noise:
            self._noise[cell_mm] = upsample(coarse_noise(rng, self.geometry.extent_mm, cell_mm), self.shape)
        return self._noise[cell_mm]

    def along(self, values: NDArray[np.float64]) -> FloatArray:
        """A profile along the curve (sampled as the centreline) at every voxel."""
        return lookup(values, self.s, -RUN_OUT_MM, STEP_MM)

    def patch(self, s: tuple[float, float], u: tuple[float, float], v: tuple[float, float], origin: float) -> Patch:
        """The voxels within ranges of the straightened coordinates (mm); ``w`` counts from ``origin``."""
        box = self._box(s, u, v)
        s_box, u_box, v_box = self.s[box], self.u[box], self.v[box]
        inside = (s_box > s[0]) & (s_box < s[1]) & (u_box > u[0]) & (u_box < u[1]) & (v_box > v[0]) & (v_box < v[1])
        i, j, k = np.nonzero(inside)
        flat = ((i + box[0].start) * self.shape[1] + j + box[1].start) * self.shape[2] + k + box[2].start
        return Patch(flat, u_box[inside], v_box[inside], s_box[inside] - np.float32(origin))

    def _box(self, s: tuple[float, float], u: tuple[float, float], v: tuple[float, float]) -> tuple[slice, slice, slice]:
        """A box of voxels that holds the ranges, with room for the deformation."""
        places = [self.line.point(a, b, c) for a in np.linspace(s[0], s[1], 5) for b in u for c in v]
        grid = self.pose.to_grid(np.array(places)) / np.asarray(self.geometry.spacing_mm)
        margin = 8 / np.asarray(self.geometry.spacing_mm)
        low = np.clip(np.floor(grid.min(axis=0) - margin), 0, self.shape).astype(int)
        high = np.clip(np.ceil(grid.max(axis=0) + margin) + 1, low, self.shape).astype(int)
        a, b, c = (slice(int(p), int(q)) for p, q in zip(low, high, strict=True))
        return a, b, c

    def height_of(self, level: float) -> float:
        """Height in the body (the coordinate ``down``) of a level index."""
        return float(self.line.point(self.stack.at_level(level))[1])

    def course(self, down: Matrix) -> tuple[Matrix, Matrix]:
        """Posterior and right position (mm, the centreline's coordinates) of the smoothed spine at heights ``down``."""
        return _smooth_course(self.line, down)

    def body_box(self, centre: tuple[float, float, float], radius_mm: float) -> tuple[slice, slice, slice]:
        """A box of voxels that holds a ball around a point (behind, down, to the right of the spine; mm)."""
        back, down, side = centre
        x, z = _smooth_course(self.line, np.array([down]))
        grid = self.pose.to_grid(np.array([x[0] + back, down, z[0] + side]))
        spacing = np.asarray(self.geometry.spacing_mm)
        low = np.clip(np.floor((grid - radius_mm) / spacing), 0, self.shape).astype(int)
        high = np.clip(np.ceil((grid + radius_mm) / spacing) + 1, low, self.shape).astype(int)
        a, b, c = (slice(int(p), int(q)) for p, q in zip(low, high, strict=True))
        return a, b, c

    def free(self, patch: Patch) -> Mask:
        """Where a patch carries no label yet."""
        unlabelled: Mask = self.semantic.reshape(-1)[patch.index] == Structure.BACKGROUND
        return unlabelled

    def fill(self, patch: Patch, tissue: Tissue | NDArray[np.uint8]) -> None:
        """Paint tissue."""
        self.tissue.reshape(-1)[patch.index] = tissue

    def label(self, patch: Patch, structure: Structure | NDArray[np.uint8], instance: int | NDArray[np.uint8]) -> None:
        """Paint a semantic and an instance label."""
        self.semantic.reshape(-1)[patch.index] = structure
        self.instance.reshape(-1)[patch.index] = instance


def lay_out(rng: np.random.Generator, geometry: Geometry, stack: Stack, line: Centreline, pose: Pose) -> Canvas:
    """An empty canvas of muscle with the coordinates of each voxel.

    Straightened coordinates are solved at nodes :data:`NODE_MM` apart and interpolated.

    Returns
    -------
    Canvas
    """
    shape = geometry.shape
    nodes = [max(2, int(np.ceil(length / NODE_MM)) + 1) for length in geometry.extent_mm]
    axes = [np.linspace(0, (n - 1) * step, count) for n, step, count in zip(shape, geometry.spacing_mm, nodes, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) - pose.pivot_mm
    body = grid @ pose.rotation.T + pose.anchor_mm
    amplitude = rng.uniform(0.5, 2.4)
    warped = body.copy()
    for weight, cell in WARPS:
        for axis in range(3):
            warp = upsample(coarse_noise(rng, geometry.extent_mm, cell), nodes)
            warped[..., axis] += amplitude * weight * warp
    u, v, s = (upsample(c, shape) for c in straighten(line, *(warped[..., a] for a in range(3))))
    middle_x, middle_z = _smooth_course(line, body[..., 1])
    back, side, down = (upsample(c, shape) for c in (body[..., 0] - middle_x, body[..., 2] - middle_z, body[..., 1]))
    profile = stack.level_profile()
    height = np.maximum.accumulate(line.points[:, 1] + np.arange(len(line.points)) * 1e-6)
    storey = upsample(np.interp(body[..., 1], height, profile), shape)
    level = lookup(profile, s, -RUN_OUT_MM, STEP_MM)
    tissue = np.full(shape, Tissue.MUSCLE, dtype=np.uint8)
    semantic, instance = np.zeros(shape, dtype=np.uint8), np.zeros(shape, dtype=np.uint8)
    return Canvas(geometry, line, stack, pose, u, v, s, back, side, down, storey, level, tissue, semantic, instance)


def _smooth_course(line: Centreline, y: Matrix) -> tuple[Matrix, Matrix]:
    """Posterior and right position of the spine, smoothed, at each height: what the trunk's outline follows."""
    height = np.maximum.accumulate(line.points[:, 1])
    mean = line.points.mean(axis=0)
    x = np.interp(y, height, 0.6 * line.points[:, 0] + 0.4 * mean[0])
    z = np.interp(y, height, 0.7 * line.points[:, 2] + 0.3 * mean[2])
    return x, z
