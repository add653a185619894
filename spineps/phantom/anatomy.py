"""The anatomy of a digital phantom: a spine from C1 to the coccyx in its surroundings, as tissue and label maps.

Shapes are implicit: each voxel is given its place in coordinates along the spine, and each structure says whether a
place is inside it. So any grid can be painted, at any spacing and in any field of view.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineps.geometry import Geometry, Matrix, Shape, Spacing
from spineps.labels import ENDPLATE_OFFSET, SACRUM_INSTANCE, Structure, is_vertebra
from spineps.phantom.bodies import Block, Look, draw_body_style, paint_body, paint_disc
from spineps.phantom.canal import paint_canal, paint_roots, paint_vertebral_arteries
from spineps.phantom.canvas import Canvas, Pose, lay_out
from spineps.phantom.context import paint_context
from spineps.phantom.curve import RUN_OUT_MM, STEP_MM, Centreline, Stack, draw_centreline, stack_up
from spineps.phantom.disease import Disease, draw_disease, shrink_discs
from spineps.phantom.fields import factor
from spineps.phantom.implant import SHARE as IMPLANT_SHARE
from spineps.phantom.implant import draw_implant, paint_implant
from spineps.phantom.joints import Joint, draw_joint
from spineps.phantom.morphometry import (
    C2,
    L5,
    SACRUM_LEVEL,
    STATURE,
    Variant,
    draw_morphometry,
    levels_of,
)
from spineps.phantom.sacrum import paint_sacrum
from spineps.phantom.soft import paint_ribs
from spineps.phantom.vertebra import Site, draw_bone_style, paint_arch

VARIANT_SHARES: Final = MappingProxyType(
    {
        Variant.NONE: 0.86,
        Variant.T13: 0.02,
        Variant.L6: 0.05,
        Variant.NO_T12: 0.02,
        Variant.NO_L5: 0.03,
        Variant.NO_T12_RIB: 0.02,
    }
)
"""How often each variant is drawn."""
TILTED_SHARE: Final = 0.3
"""Share of phantoms whose grid is turned against the body, as oblique scans are."""
SAGITTAL_TILT_DEG: Final = 25.0
OTHER_TILT_DEG: Final = 15.0
CRUMB_SHARE: Final = 0.02
"""A piece apart from its vertebra is unlabelled where smaller than this share of the vertebra's largest piece."""
WIDE_FIELD_MM: Final = 200.0
"""From this antero-posterior field of view on, the spine lies in its rear half."""


@dataclass(frozen=True, slots=True)
class AnatomySpec:
    """What to build; everything that is None is drawn at random.

    Parameters
    ----------
    shape : tuple of 3 int
        Voxels to posterior, inferior and right.
    spacing_mm : tuple of 3 float
        Voxel size along the same axes.
    centre_level : float or None
        Level index (C1 0 ... L5 23, S1 24) at the centre of the field of view.
    first, last : int or None
        Instance ids of the first and last vertebra to show whole; given both, the field of view is cut to them along
        the second axis (and ``shape`` says only the other two). 26 as ``last`` is the sacrum.
    variant : Variant or None
        Numbering variant.
    pathology : float
        Factor on the probability of every irregularity, 0 for a healthy spine.
    implant : bool or None
        Whether there are screws and rods.
    """

    shape: Shape = (160, 256, 40)
    spacing_mm: Spacing = (1.0, 1.0, 2.0)
    centre_level: float | None = None
    first: int | None = None
    last: int | None = None
    variant: Variant | None = None
    pathology: float = 1.0
    implant: bool | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """A phantom's anatomy on a PIR grid.

    Parameters
    ----------
    tissue : ndarray of uint8
        Ids of :class:`spineps.phantom.tissues.Tissue`.
    semantic : ndarray of uint8
        Ids of :class:`spineps.labels.Structure`, endplates split into 52 and 53; C1 has no label, the dens is corpus.
    instance : ndarray of uint8
        Vertebra ids (C2 2 ... L6 25, T13 28), sacrum 26, discs 100 + X, endplates 200 + X of the disc's level X.
    geometry : Geometry
        The grid.
    levels : Mapping of int to str
        Name of each vertebra instance (and the sacrum) in the field of view.
    """

    tissue: NDArray[np.uint8]
    semantic: NDArray[np.uint8]
    instance: NDArray[np.uint8]
    geometry: Geometry
    levels: Mapping[int, str]


@dataclass(frozen=True, slots=True, eq=False)
class _Person:
    """One drawn spine."""

    scale: float
    variant: Variant
    stack: Stack
    line: Centreline
    disease: Disease
    implanted: tuple[int, ...]


def build_anatomy(rng: np.random.Generator, spec: AnatomySpec) -> Anatomy:
    """Build one phantom's anatomy.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all randomness: the same state gives the same voxels.
    spec : AnatomySpec
        What to build.

    Returns
    -------
    Anatomy

    Raises
    ------
    ValueError
        If ``first`` or ``last`` is not a vertebra of the spine, or only one of them is given.
    """
    person = _draw_person(rng, spec)
    geometry, pose = _place(rng, spec, person)
    canvas = lay_out(rng, geometry, person.stack, person.line, pose)
    drift = _slip(canvas, person)
    _paint(rng, canvas, person, drift)
    _drop_crumbs(canvas)
    for array in (canvas.tissue, canvas.semantic, canvas.instance):
        array.setflags(write=False)
    return Anatomy(canvas.tissue, canvas.semantic, canvas.instance, geometry, _levels_seen(canvas, person))


def spec_for_vertebrae(rng: np.random.Generator, count: int, spacing_mm: Spacing) -> AnatomySpec:
    """A field of view that shows about ``count`` whole vertebrae (the sacrum not counted).

    Parameters
    ----------
    rng : numpy.random.Generator
        Chooses the region.
    count : int
        1 to 24; 24 shows C2 to L5 with the sacrum.
    spacing_mm : tuple of 3 float
        Voxel size.

    Returns
    -------
    AnatomySpec

    Raises
    ------
    ValueError
        If ``count`` is out of range.
    """
    if not 1 <= count <= SACRUM_LEVEL:
        raise ValueError(f"expected 1 to {SACRUM_LEVEL} vertebrae, found {count}")
    count = min(count, SACRUM_LEVEL - 1)
    start = int(rng.integers(C2, L5 - count + 2))
    depth_mm = float(np.interp(count, (1, 8, 24), (130, 165, 240)))
    shape = (round(depth_mm / spacing_mm[0]), 1, round(84 / spacing_mm[2]))
    return AnatomySpec(shape, spacing_mm, first=start + 1, last=start + count, variant=Variant.NONE)


def _draw_person(rng: np.random.Generator, spec: AnatomySpec) -> _Person:
    scale = float(rng.uniform(*STATURE))
    variant = spec.variant
    if variant is None:
        drawn = int(rng.choice(len(VARIANT_SHARES), p=list(VARIANT_SHARES.values())))
        variant = list(VARIANT_SHARES)[drawn]
    levels = levels_of(variant)
    sizes = draw_morphometry(rng, levels, scale)
    disease = draw_disease(rng, sizes, np.array([level.position for level in levels]), spec.pathology)
    sizes = replace(sizes, disc=sizes.disc * shrink_discs(disease, rng))
    stack = stack_up(levels, sizes, scale * factor(rng, 0.08))
    share = IMPLANT_SHARE * spec.pathology if spec.implant is None else float(spec.implant)
    implanted = draw_implant(rng.spawn(1)[0], stack.positions, share)  # a stream of its own: no other voxel depends on it
    return _Person(scale, variant, stack, draw_centreline(rng, stack), disease, implanted)


def _place(rng: np.random.Generator, spec: AnatomySpec, person: _Person) -> tuple[Geometry, Pose]:
    """Choose the field of view and how it lies in the body."""
    stack, line = person.stack, person.line
    rotation = _draw_rotation(rng, oblique=spec.first is None)
    shape = spec.shape
    if spec.first is not None or spec.last is not None:
        top, bottom = _span(stack, spec)
        places = np.array([line.point(s) for s in np.linspace(top, bottom, 40)]) @ rotation
        low, high = places.min(axis=0), places.max(axis=0)
        shape = (shape[0], max(8, round((high[1] - low[1]) / spec.spacing_mm[1])), shape[2])
        anchor = (low + high) / 2 @ rotation.T
        ahead = rng.uniform(-4, 4)
    else:
        level = _draw_level(rng) if spec.centre_level is None else spec.centre_level
        anchor = line.point(stack.at_level(level))
        ahead = 0.0
    extent = np.array(shape) * np.array(spec.spacing_mm)
    pivot = extent * 0.5
    share = rng.uniform(0.32, 0.62) if extent[0] < WIDE_FIELD_MM else rng.uniform(0.5, 0.75)
    if spec.first is not None:
        pivot[0] = extent[0] * 0.5 - 14 + ahead
    else:
        pivot[0] = extent[0] * share
    pivot[2] += rng.normal(0, 0.06 * min(extent[2], 90))
    return Geometry.from_spacing(shape, spec.spacing_mm), Pose(rotation, pivot, anchor)


def _draw_level(rng: np.random.Generator) -> float:
    """Level at the centre of the field of view: all regions, the lumbar spine most often."""
    ranges = ((0.5, 9.0), (8.0, 18.0), (17.0, 25.5))
    low, high = ranges[int(rng.choice(3, p=(0.28, 0.22, 0.5)))]
    return float(rng.uniform(low, high))


def _span(stack: Stack, spec: AnatomySpec) -> tuple[float, float]:
    """The stretch of the curve from the first to the last vertebra that is to be seen."""
    places = {level.instance: index for index, level in enumerate(stack.levels)}
    if spec.first not in places or (spec.last not in places and spec.last != SACRUM_INSTANCE):
        raise ValueError(f"expected first and last among the vertebrae {sorted(places)}, found {spec.first} and {spec.last}")
    first = places[spec.first]
    top = stack.top[first] - 0.35 * stack.sizes.height[first] - (18 if stack.levels[first].position == C2 else 0)
    if spec.last == SACRUM_INSTANCE:
        return float(top), stack.sacrum_end
    last = places[spec.last]
    room = 0.55 * stack.sizes.height[last] + stack.sizes.disc[last]
    if last + 1 == len(stack.levels):
        room += 40
    return float(top), float(stack.bottom[last] + room)


def _draw_rotation(rng: np.random.Generator, *, oblique: bool) -> Matrix:
    """From grid to body axes: nearly aligned, or (where ``oblique`` scans are wanted) tilted at times."""
    tilted = oblique and rng.random() < TILTED_SHARE
    limits = np.deg2rad((SAGITTAL_TILT_DEG, OTHER_TILT_DEG, OTHER_TILT_DEG))
    a, b, c = rng.uniform(-limits, limits) if tilted else np.deg2rad(rng.normal(0, (3.0, 1.5, 1.5)))
    sagittal = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    coronal = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    axial = np.array([[np.cos(c), 0, np.sin(c)], [0, 1, 0], [-np.sin(c), 0, np.cos(c)]])
    turned: Matrix = sagittal @ coronal @ axial
    return turned


def _slip(canvas: Canvas, person: _Person) -> NDArray[np.float64]:
    """Move slipped vertebrae forward, with all above them; return how far the smooth canal stays behind them."""
    stack = person.stack
    grid = np.arange(len(person.line.points)) * STEP_MM - RUN_OUT_MM
    shift = np.zeros_like(grid)
    for edge, disc, slip in zip(stack.bottom, stack.sizes.disc, person.disease.slip, strict=True):
        shift += slip / (1 + np.exp(np.clip((grid - edge - disc / 2) / 1.2, -40, 40)))
    shift -= np.interp(stack.at_level(21), grid, shift)
    canvas.u[...] += canvas.along(shift)
    smooth: NDArray[np.float64] = ndimage.gaussian_filter1d(shift, 9 / STEP_MM, mode="nearest")
    return smooth - shift


def _paint(rng: np.random.Generator, canvas: Canvas, person: _Person, drift: NDArray[np.float64]) -> None:
    """Paint surroundings, then bones and discs, then the canal and the nerve roots."""
    stack, disease, scale = person.stack, person.disease, person.scale
    count = len(stack.levels)
    all_sizes = [stack.sizes.of(index) for index in range(count)]
    bone = draw_bone_style(rng, scale)
    look = Look(bone, draw_body_style(rng, scale), disease)
    paint_context(rng, canvas, scale)
    blocks = [Block(i, level, all_sizes[i], float(stack.centre[i])) for i, level in enumerate(stack.levels)]
    last = all_sizes[-1]
    blocks.append(Block(count, None, last, stack.sacrum_top + last.height / 2))
    for pair in pairwise(blocks[1:]):
        paint_disc(rng, canvas, pair, look)
    for block in blocks:
        paint_body(rng, canvas, block, look)
    for level, sizes, centre in zip(stack.levels, all_sizes, stack.centre, strict=True):
        paint_ribs(rng, canvas, (level, sizes, float(centre)), person.variant, scale)
    joints = _joints(rng, stack, scale)
    for index, level in enumerate(stack.levels):
        above = joints[index - 1] if index else None
        below = joints[index] if level.position >= C2 else None
        paint_arch(rng, canvas, Site(level, all_sizes[index], float(stack.centre[index]), above, below), bone)
    paint_sacrum(rng, canvas, last, joints[-1], bone)
    paint_canal(rng, canvas, disease, scale, drift)
    paint_roots(rng, canvas)
    paint_vertebral_arteries(rng, canvas)
    if person.implanted:
        paint_implant(rng, canvas, [(all_sizes[index], float(stack.centre[index])) for index in person.implanted])


def _joints(rng: np.random.Generator, stack: Stack, scale: float) -> list[Joint]:
    """The facet joints below each vertebra."""
    out = []
    for index, level in enumerate(stack.levels):
        following = index + 1 < len(stack.levels)
        lower = stack.sizes.of(index + 1) if following else None
        top = float(stack.top[index + 1]) if following else stack.sacrum_top
        out.append(draw_joint(rng, (level, stack.sizes.of(index)), lower, top, scale))
    return out


def _drop_crumbs(canvas: Canvas) -> None:
    """Unlabel small pieces of a vertebra that hang together with nothing."""
    structure = np.ones((3, 3, 3))
    for instance, box in enumerate(ndimage.find_objects(canvas.instance), start=1):
        if box is None or instance >= ENDPLATE_OFFSET:
            continue
        part = canvas.instance[box] == instance
        pieces, count = ndimage.label(part, structure)
        if count < 2:
            continue
        sizes = np.bincount(pieces.reshape(-1))
        sizes[0] = 0
        small = sizes < CRUMB_SHARE * sizes.max()
        small[0] = False
        crumbs = small[pieces]
        canvas.semantic[box][crumbs] = Structure.BACKGROUND
        canvas.instance[box][crumbs] = 0


def _levels_seen(canvas: Canvas, person: _Person) -> Mapping[int, str]:
    """Names of the vertebrae (and the sacrum) in the field of view."""
    present = set(np.flatnonzero(np.bincount(canvas.instance.reshape(-1), minlength=256)).tolist())
    names = {level.instance: level.name for level in person.stack.levels if is_vertebra(level.instance)}
    names[SACRUM_INSTANCE] = "S"
    return MappingProxyType({instance: name for instance, name in names.items() if instance in present})
