"""Fields of view of held-out phantoms for bench/levels.py: drawn, painted, and kept, so that naming can be looked at again."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spineps.geometry import Geometry
from spineps.labels import BODY, SACRUM_INSTANCE, VERTEBRA, Structure, lookup
from spineps.phantom.anatomy import Anatomy, AnatomySpec, build_anatomy
from spineps.phantom.appearance import paint_patch
from spineps.phantom.contrasts import Contrast
from spineps.phantom.morphometry import Variant
from spineps.phantom.tissues import Tissue
from spineps.training.corruption import corrupt
from spineps.training.pool import bodies_of

FIELD_MM = ((130.0, 220.0), (220.0, 380.0), (60.0, 90.0))
WHOLE_SPINE_MM = (450.0, 640.0)
WHOLE_SPINE_CENTRE = (11.5, 14.5)
LUMBAR_CENTRE = (18.0, 21.5)
IN_PLANE_MM = (0.9, 1.3)
SLICE_MM = (1.65, 4.4)
GREATEST = 4095
"""Brightest value of an image: scanners write twelve bits."""
LEAST_RIB_ML = 0.15
"""Marrow of a rib on one side, from which on a field of view shows it: about 5 mm of its length."""
RIB_DEPTH_MM = 45.0
"""From a body's centre to a rib's head, neck or angle, forwards or backwards, at most."""

Masks = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Field:
    """One field of view.

    Parameters
    ----------
    geometry : Geometry
        Its grid.
    masks : dict of str to tuple of 2 ndarray
        Semantic and instance mask, ``true`` and ``corrupted``.
    image : ndarray of float32
        T2-weighted, as most are.
    levels : dict of int to str
        Name of each instance.
    bodies, ribs : list of str
        Levels whose body is shown whole, and those of which a rib is shown.
    """

    geometry: Geometry
    masks: dict[str, Masks]
    image: np.ndarray
    levels: dict[int, str]
    bodies: list[str]
    ribs: list[str]


def draw_field(seed: int, drawn: str, keep: Path | None) -> Field:
    """The field of view of a seed; from the folder ``keep`` where it is kept, else into it."""
    file = None if keep is None else keep / f"{drawn.replace(', ', '-')}-{seed}.npz"
    if file is not None and file.is_file():
        return _read(file)
    rng = np.random.default_rng(seed)
    anatomy = build_anatomy(rng, spec_of(rng, drawn))
    image = paint_patch(np.asarray(anatomy.tissue), anatomy.geometry.spacing_mm, rng, Contrast.T2W).image
    field = Field(
        anatomy.geometry,
        {"true": (np.asarray(anatomy.semantic), np.asarray(anatomy.instance)), "corrupted": corrupted(anatomy, rng)},
        np.rint(image * (GREATEST / image.max())),
        dict(anatomy.levels),
        [anatomy.levels[number] for number in bodies_of(anatomy.semantic, anatomy.instance)[0]],
        ribs_of(anatomy),
    )
    if file is not None:
        _write(file, field)
    return field


def spec_of(rng: np.random.Generator, drawn: str) -> AnatomySpec:
    """A field of view as scanners choose it; with a variant, where that shows."""
    in_plane = rng.uniform(*IN_PLANE_MM)
    spacing = (in_plane, in_plane, rng.uniform(*SLICE_MM))
    heights = WHOLE_SPINE_MM if drawn == "t13" else FIELD_MM[1]
    limits = (FIELD_MM[0], heights, FIELD_MM[2])
    p, i, r = (round(rng.uniform(*limit) / step) for limit, step in zip(limits, spacing, strict=True))
    if drawn == "any":
        return AnatomySpec((p, i, r), spacing)
    centre = float(rng.uniform(*(WHOLE_SPINE_CENTRE if drawn == "t13" else LUMBAR_CENTRE)))
    return AnatomySpec((p, i, r), spacing, centre_level=centre, variant=Variant(drawn.partition(",")[0]))


def corrupted(anatomy: Anatomy, rng: np.random.Generator) -> Masks:
    """Masks with errors: wherever the semantic mask still shows vertebra, the instance stays."""
    semantic = corrupt(np.asarray(anatomy.semantic), rng)
    vertebra = lookup(VERTEBRA)[semantic] & (anatomy.instance < 100) & (anatomy.instance != SACRUM_INSTANCE)
    instance = np.where(vertebra, anatomy.instance, 0).astype(np.uint8)
    instance[semantic == Structure.SACRUM] = SACRUM_INSTANCE
    return semantic, instance


def ribs_of(anatomy: Anatomy) -> list[str]:
    """Levels beside whose body the field of view shows a rib: only a vertebra's own begin at its height.

    A rib comes down from its vertebra, but at the width of a sagittal field of view by less than a vertebra's height.
    """
    spacing_mm = np.asarray(anatomy.geometry.spacing_mm)
    least = LEAST_RIB_ML * 1000 / math.prod(spacing_mm)
    rib = np.argwhere(anatomy.tissue == Tissue.RIB) * spacing_mm
    body = np.where(lookup(BODY)[anatomy.semantic], anatomy.instance, 0)
    found = []
    for number, name in anatomy.levels.items():
        points = np.argwhere(body == number) * spacing_mm
        if number == SACRUM_INSTANCE or not len(points):
            continue
        centre = points.mean(axis=0)
        offset = rib - centre
        near = (np.abs(offset) < (RIB_DEPTH_MM, np.ptp(points[:, 1]) / 2, np.inf)).all(axis=1)
        sides = offset[near, 2]
        if max(np.count_nonzero(sides < 0), np.count_nonzero(sides > 0)) >= least:
            found.append(name)
    return found


def _write(file: Path, field: Field) -> None:
    names = {str(number): name for number, name in field.levels.items()}
    facts = json.dumps({"levels": names, "bodies": field.bodies, "ribs": field.ribs})
    arrays = {f"{kind}_{k}": mask for kind, masks in field.masks.items() for k, mask in enumerate(masks)}
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}.npz")
    image = field.image.astype(np.int16)
    np.savez_compressed(partial, facts=np.array(facts), image=image, affine=field.geometry.affine, **arrays)
    partial.rename(file)


def _read(file: Path) -> Field:
    with np.load(file) as found:
        facts = json.loads(str(found["facts"]))
        masks = {kind: (found[f"{kind}_0"], found[f"{kind}_1"]) for kind in ("true", "corrupted")}
        image, affine = found["image"].astype(np.float32), found["affine"]
    levels = {int(number): name for number, name in facts["levels"].items()}
    return Field(Geometry(image.shape, affine), masks, image, levels, facts["bodies"], facts["ribs"])
