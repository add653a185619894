"""Vertebrae of a phantom: where each lies, the joints between them, and their arches and processes.

Which part of the bone carries which label follows the masks published with SPINEPS (Möller et al. 2024): the pedicle is
short and belongs to the arch, the superior articular process starts at the pedicle, the costal process beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from spineps.geometry import FloatArray
from spineps.labels import Structure
from spineps.phantom.canvas import Canvas, Mask, Patch
from spineps.phantom.fields import Point, Rounding, capsule, ellipsoid, factor
from spineps.phantom.joints import Joint, facet_shape
from spineps.phantom.morphometry import C1, C2, C7, Level, Sizes
from spineps.phantom.tissues import Tissue

LEFT: Final = -1
RIGHT: Final = 1
_COSTAL: Final = {LEFT: Structure.COSTAL_LEFT, RIGHT: Structure.COSTAL_RIGHT}
_SUPERIOR: Final = {LEFT: Structure.SUPERIOR_ARTICULAR_LEFT, RIGHT: Structure.SUPERIOR_ARTICULAR_RIGHT}
_INFERIOR: Final = {LEFT: Structure.INFERIOR_ARTICULAR_LEFT, RIGHT: Structure.INFERIOR_ARTICULAR_RIGHT}
_PEDICLE_START: Final = 0.42
"""The root of a pedicle carries the body's label as far back as this share of the body's depth behind its centre."""
_REACH_MM: Final = 62.0
"""How far to the side the parts of one vertebra reach at most."""


@dataclass(frozen=True, slots=True)
class BoneStyle:
    """How one person's bones look.

    Parameters
    ----------
    scale : float
        Stature relative to the mean.
    cortex_mm : float
        Thickness of the cortical layer of bodies.
    cortex_factors : tuple of 3 float
        The same of articular and costal processes, of the arch, and of spinous processes, relative to the bodies'.
    lamina_mm : float
        Half thickness of laminae.
    lamina_height : float
        How tall laminae are, relative to the least usual.
    arch_slope : float
        How far lumbar arches hang down, in mm a mm behind the body.
    uneven_mm : float
        Standard deviation of the surface of arches and processes from their smooth shapes.
    """

    scale: float
    cortex_mm: float
    cortex_factors: tuple[float, float, float]
    lamina_mm: float
    lamina_height: float
    arch_slope: float
    uneven_mm: float


def draw_bone_style(rng: np.random.Generator, scale: float) -> BoneStyle:
    """One person's bone style."""
    factors = (rng.uniform(0.6, 2.6), rng.uniform(0.7, 2), rng.uniform(0.5, 1.4))
    return BoneStyle(
        scale=scale,
        cortex_mm=rng.uniform(0.5, 1.5),
        cortex_factors=factors,
        lamina_mm=rng.uniform(2.6, 3.8) * scale,
        lamina_height=rng.uniform(0.95, 1.4),
        arch_slope=rng.normal(0.18, 0.07),
        uneven_mm=rng.uniform(0.1, 0.6),
    )


@dataclass(frozen=True, slots=True)
class Site:
    """One vertebra in its place.

    Parameters
    ----------
    level : Level
        Which vertebra.
    sizes : Sizes
        Its sizes.
    centre : float
        Middle of its body along the curve.
    above, below : Joint or None
        Facet joints with its neighbours.
    """

    level: Level
    sizes: Sizes
    centre: float
    above: Joint | None
    below: Joint | None


class _Parts:
    """Collects the parts of one vertebra: each voxel belongs to the part whose surface lies deepest around it."""

    def __init__(self, patch: Patch) -> None:
        self.patch = patch
        self.depth = np.full(patch.u.shape, np.float32(1e3))
        self.owner = np.zeros(patch.u.shape, dtype=np.uint8)
        self.space = np.zeros(patch.u.shape, dtype=np.bool_)

    def add(self, distance: FloatArray, structure: Structure, bias: float = 0.0) -> None:
        """Add a part by its signed distance; a positive ``bias`` gives way to others."""
        nearer = distance + np.float32(bias) < self.depth
        self.depth[nearer] = distance[nearer] + np.float32(bias)
        self.owner[nearer] = structure

    def absorb(self, parts: _Parts, chosen: Mask) -> None:
        """Take over the parts collected on the chosen voxels."""
        nearer = parts.depth < self.depth[chosen]
        self.depth[chosen] = np.where(nearer, parts.depth, self.depth[chosen])
        self.owner[chosen] = np.where(nearer, parts.owner, self.owner[chosen])
        self.space[chosen] |= parts.space

    def capsule(
        self, structure: Structure, ends: tuple[Point, Point], radii: tuple[float, float], axes: Rounding = (1.0, 1.0, 1.0)
    ) -> None:
        """Add a capsule."""
        self.add(capsule(self.patch.points, ends, radii, axes), structure)


def paint_arch(rng: np.random.Generator, canvas: Canvas, site: Site, style: BoneStyle) -> None:
    """Paint arch and processes of one vertebra (C1 as bone without a label), never over what is labelled already."""
    patch = _arch_patch(canvas, site, style)
    if patch.index.size == 0:
        return
    whole = _Parts(patch)
    for side in (LEFT, RIGHT):
        half = side * patch.v > -7
        parts = _Parts(patch.where(half))
        _add_side(rng, parts, site, style, side)
        whole.absorb(parts, half)
    middle = np.abs(patch.v) < site.sizes.spinous_thickness + 4
    parts = _Parts(patch.where(middle))
    _add_spinous(rng, parts, site, style)
    whole.absorb(parts, middle)
    _commit(rng, canvas, site, style, whole)


def _arch_patch(canvas: Canvas, site: Site, style: BoneStyle) -> Patch:
    """The unlabelled voxels around a vertebra's arch, the canal left out; lumbar arches hang down from their bodies."""
    q = site.sizes
    reach = q.height * 1.7 + 12
    spinous_drop = q.spinous_length * np.sin(np.deg2rad(max(0.0, q.spinous_angle))) + 8
    s_range = (site.centre - reach, site.centre + max(reach, 0.7 * q.height + spinous_drop + q.spinous_height / 2))
    span = min(_REACH_MM, q.transverse_span + 8)
    rear = q.canal_centre + q.canal_depth / 2 + q.spinous_length + 14
    patch = canvas.patch(s_range, (-q.depth * 0.5, rear), (-span, span), site.centre)
    canal = ((patch.u - q.canal_centre) / (q.canal_depth / 2 + 0.3)) ** 2 + (patch.v / (q.canal_width / 2 + 0.3)) ** 2
    around = (patch.u > q.depth * 0.12) | (np.abs(patch.v) > q.width * 0.3) | (site.level.position == C1)
    patch = patch.where(around & (canal > 1) & canvas.free(patch))
    slope = style.arch_slope * float(np.interp(site.level.position, (16, 20), (0, 1)))
    return replace(patch, w=patch.w - np.float32(slope) * np.maximum(patch.u - np.float32(q.depth / 2), 0))


def _commit(rng: np.random.Generator, canvas: Canvas, site: Site, style: BoneStyle, parts: _Parts) -> None:
    """Write the collected parts with their cortex and the joint spaces."""
    patch, owner = parts.patch, parts.owner
    depth = parts.depth + np.float32(style.uneven_mm) * canvas.noise(rng, 5.0).reshape(-1)[patch.index]
    inside = depth < 0
    process, arch, spinous = style.cortex_factors
    table = np.full(256, process)
    table[Structure.ARCUS], table[Structure.SPINOUS] = arch, spinous
    cortex = (table[owner] * style.cortex_mm).astype(np.float32)
    marrow = np.where(depth > -cortex, np.uint8(Tissue.CORTICAL_BONE), np.uint8(Tissue.POSTERIOR_MARROW))
    shell = (depth >= 0) & (depth < style.cortex_mm * 0.6)
    canvas.fill(patch.where(shell), Tissue.CORTICAL_BONE)
    canvas.fill(patch.where(parts.space & ~inside), Tissue.JOINT if rng.random() < 0.6 else Tissue.CORTICAL_BONE)
    root = inside & (owner == Structure.ARCUS) & (patch.u < _PEDICLE_START * site.sizes.depth) & (site.level.position > C2)
    marrow[root & (marrow != Tissue.CORTICAL_BONE)] = Tissue.BODY_MARROW
    owner = np.where(root, np.uint8(Structure.CORPUS), owner)
    bone = patch.where(inside)
    canvas.fill(bone, marrow[inside])
    if site.level.position > C1:
        canvas.label(bone, owner[inside], site.level.instance)


def _add_side(rng: np.random.Generator, parts: _Parts, site: Site, style: BoneStyle, side: int) -> None:
    """Pedicle, lamina and the processes of one side."""
    level = site.level
    if level.position == C1:
        _add_atlas(parts, site, style, side)
    elif level.cervical:
        _add_cervical(rng, parts, site, style, side)
    elif level.thoracic:
        _add_thoracic(rng, parts, site, style, side)
    else:
        _add_lumbar(rng, parts, site, style, side)
    _add_facets(rng, parts, site, style, side)


def _add_lumbar(rng: np.random.Generator, parts: _Parts, site: Site, style: BoneStyle, side: int) -> None:
    q, k = site.sizes, style.scale
    h, c, half, pedicle = q.height, q.canal_centre, q.canal_width / 2, q.pedicle_width
    lateral = half + pedicle / 2
    rear = c + q.canal_depth / 2
    tall = q.pedicle_height / pedicle
    low = float(np.clip(site.level.position - 20, 0, 3)) / 3
    parts.capsule(
        Structure.ARCUS,
        ((q.depth / 2 - 5, side * (lateral - 1.5), -0.12 * h), (c + 1, side * (lateral + 0.3), -0.07 * h)),
        (pedicle / 2, pedicle / 2),
        (1.0, 1.0, max(1.0, tall)),
    )
    pars = (c + 0.5 * q.canal_depth, side * (half - 0.5 + 2 * low), (0.4 - 0.08 * low) * h)
    parts.capsule(Structure.ARCUS, ((c + 1, side * (lateral - 0.5), 0.04 * h), pars), (4.2 * k, 3.8 * k))
    lamina = style.lamina_mm
    height = style.lamina_height * (0.26 - 0.07 * low) * h / lamina
    parts.capsule(
        Structure.ARCUS,
        (
            (c + 0.42 * q.canal_depth, side * (half - 1), (0.37 - 0.06 * low) * h),
            (rear + lamina + 1, 0.0, (0.58 - 0.06 * low) * h),
        ),
        (lamina, lamina),
        (1.0, 1.0, max(1.0, height)),
    )
    start = half + pedicle + 1.5
    lift = rng.normal(0.05, 0.05) * h
    tip = (c + q.transverse_back, side * max(q.transverse_span, start + 6), lift)
    parts.capsule(
        Structure.COSTAL_LEFT if side == LEFT else Structure.COSTAL_RIGHT,
        ((c + 2, side * start, 0.03 * h), tip),
        (5.2 * k, 2.8 * k),
        (0.85, 1.0, 1.2),
    )


def _add_thoracic(rng: np.random.Generator, parts: _Parts, site: Site, style: BoneStyle, side: int) -> None:
    q, k = site.sizes, style.scale
    h, c, half, pedicle = q.height, q.canal_centre, q.canal_width / 2, q.pedicle_width
    lateral = half + pedicle / 2
    rear, lamina = c + q.canal_depth / 2, style.lamina_mm
    tall = max(1.0, q.pedicle_height / pedicle)
    parts.capsule(
        Structure.ARCUS,
        ((q.depth / 2 - 5, side * (lateral - 0.5), -0.2 * h), (c + 0.2 * q.canal_depth, side * lateral, -0.17 * h)),
        (pedicle / 2, pedicle / 2),
        (1.0, 1.0, tall),
    )
    height = style.lamina_height * 0.36 * h / lamina
    parts.capsule(
        Structure.ARCUS,
        ((c + 0.3 * q.canal_depth, side * (half + 1), 0.02 * h), (rear + lamina + 1, 0.0, 0.25 * h)),
        (lamina, lamina),
        (1.0, 1.0, max(1.0, height)),
    )
    tip = (c + q.transverse_back, side * q.transverse_span, rng.normal(-0.12, 0.06) * h)
    root = (c + 0.42 * q.canal_depth, side * (half + pedicle * 0.8), -0.08 * h)
    parts.capsule(_COSTAL[side], (root, tip), (4.3 * k, 4.7 * k), (0.9, 1.0, 1.2))


def _add_cervical(rng: np.random.Generator, parts: _Parts, site: Site, style: BoneStyle, side: int) -> None:
    q, k = site.sizes, style.scale
    h, c, half = q.height, q.canal_centre, q.canal_width / 2
    rear, lamina = c + q.canal_depth / 2, style.lamina_mm * 0.85
    pillar = half + 4.2 * k
    tall = max(1.0, q.pedicle_height / q.pedicle_width)
    mid = 0.1 * h if site.level.position == C2 else 0.0
    parts.capsule(
        Structure.ARCUS,
        ((q.depth / 2 - 5, side * (half - 3.5), mid), (c - 0.1 * q.canal_depth, side * (half + 2), mid)),
        (q.pedicle_width / 2, q.pedicle_width / 2),
        (1.0, 1.0, tall),
    )
    height = style.lamina_height * 0.36 * h / lamina if site.level.position > C2 else 0.28 * h / lamina
    parts.capsule(
        Structure.ARCUS,
        ((c + 0.1 * q.canal_depth, side * (half + 2), mid + 0.08 * h), (rear + lamina + 0.5, 0.0, mid + 0.24 * h)),
        (lamina, lamina),
        (1.0, 1.0, max(1.0, height)),
    )
    tip = (c + q.transverse_back, side * q.transverse_span, (0.12 + rng.normal(0, 0.05)) * h + mid)
    parts.capsule(
        _COSTAL[side],
        ((c - 0.25 * q.canal_depth, side * (pillar + 1), 0.05 * h + mid), tip),
        (3.0 * k, 2.7 * k),
        (1.0, 1.0, 1.1),
    )
    front = (q.depth / 2 - 5, side * (q.width / 2 + 3), 0.1 * h + mid)
    bar = capsule(parts.patch.points, (front, tip), (2.2 * k, 2.2 * k))
    parts.add(bar, _COSTAL[side], 0.2)
    parts.add(
        capsule(parts.patch.points, ((q.depth / 2 - 7, side * (q.width / 2 - 3), 0.1 * h + mid), front), (2.4 * k, 2.2 * k)),
        _COSTAL[side],
        0.2,
    )
    if site.level.position == C2:
        shoulder = (q.depth / 2 - 6, side * (q.width / 2 + 1), -0.32 * h)
        parts.add(ellipsoid(parts.patch.points, shoulder, (7 * k, 7.5 * k, 4.5 * k)), _SUPERIOR[side])


def _add_atlas(parts: _Parts, site: Site, style: BoneStyle, side: int) -> None:
    """The ring of C1: lateral masses, arches and transverse processes."""
    q, k = site.sizes, style.scale
    mass = (2.0, side * 17.5 * k, 0.0)
    parts.add(ellipsoid(parts.patch.points, mass, (9 * k, 6.5 * k, 8 * k)), Structure.ARCUS)
    rear = q.canal_centre + q.canal_depth / 2 + 4
    parts.capsule(
        Structure.ARCUS, ((4.0, side * 18 * k, 1.0), (rear - 6, side * 12 * k, 1.0)), (3.2 * k, 2.8 * k), (1.0, 1.0, 1.3)
    )
    parts.capsule(Structure.ARCUS, ((rear - 6, side * 12 * k, 1.0), (rear, 0.0, 1.0)), (2.8 * k, 3.4 * k), (1.0, 1.0, 1.4))
    front = -q.depth / 2 - 1.5
    parts.capsule(Structure.ARCUS, ((-1.0, side * 14 * k, 0.0), (front, 0.0, 0.0)), (3.4 * k, 3.4 * k), (0.9, 1.0, 1.5))
    parts.capsule(Structure.ARCUS, ((3.0, side * 22 * k, 0.0), (4.0, side * q.transverse_span, 1.0)), (3.8 * k, 3.0 * k))


def _add_facets(rng: np.random.Generator, parts: _Parts, site: Site, style: BoneStyle, side: int) -> None:
    """Superior and inferior articular processes, cut at the joint planes they share with their neighbours."""
    q, k, level = site.sizes, style.scale, site.level
    h, c, half = q.height, q.canal_centre, q.canal_width / 2
    jitter = factor(rng, 0.1)
    if site.above is not None and level.position > C2:
        joint = site.above
        shape, off = facet_shape(joint)
        if level.lumbar:
            lateral = half + q.pedicle_width / 2
            base: Point = (c + 0.38 * q.canal_depth, side * (lateral + 0.7), -0.04 * h)
            thick = 6.6 * k * jitter
        elif level.thoracic:
            base, thick = (c + 0.34 * q.canal_depth, side * (half + 1.0), -0.16 * h), 4.4 * k * jitter
        else:
            base, thick = (c - 0.08 * q.canal_depth, side * (half + 4.2 * k), 0.0), 5.2 * k * jitter
        end = joint.beside(-(thick * off + joint.gap_mm / 2), -0.35 * joint.half_mm, site.centre, side)
        distance = capsule(parts.patch.points, (base, end), (thick, thick * 0.86), shape)
        if level.lumbar:
            mammillary = (base[0] + 7.5 * k, side * (abs(base[1]) + 1.5), -0.16 * h)
            distance = np.minimum(distance, ellipsoid(parts.patch.points, mammillary, (6.8 * k, 5.6 * k, 7.8 * k)))
        cut = joint.height_above(parts.patch, site.centre, side) + np.float32(joint.gap_mm / 2)
        parts.add(np.maximum(distance, cut), _SUPERIOR[side])
    if site.below is not None:
        joint = site.below
        shape, off = facet_shape(joint)
        if level.lumbar:
            base, thick = (c + 0.4 * q.canal_depth, side * (joint.v - 4.5 * k), 0.52 * h), 7.4 * k * jitter
        elif level.thoracic or level.position == C7:
            base, thick = (c + 0.5 * q.canal_depth + 2.5, side * (joint.v - 1.5), 0.22 * h), 4.2 * k * jitter
        else:
            base, thick = (c + 0.08 * q.canal_depth, side * (half + 4.2 * k), 0.1 * h), 5.2 * k * jitter
        end = joint.beside(thick * off + joint.gap_mm / 2, 0.45 * joint.half_mm, site.centre, side)
        distance = capsule(parts.patch.points, (base, end), (thick, thick * 0.85), shape)
        cut = np.float32(joint.gap_mm / 2) - joint.height_above(parts.patch, site.centre, side)
        parts.add(np.maximum(distance, cut), _INFERIOR[side])
        parts.space |= (np.abs(cut - joint.gap_mm / 2) < joint.gap_mm / 2 + 0.3) & (distance < 1.5)


def _add_spinous(rng: np.random.Generator, parts: _Parts, site: Site, style: BoneStyle) -> None:
    q = site.sizes
    if site.level.position == C1:
        return
    angle = np.deg2rad(q.spinous_angle)
    rear = q.canal_centre + q.canal_depth / 2 + style.lamina_mm + 1.5
    drop = (rng.normal(0.54, 0.05) if site.level.lumbar else 0.3) * q.height
    root: Point = (rear, 0.0, drop)
    tip: Point = (
        rear + q.spinous_length * float(np.cos(angle)),
        float(rng.normal(0, 1.3)),
        drop + q.spinous_length * float(np.sin(angle)),
    )
    thick = q.spinous_thickness / 2
    tall = max(1.0, q.spinous_height / 2 / thick)
    blade = capsule(parts.patch.points, (root, tip), (thick * 0.85, thick * rng.uniform(0.95, 1.25)), (1.0, 1.0, tall))
    parts.add(blade, Structure.SPINOUS, 0.2)
    if site.level.cervical and site.level.position < C7 and rng.random() < 0.7:
        for side in (LEFT, RIGHT):
            end: Point = (tip[0] + 3, side * 5.0, tip[2] + 1)
            middle: Point = (tip[0] - 3, 0.0, tip[2])
            parts.add(capsule(parts.patch.points, (middle, end), (thick * 0.7, thick * 0.7)), Structure.SPINOUS, 0.2)
