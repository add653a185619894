"""The sacrum of a phantom: five tapering segments, wings, canal, foramina and crest; below it the coccyx."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import FloatArray
from spineps.labels import SACRUM_INSTANCE, Structure
from spineps.phantom.canvas import Canvas, Mask, Patch
from spineps.phantom.fields import capsule, ellipsoid, single
from spineps.phantom.joints import Joint
from spineps.phantom.morphometry import Sizes
from spineps.phantom.tissues import Tissue
from spineps.phantom.vertebra import LEFT, RIGHT, BoneStyle

SEGMENT_EDGES: Final = (0.0, 0.27, 0.5, 0.7, 0.86, 1.0)
"""Where the segments S1 to S5 end, as shares of the sacrum's length."""
_PLACES: Final = (0.0, 0.1, 0.27, 0.5, 0.7, 0.86, 1.0)
_DEPTHS: Final = (1.0, 0.88, 0.62, 0.45, 0.36, 0.28, 0.2)
_WIDTHS: Final = (1.0, 0.92, 0.68, 0.55, 0.48, 0.42, 0.3)
_HALF_SPANS_MM: Final = (50.0, 55.0, 53.0, 43.0, 33.0, 26.0, 12.0)
_WING_DEPTHS_MM: Final = (22.0, 24.0, 20.0, 15.0, 11.0, 9.0, 6.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    """Shape of the sacrum at each voxel of a patch."""

    share: FloatArray
    depth: FloatArray
    width: FloatArray
    span: FloatArray
    canal_depth: FloatArray
    canal_width: FloatArray

    @property
    def canal_centre(self) -> FloatArray:
        return single(self.depth / 2 + self.canal_depth / 2)


def paint_sacrum(rng: np.random.Generator, canvas: Canvas, last: Sizes, joint: Joint, style: BoneStyle) -> None:
    """Paint the sacrum and the coccyx; ``last`` are the sizes of the last vertebra, ``joint`` the facets with it."""
    top, end = canvas.stack.sacrum_top, canvas.stack.sacrum_end
    k = style.scale
    patch = canvas.patch((top - 16, end), (-0.6 * last.depth, 0.5 * last.depth + 42), (-66 * k, 66 * k), top)
    if patch.index.size:
        _paint_bone(rng, canvas, patch, (last, joint, style))
    _paint_coccyx(rng, canvas, k)


def _paint_bone(rng: np.random.Generator, canvas: Canvas, patch: Patch, parts: tuple[Sizes, Joint, BoneStyle]) -> None:
    last, joint, style = parts
    length = canvas.stack.sacrum_end - canvas.stack.sacrum_top
    shape = _profiles(patch, length, last, style.scale)
    body = _body(patch, shape)
    depth = np.minimum(body, _wings(rng, patch, shape, style.scale))
    depth = np.minimum(depth, _rear(rng, patch, shape, style.scale))
    depth = np.where(patch.w > 0, depth, np.float32(1e3))
    for side in (LEFT, RIGHT):
        depth = np.minimum(depth, _facet(canvas, patch, side, (last, joint, style)))
    canal = ((patch.u - shape.canal_centre) / (shape.canal_depth / 2)) ** 2 + (patch.v / (shape.canal_width / 2)) ** 2
    holes = (canal < 1) | _foramina(patch, shape, length, style.scale)
    free = canvas.free(patch)
    fat = patch.where(holes & free & (depth < 2))
    canvas.fill(fat, Tissue.EPIDURAL_FAT)
    inside = (depth < 0) & ~holes & free
    bone = patch.where(inside)
    tissue = np.full(bone.index.shape, Tissue.SACRAL_MARROW, dtype=np.uint8)
    tissue[depth[inside] > -style.cortex_mm * rng.uniform(0.7, 1.4)] = Tissue.CORTICAL_BONE
    edges = np.array(SEGMENT_EDGES[1:5]) * length
    remnant = np.abs(bone.w[:, None] - edges[None, :].astype(np.float32)).min(axis=1) < rng.uniform(0.7, 2.2)
    remnant &= (body[inside] < -1.0) & (bone.w < edges[int(rng.integers(1, 4))] + 5)
    tissue[remnant] = rng.choice((Tissue.CORTICAL_BONE, Tissue.ANNULUS, Tissue.NUCLEUS))
    canvas.fill(bone, tissue)
    canvas.label(bone, Structure.SACRUM, SACRUM_INSTANCE)


def _profiles(patch: Patch, length: float, last: Sizes, k: float) -> _Shape:
    share = np.clip(patch.w / np.float32(length), 0, 1)

    def at(values: tuple[float, ...], unit: float) -> FloatArray:
        profile: FloatArray = np.interp(share, _PLACES, np.array(values) * unit).astype(np.float32)
        return profile

    return _Shape(
        share=share,
        depth=at(_DEPTHS, last.depth * 0.94),
        width=at(_WIDTHS, last.width),
        span=at(_HALF_SPANS_MM, k),
        canal_depth=at((1.0, 0.95, 0.8, 0.62, 0.45, 0.3, 0.15), last.canal_depth),
        canal_width=at((1.0, 0.98, 0.85, 0.65, 0.5, 0.4, 0.2), last.canal_width * 1.05),
    )


def _body(patch: Patch, shape: _Shape) -> FloatArray:
    """Distance to the fused bodies, waisted between the segments."""
    a, b = np.abs(patch.u) / (shape.depth / 2), np.abs(patch.v) / (shape.width / 2)
    return single(((a**2.6 + b**2.6) ** np.float32(1 / 2.6) - 1) * shape.depth / 2)


def _wings(rng: np.random.Generator, patch: Patch, shape: _Shape, k: float) -> FloatArray:
    """Distance to the wings: they rise least far up at the side and lie behind the bodies' front."""
    thick = np.interp(shape.share, _PLACES, np.array(_WING_DEPTHS_MM) * k * rng.uniform(0.85, 1.15)).astype(np.float32)
    lateral = np.abs(patch.v)
    middle = 0.12 * shape.depth + 0.1 * np.maximum(lateral - shape.width / 2, 0)
    across = np.abs(patch.u - middle) - thick / 2 * (1 - 0.35 * (lateral / shape.span) ** 2)
    roof = 2.0 + np.float32(rng.uniform(0.12, 0.3)) * np.maximum(lateral - shape.width * 0.45, 0) - patch.w
    distance: FloatArray = np.maximum(np.maximum(across, lateral - shape.span), roof)
    return distance


def _rear(rng: np.random.Generator, patch: Patch, shape: _Shape, k: float) -> FloatArray:
    """Distance to the canal's rear wall and the crest in the midline, a bump a segment."""
    wall = np.float32(rng.uniform(3.0, 4.5) * k)
    a = (patch.u - shape.canal_centre) / (shape.canal_depth / 2 + wall)
    b = patch.v / (shape.canal_width / 2 + wall * 1.2)
    shell = (np.sqrt(a * a + b * b) - 1) * (shape.canal_depth / 2 + wall)
    edges = np.array(SEGMENT_EDGES)
    phase = np.interp(shape.share, edges, np.arange(len(edges))).astype(np.float32)
    bump = 0.55 + 0.45 * np.cos(2 * np.pi * (phase - np.float32(0.55)))
    crest = shape.canal_centre + shape.canal_depth / 2 + wall + 8 * np.float32(k) * bump * (1 - shape.share)
    ridge = np.maximum(np.abs(patch.v) - 3 * np.float32(k), np.maximum(patch.u - crest, shape.canal_centre - patch.u))
    roof = np.float32(rng.uniform(5, 11)) - patch.w
    distance: FloatArray = np.maximum(np.minimum(shell, ridge), roof)
    return distance


def _facet(canvas: Canvas, patch: Patch, side: int, parts: tuple[Sizes, Joint, BoneStyle]) -> FloatArray:
    """Distance to a superior articular process of S1."""
    last, joint, style = parts
    top, k = canvas.stack.sacrum_top, style.scale
    base = (last.canal_centre + 4, side * (last.canal_width / 2 + 7 * k), 10 * k)
    end = joint.beside(-(4 * k + joint.gap_mm / 2), -0.3 * joint.half_mm, top, side)
    distance = capsule(patch.points, (base, end), (6 * k, 4.4 * k))
    cut = joint.height_above(patch, top, side) + np.float32(joint.gap_mm / 2)
    cut_distance: FloatArray = np.maximum(distance, cut)
    return cut_distance


def _foramina(patch: Patch, shape: _Shape, length: float, k: float) -> Mask:
    """The four pairs of holes between the segments, at the side of the bodies."""
    holes: NDArray[np.bool_] = np.zeros(patch.u.shape, dtype=np.bool_)
    for number, edge in enumerate(SEGMENT_EDGES[1:5]):
        radius = np.float32((3.9 - 0.5 * number) * k)
        lateral = shape.width / 2 + radius * 0.5
        holes |= (np.abs(patch.v) - lateral) ** 2 + (patch.w - np.float32(edge * length + 2)) ** 2 < radius**2
    return holes


def _paint_coccyx(rng: np.random.Generator, canvas: Canvas, k: float) -> None:
    """Three or four small bones below the sacrum; no structure of the label scheme."""
    end = canvas.stack.sacrum_end
    patch = canvas.patch((end + 1, end + 45), (-14, 14), (-14, 14), end)
    if patch.index.size == 0:
        return
    patch = patch.where(canvas.free(patch))
    for number in range(int(rng.integers(3, 5))):
        size = (1 - 0.2 * number) * k
        distance = ellipsoid(patch.points, (0.0, 0.0, 6 + 9.5 * number * k), (4 * size, 7 * size, 4.5 * size))
        canvas.fill(patch.where(distance < 0), Tissue.SACRAL_MARROW)
        canvas.fill(patch.where((distance < 0) & (distance > -1.2)), Tissue.CORTICAL_BONE)
