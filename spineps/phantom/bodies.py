"""Vertebral bodies, discs and endplates of a phantom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import FloatArray
from spineps.labels import DISC_OFFSET, ENDPLATE_OFFSET, SACRUM_INSTANCE, Structure
from spineps.phantom.canvas import Canvas, Mask, Patch
from spineps.phantom.disease import Disease, Node
from spineps.phantom.fields import capsule, single
from spineps.phantom.morphometry import C1, C2, Level, Sizes
from spineps.phantom.tissues import Tissue
from spineps.phantom.vertebra import BoneStyle

DENS_MM: Final = 15.0
"""How far the dens rises above the body of C2."""
_PLATE_AT_DISC: Final = 0.6
"""Share of an endplate's half thickness on the side of the disc that is labelled endplate; the rest is labelled disc."""


@dataclass(frozen=True, slots=True)
class BodyStyle:
    """How one person's bodies, discs and endplates look.

    Parameters
    ----------
    squareness : float
        Exponent of the bodies' cross-section (2: an ellipse).
    waist, notch, spur : float
        Relative narrowing at mid-height, hollow of the rear wall, osteophytes at the edges.
    concavity_mm : float
        Depth of the plates' hollow in the lumbar spine.
    endplate_mm : float
        Thickness of endplates.
    rim_mm : tuple of 3 float
        Thickness of the dark rim outside of bodies and discs (cortex beyond the label, periosteum, long ligaments): in
        front, at the sides, behind.
    nucleus : float
        Relative radius of the nucleus of discs.
    dark_nucleus_at : float
        Degeneration from which on a nucleus looks like the annulus.
    """

    squareness: float
    waist: float
    notch: float
    spur: float
    concavity_mm: float
    endplate_mm: float
    rim_mm: tuple[float, float, float]
    nucleus: float
    dark_nucleus_at: float


def draw_body_style(rng: np.random.Generator, scale: float) -> BodyStyle:
    """One person's body style."""
    return BodyStyle(
        squareness=rng.uniform(2.1, 3.2),
        waist=rng.uniform(0.01, 0.1),
        notch=rng.uniform(0, 0.12),
        spur=rng.uniform(0, 0.12) if rng.random() < 0.4 else 0.0,
        concavity_mm=rng.uniform(0.6, 3.8) * scale,
        endplate_mm=rng.uniform(1.0, 1.6),
        rim_mm=(rng.uniform(0.3, 2.6), rng.uniform(0.2, 2.0), rng.uniform(0.2, 1.2)),
        nucleus=rng.uniform(0.5, 0.8),
        dark_nucleus_at=rng.uniform(0.5, 1.0),
    )


@dataclass(frozen=True, slots=True)
class Look:
    """Everything about one person's bones that is not size."""

    bone: BoneStyle
    body: BodyStyle
    disease: Disease


@dataclass(frozen=True, slots=True)
class Block:
    """One vertebral body (or the first of the sacrum) in its place along the curve.

    Parameters
    ----------
    index : int
        Its place in the spine.
    level : Level or None
        Which vertebra; None for S1.
    sizes : Sizes
        Its sizes.
    centre : float
        Its middle along the curve.
    """

    index: int
    level: Level | None
    sizes: Sizes
    centre: float

    @property
    def instance(self) -> int:
        """Its id in instance masks."""
        return self.level.instance if self.level is not None else SACRUM_INSTANCE


def cross_section(
    u: FloatArray, v: FloatArray, half: tuple[FloatArray | float, FloatArray | float], style: BodyStyle
) -> FloatArray:
    """Relative radius in a body's cross-section: 1 on its wall; the rear wall is hollowed."""
    a = np.abs(v) / np.asarray(half[1], dtype=np.float32)
    b = u / np.asarray(half[0], dtype=np.float32)
    b = np.where(u > 0, b * (1 + np.float32(style.notch) * np.exp(-4 * a * a)), -b)
    power = np.float32(style.squareness)
    return single((b**power + a**power) ** np.float32(1 / style.squareness))


def upper_plate(patch: Patch, block: Block, look: Look) -> FloatArray:
    """How far the upper plate lies below the body's centre (negative: above), in mm, at each voxel."""
    q, style, disease = block.sizes, look.body, look.disease
    hollow = _hollow(patch, q, style)
    level = block.level.position if block.level is not None else 24.0
    height = np.float32(-q.height / 2) + np.float32(0.7 * _concavity(style, level)) * hollow
    if block.level is not None:
        loss, central = disease.anterior_loss[block.index], disease.central_loss[block.index]
        front = np.clip(np.float32(0.5) - patch.u * np.float32(1 / q.depth), 0, 1)
        height += np.float32(loss * q.height) * front + np.float32(0.6 * central * q.height) * hollow
        height += _dent(patch, disease.upper_nodes[block.index])
        if block.level.cervical and level > C2:
            edge = np.clip(np.abs(patch.v) * np.float32(2 / q.width), 0, 1)
            height -= np.float32(0.2 * q.height) * edge**4
    plate: FloatArray = height
    return plate


def lower_plate(patch: Patch, block: Block, look: Look) -> FloatArray:
    """How far the lower plate lies below the body's centre, in mm, at each voxel."""
    q, style, disease = block.sizes, look.body, look.disease
    hollow = _hollow(patch, q, style)
    level = block.level.position if block.level is not None else 24.0
    height = np.float32(q.height / 2) - np.float32(_concavity(style, level)) * hollow
    height -= np.float32(0.4 * disease.central_loss[block.index] * q.height) * hollow
    height -= _dent(patch, disease.lower_nodes[block.index])
    plate: FloatArray = height
    return plate


def _concavity(style: BodyStyle, level: float) -> float:
    """Depth of the plates' hollow at a level, in mm."""
    return style.concavity_mm * float(np.interp(level, (2, 7, 12, 19, 24), (0.25, 0.4, 0.55, 1.0, 0.6)))


def _hollow(patch: Patch, q: Sizes, style: BodyStyle) -> FloatArray:
    radius = cross_section(patch.u, patch.v, (q.depth / 2, q.width / 2), style)
    hollow: FloatArray = np.clip(1 - radius * radius, 0, 1)
    return hollow


def _dent(patch: Patch, node: Node | None) -> FloatArray | float:
    if node is None:
        return 0.0
    square = (patch.u - np.float32(node.u)) ** 2 + (patch.v - np.float32(node.v)) ** 2
    dent: FloatArray = np.float32(node.depth) * np.exp(-square * np.float32(0.5 / node.width**2))
    return dent


def paint_body(rng: np.random.Generator, canvas: Canvas, block: Block, look: Look) -> None:
    """Paint one vertebral body with its marrow, cortex, vein and lesions; C2 with its dens.

    Labels end within the dark line around the marrow, at its inner edge in front and at the sides, in its middle behind,
    as those drawn in MRI do.
    """
    q, level, style, scale = block.sizes, block.level, look.body, look.bone.scale
    if level is None or level.position == C1:
        return
    top = q.height / 2 + (DENS_MM * scale + 4 if level.position == C2 else 4)
    reach = (0.62 * q.depth + 2, 0.62 * q.width + 2)
    patch = canvas.patch(
        (block.centre - top, block.centre + q.height / 2 + 4), (-reach[0], reach[0]), (-reach[1], reach[1]), block.centre
    )
    if patch.index.size == 0:
        return
    relative = np.clip(np.abs(patch.w) * np.float32(2 / q.height), 0, 1.2)
    stretch = single((1 - style.waist * (1 - np.minimum(1, relative**2))) * (1 + style.spur * relative**3))
    radius = cross_section(patch.u, patch.v, (single(q.depth / 2 * stretch), single(q.width / 2 * stretch)), style)
    half = np.float32(style.endplate_mm / 2)
    inside = (radius < 1) & (patch.w < lower_plate(patch, block, look) - half)
    upper = upper_plate(patch, block, look)
    depth = (1 - radius) * np.float32(min(q.depth, q.width) / 2)
    if level.position == C2:
        inside &= patch.w > upper
        dens = -capsule(
            patch.points,
            ((0.0, 0.0, -0.2 * q.height), (0.0, 0.0, -q.height / 2 - (DENS_MM - 5) * scale)),
            (5.2 * scale, 5.0 * scale),
        )
        depth = np.where(inside, np.maximum(depth, dens), dens)
        inside |= dens > 0
    else:
        inside &= patch.w > upper + half
    free = canvas.free(patch)
    _paint_rim(canvas, patch, depth, (~inside & free & (relative < 1), style, bool(rng.random() < 0.5)))
    inside &= free
    body, depth = patch.where(inside), depth[inside]
    canvas.fill(body, _marrow(rng, canvas, (body, depth), block, look))
    canvas.label(body, Structure.CORPUS, level.instance)


def _paint_rim(canvas: Canvas, patch: Patch, depth: FloatArray, place: tuple[Mask, BodyStyle, bool]) -> None:
    """Paint the dark rim outside of a body or a disc, where ``depth`` (mm) below its wall is negative.

    ``place``: where it may be, how thick it is, and whether it is as dark as bone.
    """
    where, style, bony = place
    front, side, rear = (np.float32(mm) for mm in style.rim_mm)
    out = np.hypot(patch.u, patch.v) + np.float32(1e-3)
    along = patch.u / out
    thick = side + np.where(along < 0, front - side, rear - side) * along * along
    rim = where & (depth <= 0) & (depth > -thick)
    canvas.fill(patch.where(rim), Tissue.CORTICAL_BONE if bony else Tissue.LIGAMENT)


def _marrow(
    rng: np.random.Generator, canvas: Canvas, place: tuple[Patch, FloatArray], block: Block, look: Look
) -> NDArray[np.uint8]:
    """Tissues of a body's voxels; ``place``: them and their depth below its wall."""
    (body, depth), q, disease = place, block.sizes, look.disease
    backwards = np.clip(body.u / (np.hypot(body.u, body.v) + np.float32(1e-3)), 0, 1)
    near = depth < look.bone.cortex_mm * rng.uniform(0.1, 0.6) * (1 + backwards)
    tissue = np.where(near, np.uint8(Tissue.CORTICAL_BONE), np.uint8(Tissue.BODY_MARROW))
    if rng.random() < 0.75:
        vein = (body.u > q.depth * 0.05) & (np.abs(body.w) < q.height * 0.09) & (np.abs(body.v) < q.width * 0.16)
        tissue[vein] = Tissue.BASIVERTEBRAL_VEIN
    if disease.lesion[block.index]:
        u, v, w = rng.uniform(-0.3, 0.3) * q.depth, rng.uniform(-0.3, 0.3) * q.width, rng.uniform(-0.4, 0.4) * q.height
        round_ = (body.u - u) ** 2 + (body.v - v) ** 2 + (body.w - w) ** 2 < rng.uniform(3, 9) ** 2
        tissue[round_ & ~near] = Tissue.LESION
    if disease.modic[block.index]:
        band = body.w * disease.modic[block.index] > q.height / 2 - rng.uniform(4, 9)
        patchy = canvas.noise(rng, 9.0).reshape(-1)[body.index] > -0.3
        tissue[band & ~near & patchy] = Tissue.LESION
    return tissue


def paint_disc(rng: np.random.Generator, canvas: Canvas, pair: tuple[Block, Block], look: Look) -> None:
    """Paint the disc between two bodies and the endplates at it, which both carry the disc's level as instance."""
    upper, lower = pair
    q, p, style, disease = upper.sizes, lower.sizes, look.body, look.disease
    low_edge, high_edge = upper.centre + q.height / 2, lower.centre - p.height / 2
    margin = 0.5 * min(q.height, p.height)
    reach = (0.36 * (q.depth + p.depth), 0.36 * (q.width + p.width))
    patch = canvas.patch((low_edge - margin, high_edge + margin), (-reach[0], reach[0]), (-reach[1], reach[1]), low_edge)
    if patch.index.size == 0:
        return
    worn = disease.degeneration[upper.index]
    bulge = 1 + 0.12 * worn * rng.random()
    top = lower_plate(patch, upper, look) + np.float32(upper.centre - low_edge)
    bottom = upper_plate(patch, lower, look) + np.float32(lower.centre - low_edge)
    radius = cross_section(patch.u, patch.v, ((q.depth + p.depth) / 4 * bulge, (q.width + p.width) / 4 * bulge), style)
    free = canvas.free(patch)
    half = np.float32(style.endplate_mm / 2)
    lip = half * _PLATE_AT_DISC
    inside = (radius < 1) & (patch.w > top + lip) & (patch.w < bottom - lip) & free
    if disease.fused[upper.index]:
        _paint_block(
            canvas, patch, inside & (radius < 0.5), (radius < 0.97) & (patch.w > top - half) & (patch.w < bottom + half), pair
        )
        return
    between = ~inside & free & (patch.w > top) & (patch.w < bottom)
    wall = (1 - radius) * np.float32(min(q.depth, p.depth) / 2)
    _paint_rim(canvas, patch, wall, (between, style, False))
    disc = patch.where(inside)
    thickness = np.maximum(bottom - top, 0.5)[inside]
    layers = _Layers(radius[inside], (disc.w - top[inside]) / thickness, thickness)
    canvas.fill(disc, _disc_tissue(rng, canvas, disc, layers, (style, worn)))
    canvas.label(disc, Structure.DISC, DISC_OFFSET + upper.instance)
    owner = ENDPLATE_OFFSET + upper.instance
    for down, structure in ((patch.w - top, Structure.ENDPLATE_INFERIOR), (bottom - patch.w, Structure.ENDPLATE_SUPERIOR)):
        plate = (radius < 1) & (down >= -half) & free
        canvas.fill(patch.where(plate & (down <= half)), Tissue.ENDPLATE)
        canvas.label(patch.where(plate & (down <= lip)), structure, owner)


def _paint_block(canvas: Canvas, patch: Patch, remnant: Mask, bone: Mask, pair: tuple[Block, Block]) -> None:
    """A block of two vertebrae: bone where the disc's rim was, with a remnant of the disc in its middle."""
    upper, lower = pair
    bone = bone & canvas.free(patch)
    middle = np.float32((lower.centre - lower.sizes.height / 2 - upper.centre - upper.sizes.height / 2) / 2)
    for half, block in ((patch.w < middle, upper), (patch.w >= middle, lower)):
        part = patch.where(bone & half)
        canvas.fill(part, Tissue.BODY_MARROW if block.level is not None else Tissue.SACRAL_MARROW)
        canvas.label(part, Structure.CORPUS if block.level is not None else Structure.SACRUM, block.instance)
    disc = patch.where(remnant)
    canvas.fill(disc, Tissue.ANNULUS)
    canvas.label(disc, Structure.DISC, DISC_OFFSET + upper.instance)


@dataclass(frozen=True, slots=True, eq=False)
class _Layers:
    """Where in a disc voxels lie: relative radius, relative height, and the disc's height there in mm."""

    radius: FloatArray
    relative: FloatArray
    thickness: FloatArray


def _disc_tissue(
    rng: np.random.Generator, canvas: Canvas, disc: Patch, layers: _Layers, wear: tuple[BodyStyle, float]
) -> NDArray[np.uint8]:
    """Annulus, nucleus and the dark cleft through the nucleus."""
    radius, relative, thickness = layers.radius, layers.relative, layers.thickness
    style, worn = wear
    tissue = np.full(radius.shape, Tissue.ANNULUS, dtype=np.uint8)
    wobble = 0.06 * canvas.noise(rng, 5.0).reshape(-1)[disc.index]
    edge = 0.12 * (0.35 + 0.65 * worn)
    core = (radius < style.nucleus + wobble) & (np.minimum(relative, 1 - relative) > edge)
    if worn < style.dark_nucleus_at:
        tissue[core] = Tissue.NUCLEUS
        if rng.random() < 0.35:
            cleft = (np.abs(relative - 0.5) * thickness < 0.8) & (radius < 0.8 * style.nucleus)
            tissue[cleft] = Tissue.NUCLEAR_CLEFT
    elif rng.random() < 0.15:
        tissue[core & (np.abs(relative - 0.5) < 0.2)] = Tissue.FLUID
    return tissue
