"""What surrounds the spine of a phantom: the trunk's outline, muscles, fat, cavities with their organs, vessels.

Nothing here carries a label. It matters all the same: a network that has seen nothing in front of a spine finds vertebrae
there.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import ndimage

from spineps.geometry import FloatArray
from spineps.phantom.canvas import Canvas, Mask
from spineps.phantom.fields import lookup, single
from spineps.phantom.morphometry import C7, L1, SACRUM_LEVEL, T1
from spineps.phantom.soft import paint_soft_tissue
from spineps.phantom.tissues import Tissue

# Outline of the trunk in mm from the spine, at level indices (head, C3, C7, T4, T10, L3, S1, S5).
_LEVELS: Final = (-4.0, 2.0, 6.0, 10.0, 16.0, 21.0, 24.0, 29.0)
_BEHIND: Final = (88.0, 58.0, 62.0, 56.0, 54.0, 62.0, 66.0, 62.0)
_BEFORE: Final = (85.0, 58.0, 62.0, 92.0, 130.0, 118.0, 128.0, 120.0)
_BESIDE: Final = (78.0, 62.0, 85.0, 165.0, 158.0, 145.0, 168.0, 175.0)
_SOFT: Final = (
    Tissue.ORGAN_A,
    Tissue.ORGAN_B,
    Tissue.ORGAN_C,
    Tissue.DEEP_FAT,
    Tissue.MUSCLE,
    Tissue.FLUID,
    Tissue.AIR,
    Tissue.VESSEL_DARK,
    Tissue.VESSEL_BRIGHT,
)
_SOFT_SHARES: Final = (0.2, 0.17, 0.15, 0.14, 0.1, 0.1, 0.06, 0.04, 0.04)


def paint_context(rng: np.random.Generator, canvas: Canvas, scale: float) -> None:
    """Paint everything around the spine, its ligaments and fat; bones are painted over it afterwards."""
    outline = _outline(rng, canvas, scale)
    _paint_back_muscles(rng, canvas)
    _paint_cavity(rng, canvas, outline, scale)
    _paint_psoas(rng, canvas, scale)
    _paint_neck(rng, canvas, scale)
    _paint_head(rng, canvas, scale)
    _paint_vessels(rng, canvas, scale)
    _paint_ilium(rng, canvas, scale)
    paint_soft_tissue(rng, canvas)
    _paint_skin(rng, canvas, outline)


def _pick(rng: np.random.Generator, *, gas: bool = True) -> Tissue:
    """A tissue of the cavities."""
    tissue = _SOFT[int(rng.choice(len(_SOFT), p=_SOFT_SHARES))]
    return tissue if gas or tissue is not Tissue.AIR else Tissue.DEEP_FAT


def _storey(canvas: Canvas, values: tuple[float, ...]) -> FloatArray:
    """A value of the outline's table, at the height of each voxel."""
    fine = np.interp(np.arange(-4, 29.1, 0.25), _LEVELS, values)
    return lookup(fine, canvas.storey, -4.0, 0.25)


def _outline(rng: np.random.Generator, canvas: Canvas, scale: float) -> tuple[FloatArray, FloatArray]:
    """Depth below the skin in mm at each voxel (negative outside), and the thickness of subcutaneous fat there."""
    girth = scale * rng.uniform(0.85, 1.3)
    wave = 3 * canvas.noise(rng, 28.0)
    fat = np.float32(rng.uniform(3, 26)) * (0.35 + np.clip((canvas.storey - 12) / 12, 0, 1))
    behind = _storey(canvas, _BEHIND) * np.float32(scale * rng.uniform(0.88, 1.2)) + wave
    behind = np.maximum(behind, _tips(canvas) + fat + np.float32(rng.uniform(3, 10)))
    before = _storey(canvas, _BEFORE) * np.float32(girth) + wave
    beside = _storey(canvas, _BESIDE) * np.float32(scale * rng.uniform(0.9, 1.2))
    middle, half = (behind - before) / 2, (behind + before) / 2
    radius = np.sqrt(((canvas.back - middle) / half) ** 2 + (canvas.side / beside) ** 4)
    depth = (1 - radius) * half
    belly = np.float32(rng.uniform(0.4, 1.6))
    return depth, single(np.where(canvas.back < 0, fat * belly, fat))


def _tips(canvas: Canvas) -> FloatArray:
    """How far behind the spine the spinous processes reach, at the height of each voxel."""
    stack = canvas.stack
    places = []
    for index, centre in enumerate(stack.centre):
        q = stack.sizes.of(index)
        angle = np.deg2rad(q.spinous_angle)
        rear = q.canal_centre + q.canal_depth / 2 + 5 + q.spinous_length * np.cos(angle)
        places.append(canvas.line.point(float(centre + 0.5 * q.height + q.spinous_length * np.sin(angle)), float(rear)))
    tips = np.array(places)
    down = np.maximum.accumulate(tips[:, 1] + np.arange(len(tips)) * 1e-3)
    start, stop = down[0] - 60, down[-1] + 60
    fine = np.arange(start, stop, 4.0)
    back = np.interp(fine, down, tips[:, 0]) - canvas.course(fine)[0]
    smooth = ndimage.gaussian_filter1d(ndimage.maximum_filter1d(back, 15), 4)
    return lookup(smooth, canvas.down, float(start), 4.0)


def _paint_skin(rng: np.random.Generator, canvas: Canvas, outline: tuple[FloatArray, FloatArray]) -> None:
    depth, fat = outline
    shell = depth < fat
    canvas.tissue[shell] = Tissue.SUBCUTANEOUS_FAT
    if rng.random() < 0.5:
        canvas.tissue[shell & (np.abs(canvas.noise(rng, 5.0)) < 0.03)] = Tissue.LIGAMENT
    canvas.tissue[depth < 1.6] = Tissue.SKIN
    canvas.tissue[depth < 0] = Tissue.AIR


def _paint_back_muscles(rng: np.random.Generator, canvas: Canvas) -> None:
    """Fat streaks and septa between the muscles behind the spine; gluteal fat and muscle behind the sacrum."""
    behind = canvas.u > 8
    streak = canvas.noise(rng, 9.0) + 0.6 * canvas.noise(rng, 5.0)
    infiltration = rng.uniform(0.5, 2.3) - 0.35 * np.clip(canvas.level - 18, 0, 6) * rng.random()
    canvas.tissue[behind & (streak > infiltration)] = Tissue.DEEP_FAT
    for _ in range(int(rng.integers(1, 4))):
        slope, place = rng.uniform(-0.5, 0.5), rng.uniform(8, 45)
        sheet = np.abs(np.abs(canvas.side) - place - slope * (canvas.back - 40) - 3 * canvas.noise(rng, 22.0))
        canvas.tissue[behind & (sheet < rng.uniform(0.7, 2.2))] = Tissue.DEEP_FAT if rng.random() < 0.8 else Tissue.LIGAMENT
    depth = canvas.storey - np.float32(SACRUM_LEVEL - rng.uniform(0, 1.5))
    low = behind & (canvas.noise(rng, 22.0) + 0.5 * depth > rng.uniform(0, 1.8)) & (depth > 0)
    canvas.tissue[low] = Tissue.SUBCUTANEOUS_FAT


def _paint_cavity(rng: np.random.Generator, canvas: Canvas, outline: tuple[FloatArray, FloatArray], scale: float) -> None:
    """Chest, belly and pelvis in front of and beside the spine."""
    depth, fat = outline
    deep = canvas.along(canvas.stack.profile("depth")) / 2 + np.float32(rng.uniform(1.5, 5))
    wide = canvas.along(canvas.stack.profile("width")) / 2 + np.float32(rng.uniform(2, 9)) + 2 * canvas.noise(rng, 9.0)
    around = (canvas.u / deep) ** 2 + (canvas.v / wide) ** 2 > 1
    rear = (
        np.float32(rng.uniform(-8, 10)) + 6 * canvas.noise(rng, 22.0) + np.float32(rng.uniform(-0.1, 0.5)) * np.abs(canvas.side)
    )
    front = around & (canvas.u < rear) & (canvas.back < rear + 14)
    inner = front & (depth > fat + np.float32(rng.uniform(6, 18)))
    dome = canvas.storey - _diaphragm(rng, canvas, scale)
    chest = inner & (canvas.storey >= T1 - 0.5 + 0.3 * canvas.noise(rng, 28.0)) & (dome < 0)
    belly = inner & (dome >= 0)
    canvas.tissue[belly] = Tissue.DEEP_FAT if rng.random() < 0.6 else _pick(rng)
    _paint_layers(rng, canvas, belly)
    for _ in range(int(rng.integers(25, 60))):
        _paint_organ(rng, canvas, belly, scale)
    if rng.random() < 0.5:
        _paint_stack(rng, canvas, belly, scale)
    _paint_kidneys(rng, canvas, scale)
    _paint_pelvis(rng, canvas, belly, scale)
    _paint_chest(rng, canvas, chest, scale)


def _diaphragm(rng: np.random.Generator, canvas: Canvas, scale: float) -> FloatArray:
    """Level index of the diaphragm: low at the spine, domed in front of it and at both sides."""
    rise = np.clip(-canvas.back * np.float32(1 / (45 * scale)), 0, 1) * np.float32(rng.uniform(0.5, 3.5))
    return np.float32(L1 + rng.uniform(-1.2, 0.6)) - rise + 0.2 * canvas.noise(rng, 22.0)


def _paint_layers(rng: np.random.Generator, canvas: Canvas, where: Mask) -> None:
    """Folded layers of tissue."""
    coarse, fine = canvas.noise(rng, 22.0), canvas.noise(rng, 9.0)
    for low in (-1.6, -0.7, 0.0, 0.6, 1.2):
        if rng.random() < 0.6:
            wave = coarse + 0.3 * fine
            canvas.tissue[where & (wave > low) & (wave < low + rng.uniform(0.2, 0.8))] = _pick(rng, gas=False)
    if rng.random() < 0.4:
        phase = canvas.down * rng.uniform(0.15, 0.5) + canvas.back * rng.uniform(-0.3, 0.3) + 2 * coarse
        band = where & (canvas.noise(rng, 28.0) > rng.uniform(0, 1))
        canvas.tissue[band & (np.sin(phase) > 0)] = _pick(rng, gas=False)


def _blob(
    canvas: Canvas, centre: tuple[float, float, float], radii: tuple[float, float, float]
) -> tuple[tuple[slice, slice, slice], FloatArray]:
    """Relative radius around a point (behind, down, to the right of the spine; mm) in a box of voxels about it."""
    box = canvas.body_box(centre, max(radii) * 1.25)
    back, down, side = canvas.back[box], canvas.down[box], canvas.side[box]
    a, b, c = (back - centre[0]) / radii[0], (down - centre[1]) / radii[1], (side - centre[2]) / radii[2]
    radius: FloatArray = np.sqrt(a * a + b * b + c * c)
    return box, radius


def _random_place(
    rng: np.random.Generator, canvas: Canvas, scale: float, before: tuple[float, float]
) -> tuple[float, float, float]:
    """A point in front of the spine at a height within the field of view."""
    down = rng.uniform(float(canvas.down.min()), float(canvas.down.max()))
    return -float(rng.uniform(*before)) * scale, float(down), float(rng.uniform(-75, 75)) * scale


def _paint_organ(rng: np.random.Generator, canvas: Canvas, where: Mask, scale: float) -> None:
    """One round organ or loop of bowel: a wall, contents, sometimes gas above."""
    centre = _random_place(rng, canvas, scale, (22, 190))
    size = float(rng.choice((rng.uniform(4, 12), rng.uniform(10, 22), rng.uniform(20, 48)), p=(0.35, 0.45, 0.2))) * scale
    a, b, c = (size * float(rng.uniform(0.6, 1.6)) for _ in range(3))
    box, radius = _blob(canvas, centre, (a, b, c))
    if radius.size == 0:
        return
    radius = radius + 0.18 * canvas.noise(rng, 22.0)[box] + 0.06 * canvas.noise(rng, 9.0)[box]
    inside = where[box] & (radius < 1)
    tissue = canvas.tissue[box]
    tissue[inside] = _pick(rng)
    if rng.random() < 0.55:
        core = inside & (radius < 1 - rng.uniform(1.5, 5) / size)
        tissue[core] = _pick(rng)
        if rng.random() < 0.3:
            tissue[core & (canvas.back[box] < centre[0])] = Tissue.AIR
        elif rng.random() < 0.3:
            tissue[core & (canvas.noise(rng, 5.0)[box] > 0.3)] = _pick(rng)


def _paint_stack(rng: np.random.Generator, canvas: Canvas, where: Mask, scale: float) -> None:
    """Blocks the size of vertebrae in front of the spine, one above the other: they are not vertebrae."""
    back, side = -float(rng.uniform(35, 110)) * scale, float(rng.uniform(-20, 20))
    height, gap = rng.uniform(18, 34) * scale, rng.uniform(2, 12)
    block, between = _pick(rng), _pick(rng)
    start = rng.uniform(float(canvas.down.min()), float(canvas.down.max()))
    for number in range(int(rng.integers(2, 6))):
        centre = (back + float(rng.normal(0, 3)), start + number * (height + gap), side)
        half = (rng.uniform(12, 22) * scale, height / 2, rng.uniform(14, 26) * scale)
        box = canvas.body_box(centre, max(half) * 1.3)
        scaled = (
            np.abs((f[box] - c) / h) for f, c, h in zip((canvas.back, canvas.down, canvas.side), centre, half, strict=True)
        )
        radius = sum(r**4 for r in scaled) ** 0.25 + 0.08 * canvas.noise(rng, 9.0)[box]
        tissue = canvas.tissue[box]
        tissue[where[box] & (radius < 1.15)] = between
        tissue[where[box] & (radius < 1)] = block


def _paint_kidneys(rng: np.random.Generator, canvas: Canvas, scale: float) -> None:
    """Kidneys with cortex, medulla and sinus in perirenal fat, beside L1 to L3."""
    for side in (-1, 1):
        down = canvas.height_of(L1 + rng.uniform(-0.5, 1.5))
        centre = (float(rng.uniform(-18, 6)) * scale, down, side * float(rng.uniform(50, 68)) * scale)
        radii = (rng.uniform(20, 28) * scale, rng.uniform(44, 60) * scale, rng.uniform(20, 30) * scale)
        box, radius = _blob(canvas, centre, radii)
        if radius.size == 0:
            continue
        tissue = canvas.tissue[box]
        tissue[radius < 1.22] = Tissue.DEEP_FAT
        tissue[radius < 1] = Tissue.ORGAN_A
        tissue[(radius < 0.78) & (canvas.noise(rng, 9.0)[box] > -0.2)] = Tissue.ORGAN_B
        tissue[radius < 0.4] = Tissue.DEEP_FAT


def _paint_pelvis(rng: np.random.Generator, canvas: Canvas, where: Mask, scale: float) -> None:
    """Rectum in front of the sacrum, uterus or prostate, and the bladder."""
    low = canvas.height_of(SACRUM_LEVEL + 3.0)
    parts = (
        (-35.0, 14.0, 30.0, (Tissue.ORGAN_A, Tissue.AIR, Tissue.ORGAN_C, Tissue.DEEP_FAT)),
        (-62.0, 24.0, 34.0, (Tissue.ORGAN_B, Tissue.ORGAN_C, Tissue.MUSCLE)),
        (-98.0, 30.0, 30.0, (Tissue.FLUID,)),
    )
    for back, radius_back, radius_down, choices in parts:
        if rng.random() > 0.85:
            continue
        centre = (back * scale + float(rng.normal(0, 6)), low + float(rng.normal(0, 14)), float(rng.normal(0, 8)))
        radii = (
            radius_back * scale * rng.uniform(0.6, 1.3),
            radius_down * scale * rng.uniform(0.6, 1.4),
            30 * scale * rng.uniform(0.5, 1.3),
        )
        box, radius = _blob(canvas, centre, radii)
        if radius.size == 0:
            continue
        tissue = canvas.tissue[box]
        tissue[where[box] & (radius < 1.12)] = Tissue.MUSCLE
        tissue[where[box] & (radius < 1)] = choices[int(rng.integers(len(choices)))]


def _paint_chest(rng: np.random.Generator, canvas: Canvas, where: Mask, scale: float) -> None:
    """Lungs with vessels, mediastinum with heart, gullet and windpipe."""
    mediastinum = np.abs(canvas.side) < np.float32(rng.uniform(14, 26) * scale) + 4 * canvas.noise(rng, 22.0)
    canvas.tissue[where] = Tissue.LUNG
    fine = canvas.noise(rng, 5.0) + 0.5 * canvas.noise(rng, 9.0)
    canvas.tissue[where & (fine > rng.uniform(1.3, 2.2))] = Tissue.VESSEL_DARK if rng.random() < 0.5 else Tissue.VESSEL_BRIGHT
    middle = where & mediastinum
    canvas.tissue[middle] = Tissue.DEEP_FAT if rng.random() < 0.6 else Tissue.ORGAN_C
    _paint_layers(rng, canvas, middle)
    heart = (-float(rng.uniform(55, 80)) * scale, canvas.height_of(rng.uniform(12.5, 15.5)), -float(rng.uniform(0, 25)) * scale)
    box, radius = _blob(canvas, heart, (rng.uniform(26, 42) * scale, rng.uniform(38, 60) * scale, rng.uniform(34, 50) * scale))
    tissue = canvas.tissue[box]
    radius = radius + 0.1 * canvas.noise(rng, 22.0)[box]
    tissue[where[box] & (radius < 1)] = Tissue.MUSCLE
    tissue[where[box] & (radius < 0.72)] = Tissue.VESSEL_DARK if rng.random() < 0.6 else Tissue.VESSEL_BRIGHT


def _paint_psoas(rng: np.random.Generator, canvas: Canvas, scale: float) -> None:
    """Psoas muscles beside the lumbar bodies with fat around them."""
    half = canvas.along(canvas.stack.profile("width")) / 2
    lateral, low = np.abs(canvas.v), canvas.level > L1 - 0.4
    beside = (lateral > half + np.float32(rng.uniform(0, 3))) & (np.abs(canvas.u) < 26 * scale)
    if rng.random() < 0.85:
        canvas.tissue[beside & (lateral < half + 40) & (canvas.noise(rng, 9.0) > rng.uniform(-0.8, 1.0))] = Tissue.DEEP_FAT
    radius = (9 + 3.2 * np.clip(canvas.level - L1, 0, 6)) * np.float32(scale * rng.uniform(0.75, 1.25))
    a = (lateral - half - radius * 0.85) / radius
    b = (canvas.u - np.float32(rng.uniform(-7, 5))) / (radius * np.float32(rng.uniform(0.9, 1.4)))
    canvas.tissue[low & (a * a + b * b < 1) & (canvas.u < 40)] = Tissue.MUSCLE


def _paint_neck(rng: np.random.Generator, canvas: Canvas, scale: float) -> None:
    """Longus muscles, pharynx and airway, gullet, thyroid and the large vessels of the neck."""
    half = canvas.along(canvas.stack.profile("depth")) / 2
    neck = canvas.storey < T1 + 0.6 + 0.4 * canvas.noise(rng, 22.0)
    gap = half + np.float32(rng.uniform(3, 8) * scale)
    bend = np.float32(rng.uniform(-0.15, 0.35)) * np.abs(canvas.v) + 3 * canvas.noise(rng, 22.0)
    front = neck & (canvas.u < np.minimum(bend, 18) - half)
    canvas.tissue[front] = Tissue.MUSCLE if rng.random() < 0.6 else Tissue.DEEP_FAT
    _paint_layers(rng, canvas, front & (canvas.u < bend - gap))
    canvas.tissue[front & (canvas.u > bend - gap)] = Tissue.MUSCLE
    wide = np.float32(rng.uniform(5, 13) * scale)
    deep, place = np.float32(rng.uniform(6, 13) * scale), gap + np.float32(rng.uniform(7, 20) * scale)
    oval = ((canvas.side + 2 * canvas.noise(rng, 22.0)) / wide) ** 2 + (
        (canvas.u + place + 2 * canvas.noise(rng, 9.0)) / deep
    ) ** 2
    airway = neck & (oval < 1)
    canvas.tissue[airway] = Tissue.AIR
    for side in (-1, 1):
        for tissue in (Tissue.VESSEL_DARK, Tissue.VESSEL_DARK if rng.random() < 0.5 else Tissue.VESSEL_BRIGHT):
            u, v, radius = -rng.uniform(10, 26) * scale, side * rng.uniform(22, 34) * scale, rng.uniform(3, 6.5)
            tube = neck & ((canvas.u - u) ** 2 + (canvas.v - v) ** 2 < radius**2)
            canvas.tissue[tube] = tissue
    centre = (-float(rng.uniform(32, 45)) * scale, canvas.height_of(C7 - 0.5), 0.0)
    box, radius_ = _blob(canvas, centre, (12 * scale, 22 * scale, 26 * scale))
    tissue_box = canvas.tissue[box]
    tissue_box[(radius_ < 1) & (np.abs(canvas.side[box]) > 9) & front[box]] = Tissue.ORGAN_B


def _paint_head(rng: np.random.Generator, canvas: Canvas, scale: float) -> None:
    """Skull base, brain, tongue and jaw above C1."""
    top = canvas.height_of(0.0) - 16 * scale
    head = canvas.down < top
    if not head.any():
        return
    centre = (22.0 * scale, top - 62 * scale, 0.0)
    box, radius = _blob(canvas, centre, (62 * scale, 60 * scale, 62 * scale))
    tissue = canvas.tissue[box]
    radius = radius + 0.05 * canvas.noise(rng, 22.0)[box]
    folded = canvas.noise(rng, 5.0)[box] + 0.5 * canvas.noise(rng, 9.0)[box]
    above = head[box]
    tissue[above & (radius < 1.1)] = Tissue.CORTICAL_BONE
    tissue[above & (radius < 1.05)] = Tissue.BODY_MARROW
    tissue[above & (radius < 1.0)] = Tissue.CSF
    tissue[above & (radius < 0.95)] = Tissue.CORD
    tissue[above & (radius < 0.93) & (folded > 0.4)] = Tissue.CORD_GREY
    face = head & (canvas.back < -30 * scale)
    canvas.tissue[face] = Tissue.MUSCLE
    _paint_layers(rng, canvas, face)


def _paint_vessels(rng: np.random.Generator, canvas: Canvas, scale: float) -> None:
    """Aorta left and vena cava right in front of the spine, and small vessels along it."""
    half = canvas.along(canvas.stack.profile("depth")) / 2
    wander = 4 * canvas.noise(rng, 28.0)
    trunk = (canvas.level > T1 + 3) & (canvas.level < 23.2)
    for side, low in ((-1, T1 + 3.0), (1, float(L1) - 2)):
        radius = rng.uniform(7, 13) * scale
        u, v = -half - np.float32(radius + rng.uniform(0, 5)), side * np.float32(rng.uniform(4, 16) * scale)
        place = (canvas.u - u) ** 2 + (canvas.v - v - wander) ** 2
        tube = trunk & (canvas.level > low) & (place < (radius + 1.2) ** 2)
        canvas.tissue[tube] = Tissue.LIGAMENT
        bright = rng.random() < 0.25
        canvas.tissue[tube & (place < radius**2)] = Tissue.VESSEL_BRIGHT if bright else Tissue.VESSEL_DARK
    for _ in range(int(rng.integers(1, 5))):
        radius = rng.uniform(1.2, 4)
        u, v = -half - np.float32(rng.uniform(radius, 26)), np.float32(rng.uniform(-26, 26))
        tube = (canvas.level > T1) & ((canvas.u - u) ** 2 + (canvas.v - v - wander) ** 2 < radius**2)
        canvas.tissue[tube] = Tissue.VESSEL_DARK if rng.random() < 0.7 else Tissue.VESSEL_BRIGHT


def _paint_ilium(rng: np.random.Generator, canvas: Canvas, scale: float) -> None:
    """Hip bones beside the sacrum, across the sacroiliac joints."""
    places = (22.6, 23.2, 24.2, 25.5, 28.0)
    inner = np.array((82, 72, 59, 54, 62)) * scale * rng.uniform(0.96, 1.1)
    edge = lookup(np.interp(np.arange(22, 29.1, 0.25), places, inner), canvas.level, 22.0, 0.25)
    thick = np.float32(rng.uniform(9, 17) * scale)
    lateral = np.abs(canvas.v) - 0.3 * canvas.u
    slab = (canvas.level > 22.6) & (canvas.level < 27) & (canvas.u < 55 * scale) & (canvas.u > -48 * scale)
    slab &= (lateral > edge) & (lateral < edge + thick)
    canvas.tissue[slab] = Tissue.CORTICAL_BONE
    canvas.tissue[slab & (lateral > edge + 1.6) & (lateral < edge + thick - 1.6)] = Tissue.SACRAL_MARROW
