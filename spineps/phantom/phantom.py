"""Whole phantoms: a scan and its true masks in one geometry, from a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.errors import ErrorCode, UsageError
from spineps.geometry import PIR, Axes, FloatArray, Geometry, Reorientation, Shape, Spacing
from spineps.labels import Scheme
from spineps.phantom.anatomy import Anatomy, AnatomySpec, build_anatomy, spec_for_vertebrae
from spineps.phantom.appearance import paint_averaged
from spineps.phantom.contrasts import Contrast
from spineps.phantom.filters import one_thread
from spineps.phantom.morphometry import Variant
from spineps.volume import LabelMap, Scan

MOST_VERTEBRAE: Final = 24
SPACING_LIMITS_MM: Final = (0.3, 10.0)

_FINE_SPACING_MM: Final = 1.2
"""Voxels larger than this are averaged from an odd number of smaller ones."""
_IN_PLANE_MM: Final = (0.7, 1.0)
_SLICE_MM: Final = (1.65, 4.4)
_FIELD_OF_VIEW_MM: Final = ((200.0, 300.0), (220.0, 380.0), (60.0, 90.0))
_INTEGER_WHITE: Final = (300.0, 3000.0)
"""Range of the brightest values of scans that are stored as scanners count them."""


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """A phantom's scan and its truth.

    Parameters
    ----------
    scan : Scan
        The painted image.
    semantic, instance : LabelMap
        The true masks (uint8) on the scan's grid: what lies at the centre of each voxel. Endplates are 52 and 53.
    levels : Mapping of int to str
        Name of each vertebra that the instance mask holds, the sacrum included.
    seed : int
        What it was made from.
    """

    scan: Scan
    semantic: LabelMap
    instance: LabelMap
    levels: Mapping[int, str]
    seed: int


def make_phantom(  # noqa: PLR0913 - the public signature; all but the seed is optional
    seed: int,
    *,
    vertebrae: int | None = None,
    contrast: Contrast = Contrast.T2W,
    spacing_mm: Spacing | None = None,
    orientation: Axes = PIR,
    pathology: float = 1.0,
    variant: Variant | None = None,
    implant: bool | None = None,
) -> Phantom:
    """Make a phantom. The same arguments give the same voxels, on any number of threads.

    Parameters
    ----------
    seed : int
        From 0 on; the anatomy does not depend on ``contrast`` and ``orientation``.
    vertebrae : int, optional
        Whole vertebrae in the field of view, 1 to 24 (all from C2, with the sacrum); a random field of view by default.
    contrast : Contrast
        Kind of image.
    spacing_mm : tuple of 3 float, optional
        Voxel spacing to posterior, inferior and right, whatever the orientation; random by default: 0.7 to 1 mm in plane,
        slices of 1.65 to 4.4 mm.
    orientation : tuple of 3 str
        Direction of each array axis, for example ``("L", "P", "S")``; any of the 48.
    pathology : float
        Factor on the probability of every irregularity, 0 for a healthy spine.
    variant : Variant, optional
        Numbering variant (a 13th rib, a sixth lumbar vertebra, …). By default random, but none where ``vertebrae`` is given.

    implant : bool, optional
        Whether there are screws and rods; by default in a fiftieth of phantoms that are not healthy.

    Returns
    -------
    Phantom

    Raises
    ------
    UsageError
        If an argument is out of range.
    """
    shape_rng, anatomy_rng, image_rng = (
        np.random.default_rng(child) for child in np.random.SeedSequence(_checked_seed(seed)).spawn(3)
    )
    spacing = _drawn_spacing(shape_rng) if spacing_mm is None else _checked_spacing(spacing_mm)
    per_voxel = _per_voxel(spacing)
    spec = _spec(shape_rng, vertebrae, (spacing[0] / per_voxel[0], spacing[1] / per_voxel[1], spacing[2] / per_voxel[2]))
    spec = replace(spec, pathology=pathology, variant=spec.variant if variant is None else variant, implant=implant)
    turn = _turn_to(orientation)
    with one_thread():
        anatomy = build_anatomy(anatomy_rng, spec)
        whole = tuple(slice(0, n // k * k) for n, k in zip(anatomy.tissue.shape, per_voxel, strict=True))
        painting = paint_averaged(anatomy.tissue[whole], spec.spacing_mm, image_rng, contrast, per_voxel=per_voxel)
        image = _stored(painting.image, image_rng)
    return _assembled(seed, anatomy, image, per_voxel, turn)


def parse_orientation(text: str) -> Axes:
    """Three letters such as ``PIR`` to axis directions.

    Raises
    ------
    UsageError
        If they are not one each of L/R, P/A and I/S.
    """
    letters = tuple(text.upper())
    _turn_to(letters)
    return letters[0], letters[1], letters[2]


def _assembled(seed: int, anatomy: Anatomy, image: FloatArray, per_voxel: Shape, turn: Reorientation) -> Phantom:
    """Image and labels in their final grid."""
    centres = tuple(slice(k // 2, k * n, k) for k, n in zip(per_voxel, image.shape, strict=True))
    affine = anatomy.geometry.affine.copy()
    affine[:3, 3] = anatomy.geometry.to_mm([k // 2 for k in per_voxel])
    affine[:3, :3] *= per_voxel
    p, i, r = image.shape
    geometry = turn.apply_geometry(Geometry((p, i, r), affine))
    instance: NDArray[np.uint8] = anatomy.instance[centres]
    present = set(np.unique(instance).tolist())
    return Phantom(
        scan=Scan(turn.apply(image), geometry),
        semantic=LabelMap(turn.apply(anatomy.semantic[centres]), geometry, Scheme.SEMANTIC),
        instance=LabelMap(turn.apply(instance), geometry, Scheme.INSTANCE),
        levels=MappingProxyType({label: name for label, name in anatomy.levels.items() if label in present}),
        seed=seed,
    )


def _spec(rng: np.random.Generator, vertebrae: int | None, spacing_mm: Spacing) -> AnatomySpec:
    if vertebrae is None:
        fov_mm = [rng.uniform(*limits) for limits in _FIELD_OF_VIEW_MM]
        p, i, r = (round(length / step) for length, step in zip(fov_mm, spacing_mm, strict=True))
        return AnatomySpec(shape=(p, i, r), spacing_mm=spacing_mm)
    if not 1 <= vertebrae <= MOST_VERTEBRAE:
        raise _usage(f"A phantom cannot show {vertebrae} vertebrae.", f"Give a number from 1 to {MOST_VERTEBRAE}.")
    return spec_for_vertebrae(rng, vertebrae, spacing_mm)


def _drawn_spacing(rng: np.random.Generator) -> Spacing:
    in_plane = round(float(rng.uniform(*_IN_PLANE_MM)), 2)
    return in_plane, in_plane, round(float(rng.uniform(*_SLICE_MM)), 2)


def _per_voxel(spacing_mm: Spacing) -> Shape:
    """The odd number of fine voxels along each axis that makes them about as large as the finest structures ask for."""
    p, i, r = (max(1, 2 * round((step / _FINE_SPACING_MM - 1) / 2) + 1) for step in spacing_mm)
    return p, i, r


def _stored(image: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Intensities as files hold them: mostly whole numbers, sometimes 8 bit, sometimes standardised with negative values."""
    way = rng.random()
    if way < 0.2:
        return np.asarray((image - image.mean()) / image.std(), dtype=np.float32)
    white = 255 / float(image.max()) if way < 0.4 else rng.uniform(*_INTEGER_WHITE)
    return np.asarray(np.rint(image * np.float32(white)), dtype=np.float32)


def _turn_to(orientation: Sequence[str]) -> Reorientation:
    letters = "".join(orientation)
    if len(orientation) != 3 or sorted("LAS".find(c) if c in "LAS" else "RPI".find(c) for c in letters) != [0, 1, 2]:
        raise _usage(f"{letters!r} is no orientation.", "Give one letter each of L or R, P or A, I or S, for example PIR.")
    return Reorientation.between(PIR, (letters[0], letters[1], letters[2]))


def _checked_spacing(spacing_mm: Spacing) -> Spacing:
    low, high = SPACING_LIMITS_MM
    if len(spacing_mm) != 3 or not all(low <= step <= high for step in spacing_mm):
        raise _usage(
            f"A phantom cannot have the voxel spacing {tuple(spacing_mm)}.", f"Give three lengths from {low} to {high} mm."
        )
    p, i, r = (float(step) for step in spacing_mm)
    return p, i, r


def _checked_seed(seed: int) -> int:
    if seed < 0:
        raise _usage(f"{seed} is no seed.", "Give a whole number from 0 on.")
    return seed


def _usage(found: str, remedy: str) -> UsageError:
    return UsageError(ErrorCode.USAGE, found, remedy=remedy)
