"""The spinal canal of a phantom: dural sac, cord, cauda equina and nerve roots."""

from __future__ import annotations

import numpy as np

from spineps.geometry import FloatArray
from spineps.labels import POSTERIOR, Structure
from spineps.phantom.canvas import Canvas, Mask, Patch
from spineps.phantom.curve import RUN_OUT_MM, STEP_MM, Stack
from spineps.phantom.disease import Disease
from spineps.phantom.fields import factor
from spineps.phantom.morphometry import C1, C2, C7, L1, T1, Profile
from spineps.phantom.tissues import Tissue

_COVERED = (Structure.BACKGROUND, *POSTERIOR, Structure.SACRUM)
"""What the sac may take the place of."""
_EPIDURAL_MM = (2.0, 2.4)
"""Gaps of up to so much between the sac and the bone beside and behind it belong to the canal label; where there is more fat,
the label draws back to the sac, so that it ends where an image shows an edge."""
_LABEL_TOP_MM = 7.0
"""The canal label begins so far above C1, wherever fluid and cord go on to."""
_DURA_MM = 0.8
"""How far the canal label reaches beyond the sac all around: such masks touch the bodies, the pedicles and the laminae."""


def _grid(canvas: Canvas) -> Profile:
    """Places of the centreline's samples along the curve, in mm."""
    return np.arange(len(canvas.line.points), dtype=np.float64) * STEP_MM - RUN_OUT_MM


def paint_canal(rng: np.random.Generator, canvas: Canvas, disease: Disease, scale: float, drift: Profile) -> None:
    """Paint the dural sac from above C1 to the sacrum with the cord in it (cord label).

    The canal label covers the sac, the dura around it and a rim of the fat behind it. Masks of the published scheme do
    so: from T12 to L3 the label is half as wide again as deep, touches the bodies and the pedicles, and is as deep between
    the laminae as in front of them.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    canvas : Canvas
        With bones and discs painted.
    disease : Disease
        For stenoses.
    scale : float
        Stature.
    drift : ndarray
        How far the canal's course runs in front of the vertebrae's (mm), along the centreline: a slipped vertebra does
        not break the canal.
    """
    stack = canvas.stack
    ceiling = float(stack.top[C1] - rng.uniform(0, 14))
    floor = float(stack.sacrum_top + rng.uniform(0.15, 0.5) * (stack.sacrum_end - stack.sacrum_top))
    label_top = float(stack.top[C1]) - _LABEL_TOP_MM
    patch = canvas.patch((ceiling - 14, floor), (-4, 60), (-22 * scale - 4, 22 * scale + 4), 0.0)
    if patch.index.size == 0:
        return
    sac, centre, around = _sac(rng, canvas, patch, disease, (floor, drift))
    covered = np.zeros(256, dtype=np.bool_)
    covered[list(_COVERED)] = True
    narrow = rng.random() < 0.5
    if narrow:
        covered[Structure.DISC] = disease.stenosis.max() > 0
    inside = (sac < 1) & covered[canvas.semantic.reshape(-1)[patch.index]]
    dura = patch.where((sac >= 1) & (sac < 1.22) & canvas.free(patch) & (patch.w > ceiling))
    if rng.random() < 0.9:
        canvas.fill(dura, Tissue.LIGAMENT)
    cord, grey, conus = _cord(rng, canvas, patch, centre, scale)
    cord &= inside
    canvas.fill(patch.where(inside), Tissue.CSF)
    _paint_flow_voids(rng, canvas, patch, inside & ~cord, centre)
    _paint_cauda(rng, canvas, patch, inside & ~cord & (patch.w > conus - 35), (centre, conus))
    canvas.fill(patch.where(cord), Tissue.CORD)
    canvas.fill(patch.where(cord & grey), Tissue.CORD_GREY)
    named = (inside | (around & canvas.free(patch))) & (patch.w > label_top)
    canvas.label(patch.where(named), Structure.CANAL, 0)
    canvas.label(patch.where(named & cord), Structure.CORD, 0)


def _sac(
    rng: np.random.Generator, canvas: Canvas, patch: Patch, disease: Disease, course: tuple[float, Profile]
) -> tuple[FloatArray, FloatArray, Mask]:
    """Squared relative radius in the dural sac (below 1 inside), its centre's ``u``, and the space around it."""
    stack, grid = canvas.stack, _grid(canvas)
    floor, drift = course
    deep, wide, body = (stack.profile(name) for name in ("canal_depth", "canal_width", "depth"))
    deep = deep * rng.uniform(0.7, 0.9)
    wide = wide * rng.uniform(0.84, 1.0)
    lumbar = float(np.interp(L1, stack.positions, stack.centre))
    lean = np.interp(grid, (lumbar, lumbar + 60, stack.sacrum_top + 20), (1.0, rng.uniform(0.78, 1.0), rng.uniform(0.6, 0.9)))
    taper = np.sqrt(np.clip((floor - grid) / 25, 0.01, 1))
    squeeze = np.ones_like(grid)
    for lower, disc, amount in zip(stack.bottom, stack.sizes.disc, disease.stenosis, strict=True):
        squeeze -= amount * np.exp(-(((grid - lower - disc / 2) / 5) ** 2))
    squeeze = np.clip(squeeze, 0.35, 1)
    full = deep * lean * taper * squeeze
    front = body / 2 - 0.2 + (stack.profile("canal_depth") - deep * lean) * rng.uniform(0.05, 0.5)
    front = front + (1 - squeeze) * deep * 0.5
    centre = patch_profile(front + full / 2 - drift, patch)
    half_deep = patch_profile(np.maximum(full / 2, 0.6), patch)
    half_wide = patch_profile(np.maximum(wide * lean * taper * np.sqrt(squeeze) / 2, 0.8), patch)
    radius: FloatArray = ((patch.u - centre) / half_deep) ** 2 + (patch.v / half_wide) ** 2
    return radius, centre, _epidural(stack, patch, (centre, half_deep, half_wide))


def _epidural(stack: Stack, patch: Patch, sac: tuple[FloatArray, FloatArray, FloatArray]) -> Mask:
    """The space around the sac: its outline widened by the dura, and on to the bony canal where that is near."""
    centre, half_deep, half_wide = sac
    deep, wide, body = (patch_profile(stack.profile(name) / 2, patch) for name in ("canal_depth", "canal_width", "depth"))
    bony = ((patch.u - body - deep + np.float32(0.4)) / deep) ** 2 + (patch.v / wide) ** 2 < 1
    beside, behind = (mm * (patch.w < stack.sacrum_top) for mm in _EPIDURAL_MM)
    backwards = patch.u - centre
    backwards -= np.clip(backwards, 0, _filled(body + 2 * deep - centre - half_deep, behind))
    sideways = half_wide + _filled(wide - half_wide, beside)
    near: Mask = bony & ((backwards / half_deep) ** 2 + (patch.v / sideways) ** 2 < 1)
    rim = np.float32(_DURA_MM)
    around: Mask = ((patch.u - centre) / (half_deep + rim)) ** 2 + (patch.v / (half_wide + rim)) ** 2 < 1
    return near | around


def _filled(gap: FloatArray, narrow: FloatArray) -> FloatArray:
    """How much of a gap the label takes: all of a narrow one, nothing of one twice as wide."""
    filled: FloatArray = np.maximum(np.minimum(gap, 2 * narrow - gap), 0)
    return filled


def patch_profile(values: Profile, patch: Patch) -> FloatArray:
    """A profile along the whole curve, at the voxels of a patch whose ``w`` counts from the curve's origin."""
    grid = np.arange(len(values)) * STEP_MM - RUN_OUT_MM
    out: FloatArray = np.interp(patch.w, grid, values).astype(np.float32)
    return out


def _cord(rng: np.random.Generator, canvas: Canvas, patch: Patch, centre: FloatArray, scale: float) -> tuple[Mask, Mask, float]:
    """Where the cord and its grey matter are, and where it ends."""
    stack = canvas.stack
    places = {level: float(np.interp(level, stack.positions, stack.centre)) for level in (C1, C2 + 3, T1 + 1, 16, 18, 19)}
    conus = places[19] + float(rng.uniform(-30, 26))
    size = scale**0.5 * factor(rng, 0.08)
    knots = (places[C1] - 40, places[C1], places[C2 + 3], places[T1 + 1], places[16], places[18], conus - 22, conus)
    knots = tuple(np.maximum.accumulate(knots))
    half_wide = np.interp(patch.w, knots, np.array((7.5, 6, 7, 5, 4.5, 4.9, 4.2, 0.5)) * size)
    flat = np.interp(patch.w, (places[C1], places[T1 + 1], conus), (0.68, 0.8, 0.95))
    shift = np.interp(
        patch.w,
        knots,
        (0, 0, rng.uniform(-1, 1), rng.uniform(-2, 0.5), rng.uniform(-2, 0.5), rng.uniform(-1, 1.5), rng.uniform(0, 3), 2.0),
    )
    radius = ((patch.u - centre - shift) / (half_wide * flat)) ** 2 + ((patch.v - rng.normal(0, 0.5)) / half_wide) ** 2
    cord: Mask = (radius < 1) & (patch.w < conus)
    grey: Mask = (radius < 0.3) & (np.abs(patch.v) > 0.3) if rng.random() < 0.5 else np.zeros_like(cord)
    return cord, grey, conus


def _paint_flow_voids(rng: np.random.Generator, canvas: Canvas, patch: Patch, fluid: Mask, centre: FloatArray) -> None:
    """Dark spots of moving cerebrospinal fluid, behind the thoracic cord above all."""
    if rng.random() > 0.35:
        return
    wave = canvas.noise(rng, 9.0).reshape(-1)[patch.index]
    behind = patch.u > centre if rng.random() < 0.7 else patch.u > -100
    canvas.fill(patch.where(fluid & behind & (wave > rng.uniform(0.5, 1.4))), Tissue.VESSEL_DARK)


def _paint_cauda(rng: np.random.Generator, canvas: Canvas, patch: Patch, place: Mask, course: tuple[FloatArray, float]) -> None:
    """The cauda equina: strands of nerve roots that lie at the back of the sac, densely below the cord, then fewer."""
    if rng.random() > 0.92:
        return
    centre, conus = course
    back = rng.uniform(0, 3.5)
    bundle = ((patch.u - centre - back) / rng.uniform(2.8, 6)) ** 2 + (patch.v / rng.uniform(5, 10)) ** 2 < 1
    wave = canvas.noise(rng, 22.0).reshape(-1)[patch.index]
    strands = np.cos(patch.u * rng.uniform(1, 2.2) + wave) * np.cos(patch.v * rng.uniform(0.7, 1.6) - wave)
    sparse = rng.uniform(-0.2, 0.6)
    dense = np.interp(patch.w - conus, (-20, 10, rng.uniform(40, 140)), (sparse, sparse - rng.uniform(0, 1.2), sparse))
    canvas.fill(patch.where(place & bundle & (strands > dense)), Tissue.NERVE_ROOT)


def paint_vertebral_arteries(rng: np.random.Generator, canvas: Canvas) -> None:
    """The arteries that run up through the transverse processes of C6 to C1."""
    stack = canvas.stack
    stop = float(np.interp(C7, stack.positions, stack.top))
    patch = canvas.patch((stack.top[C1] - 4, stop), (-12, 22), (-34, 34), 0.0)
    if patch.index.size == 0:
        return
    patch = patch.where(canvas.free(patch))
    half_deep, half_wide = (patch_profile(stack.profile(name) / 2, patch) for name in ("depth", "canal_width"))
    for side in (-1, 1):
        radius, out = rng.uniform(1.4, 2.8), rng.uniform(4.5, 7)
        near = (patch.u - half_deep + 1) ** 2 + (side * patch.v - half_wide - np.float32(out)) ** 2
        canvas.fill(patch.where(near < (radius + 1) ** 2), Tissue.DEEP_FAT)
        canvas.fill(patch.where(near < radius**2), Tissue.VESSEL_DARK)


def paint_roots(rng: np.random.Generator, canvas: Canvas) -> None:
    """Nerve roots in the fat of the foramina."""
    stack = canvas.stack
    for index, level in enumerate(stack.levels):
        if level.position <= C2:
            continue
        q = stack.sizes.of(index)
        exit_ = float(stack.bottom[index]) + (0.3 * q.disc if level.position <= C7 else -0.08 * q.height)
        start, reach = q.canal_width / 2 - 1, q.canal_width / 2 + rng.uniform(12, 30)
        patch = canvas.patch((exit_ - 8, exit_ + 14), (q.depth / 2 - 14, q.depth / 2 + 16), (-reach, reach), exit_)
        if patch.index.size == 0:
            continue
        lateral = np.abs(patch.v) - start
        course = 0.3 * lateral if level.position > C7 else 0.15 * lateral
        forward = 0.12 * lateral if level.position > C7 else 0.35 * lateral
        near = (patch.u - np.float32(q.depth / 2 + rng.uniform(2.5, 5)) + forward) ** 2 + (patch.w - course) ** 2 < rng.uniform(
            3, 8
        )
        canvas.fill(patch.where(near & (lateral > 0) & canvas.free(patch)), Tissue.NERVE_ROOT)
