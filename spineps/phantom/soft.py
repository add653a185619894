"""Ligaments, fat and ribs close to the spine of a phantom."""

from __future__ import annotations

import numpy as np

from spineps.geometry import FloatArray
from spineps.phantom.canvas import Canvas
from spineps.phantom.fields import Point, capsule, single
from spineps.phantom.morphometry import C1, T1, T12, Level, Sizes, Variant
from spineps.phantom.tissues import Tissue
from spineps.phantom.vertebra import LEFT, RIGHT


def paint_soft_tissue(rng: np.random.Generator, canvas: Canvas) -> None:
    """Paint interspinous tissue, epidural and foraminal fat, ligaments along the spine and between the laminae."""
    stack = canvas.stack
    half = single(canvas.along(stack.profile("depth")) / 2)
    deep, wide = canvas.along(stack.profile("canal_depth")) / 2, canvas.along(stack.profile("canal_width")) / 2
    middle = half + deep - np.float32(0.4)
    low = stack.sacrum_top + 0.85 * (stack.sacrum_end - stack.sacrum_top)
    spine = (canvas.s > np.float32(stack.top[C1] - 4)) & (canvas.s < np.float32(low))
    lateral = np.abs(canvas.v)
    behind = single(canvas.u - middle - deep)
    length = canvas.along(stack.profile("spinous_length"))
    length = single(np.where(canvas.s < np.float32(stack.sacrum_top + 5), length, 4))
    _paint_interspinous(rng, canvas, (behind, length))
    ring = ((canvas.u - middle) / (deep + 1.5)) ** 2 + (canvas.v / (wide + 1.5)) ** 2
    canvas.tissue[(ring < 1.3) & spine] = Tissue.EPIDURAL_FAT if rng.random() < 0.85 else Tissue.LIGAMENT
    reach = np.float32(rng.uniform(9, 20)) + 4 * canvas.noise(rng, 9.0)
    oval = ((canvas.u - middle + 1) / (deep * 1.05)) ** 2 + (np.maximum(lateral - wide, 0) / reach) ** 2
    foramen = (oval < 1) & (lateral > wide)
    foramen &= (canvas.level > 1) & (canvas.s < np.float32(stack.sacrum_top - 2))
    canvas.tissue[foramen] = Tissue.EPIDURAL_FAT if rng.random() < 0.7 else Tissue.DEEP_FAT
    flavum = (canvas.u > middle + 0.55 * deep) & (behind < 4) & (lateral < wide + 2) & (ring > 1) & spine
    canvas.tissue[flavum & (canvas.noise(rng, 5.0) < 0.8)] = Tissue.LIGAMENT
    if rng.random() < 0.6:
        pad = (ring > 1) & (ring < 2.2) & (canvas.u > middle + 0.5 * deep) & (lateral < rng.uniform(2, 6)) & spine
        canvas.tissue[pad] = Tissue.EPIDURAL_FAT


def _paint_interspinous(rng: np.random.Generator, canvas: Canvas, reach: tuple[FloatArray, FloatArray]) -> None:
    behind, length = reach
    sheet = (np.abs(canvas.v) < rng.uniform(1.5, 4)) & (behind > 0) & (behind < length + 3 + 2 * canvas.noise(rng, 9.0))
    sheet &= canvas.s < np.float32(canvas.stack.sacrum_end)
    choices = (Tissue.LIGAMENT, Tissue.SUBCUTANEOUS_FAT, Tissue.DEEP_FAT, Tissue.MUSCLE)
    canvas.tissue[sheet] = choices[int(rng.choice(4, p=(0.38, 0.12, 0.2, 0.3)))]
    patchy = sheet & (canvas.noise(rng, 5.0) > rng.uniform(0, 2.0))
    canvas.tissue[patchy] = Tissue.SUBCUTANEOUS_FAT if rng.random() < 0.75 else Tissue.LIGAMENT
    if rng.random() < 0.6:
        streaks = sheet & (canvas.noise(rng, 2.0) > rng.uniform(-0.3, 1.0))
        canvas.tissue[streaks] = (Tissue.LIGAMENT, Tissue.DEEP_FAT)[int(rng.integers(2))]
    if rng.random() < 0.15:
        canvas.tissue[sheet & (canvas.noise(rng, 9.0) > 1.2)] = Tissue.FLUID
    if rng.random() < 0.8:
        cord = (np.abs(canvas.v) < 2.5) & (np.abs(behind - length - 5) < 1.6)
        canvas.tissue[cord] = Tissue.LIGAMENT


def paint_ribs(
    rng: np.random.Generator, canvas: Canvas, placed: tuple[Level, Sizes, float], variant: Variant, scale: float
) -> None:
    """Paint the ribs of a thoracic vertebra, past the transverse process and around; unlabelled.

    Heads meet the disc above and both its vertebrae, the first and the last two (and a thirteenth) their own body alone
    (Gray's Anatomy).
    """
    level, q, centre = placed
    last = level.position >= T12
    if not level.thoracic or (variant is Variant.NO_T12_RIB and last):
        return
    length = 0.35 if last else 1.0
    height = -0.2 if level.position in {T1, T12 - 1} or last else -0.5
    for side in (LEFT, RIGHT):
        if last and rng.random() < 0.15:
            continue
        limits = (-20.0, 130.0) if side == RIGHT else (-130.0, 20.0)
        patch = canvas.patch((centre - q.height, centre + 75), (-95, q.canal_centre + q.transverse_back + 25), limits, centre)
        if patch.index.size == 0:
            continue
        tubercle = q.canal_centre + q.transverse_back - 9 * scale
        head: Point = (q.depth / 2 - 5, side * (q.width / 2 + 2.5), height * q.height)
        neck: Point = (tubercle, side * (q.transverse_span - 2), -0.16 * q.height)
        angle: Point = (tubercle + 6, side * (q.transverse_span + 30 * length), 10 * length + 2)
        flank: Point = (-20.0, side * 112.0 * scale, 38.0)
        front: Point = (-90.0, side * 105.0 * scale, 66.0)
        bone = np.minimum(
            capsule(patch.points, (head, neck), (4.0 * scale, 3.5 * scale)),
            capsule(patch.points, (neck, angle), (3.5 * scale, 3.3 * scale), (1.0, 1.0, 1.5)),
        )
        if not last:
            bone = np.minimum(bone, capsule(patch.points, (angle, flank), (3.3 * scale, 3.0 * scale), (1.0, 1.0, 1.6)))
            bone = np.minimum(bone, capsule(patch.points, (flank, front), (3.0 * scale, 3.0 * scale), (1.0, 1.0, 1.6)))
        between = (bone > 0) & (bone < rng.uniform(3, 6)) & (np.abs(patch.v) > q.transverse_span)
        canvas.fill(patch.where(between & canvas.free(patch)), Tissue.MUSCLE)
        rib = (bone < 0) & canvas.free(patch)
        canvas.fill(patch.where(rib), Tissue.RIB)
        canvas.fill(patch.where(rib & (bone > -1)), Tissue.CORTICAL_BONE)
