"""Clean-up of the semantic mask: specks, islands away from the spine, a misplaced sacrum, holes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import edt
import fill_voids
import numpy as np
from numpy.typing import NDArray

from spineps.errors import Finding, FindingCode
from spineps.geometry import Box, Spacing
from spineps.labels import BODY, CANAL_AND_CORD, ENDPLATES, POSTERIOR, Scheme, Structure, lookup
from spineps.stages.chain import Midline, in_line
from spineps.stages.components import CORNERS, FACES, Components, around, connected, label_boxes, reference_voxels
from spineps.volume import LabelMap

SPECK_VOXELS: Final = 30
"""Components of one label below this many voxels of the published models are removed (published SPINEPS)."""
SPECK_LABELS: Final = (*POSTERIOR, Structure.CORPUS, Structure.CANAL, Structure.DISC)
FILLED_LABELS: Final = (Structure.CORPUS, Structure.CANAL, Structure.DISC, Structure.CORD)
"""Labels whose holes are filled (published SPINEPS)."""
ATTACHED_MM: Final = 3.0
"""A component this near to the spine belongs to it (published SPINEPS: the margin of its bounding box clean)."""
ATTACHED_POSTERIOR_MM: Final = 10.0
"""The same for posterior elements, which come loose where the network misses a lamina."""
PIECE_ML: Final = 1.0
"""A component with this much of body, disc or canal can be a piece of a spine that a gap breaks."""
STRAY_MM: Final = 35.0
"""Bodies and discs whose centre is this far from the spine's midline are no part of it (half a large body and some more)."""
STRAY_CANAL_MM: Final = 25.0
"""Canal and cord whose centre is this far beside that midline are no part of it (half a wide canal and some rotation)."""
POSTERIOR_REACH_MM: Final = 90.0
"""Posterior elements reach at most this far from the midline of the bodies."""
SACRUM_GAP_MM: Final = 25.0
"""Largest gap between the lowest body or disc and the sacrum; a collapsed or missed last disc leaves less."""
SACRUM_PIECE_GAP_MM: Final = 6.0
"""Largest gap between two pieces of the sacrum (remnants of sacral discs, 4 mm or so and a voxel)."""

_COLUMN = lookup((*BODY, *ENDPLATES, Structure.DISC))
_CANAL = lookup(CANAL_AND_CORD)
_POSTERIOR = lookup(POSTERIOR)


@dataclass(frozen=True, slots=True, eq=False)
class _Points:
    """The labelled voxels of a box as lists: what is computed on them costs nothing for the background."""

    where: NDArray[np.int64]
    labels: NDArray[np.uint8]
    mm: NDArray[np.float32]
    plane: NDArray[np.int64]

    @classmethod
    def of(cls, labels: NDArray[np.uint8], spacing_mm: Spacing) -> _Points:
        where = np.flatnonzero(labels)
        index = np.unravel_index(where, labels.shape)
        mm = np.stack([axis.astype(np.float32) * step for axis, step in zip(index, spacing_mm, strict=True)], axis=1)
        return cls(where, labels.reshape(-1)[where], mm.astype(np.float32), index[1].astype(np.int64))

    def midline(self, chosen: NDArray[np.bool_], spacing_mm: Spacing) -> Midline:
        return Midline.through(self.mm[chosen], self.plane[chosen], spacing_mm[1])


def clean_semantic(semantic: LabelMap, *, fill: bool = True) -> tuple[LabelMap, tuple[Finding, ...]]:
    """Remove what is no spine from a semantic mask and fill its holes (SPINEPS paper, section 2.4, and the published tool).

    Specks of a label are removed. The component that looks most like a spine is kept, and with it what is attached to it and
    other pieces that continue its midline across a gap (a missed disc, metal). Bodies, discs and canals far from the midline
    are removed even where something ties them to the spine, and of the sacrum only what adjoins the spine's lower end is kept.

    Parameters
    ----------
    semantic : LabelMap
        In PIR orientation.
    fill : bool
        Fill holes.

    Returns
    -------
    LabelMap, tuple of Finding
        The cleaned mask (uint8), and STRAY_REMOVED where something was removed that is more than a speck.
    """
    whole = semantic.labels.astype(np.uint8)
    box = Box.around(whole > 0)
    if box is None:
        return LabelMap(whole, semantic.geometry, Scheme.SEMANTIC, semantic.source), ()
    spacing_mm = semantic.geometry.spacing_mm
    labels = _without_specks(np.ascontiguousarray(whole[box.slices]), spacing_mm)
    before = int(np.count_nonzero(labels))
    labels = _without_stray(_spine_only(labels, spacing_mm), spacing_mm)
    labels = _with_sacrum_at_the_end(labels, spacing_mm)
    removed_ml = (before - int(np.count_nonzero(labels))) * semantic.geometry.voxel_volume_mm3 / 1000
    out = np.zeros_like(whole)
    out[box.slices] = fill_holes(labels) if fill else labels
    findings: tuple[Finding, ...] = ()
    if removed_ml > 0:
        findings = (Finding(FindingCode.STRAY_REMOVED, f"{removed_ml:.2f} ml of labels away from the spine were removed."),)
    return LabelMap(out, semantic.geometry, Scheme.SEMANTIC, semantic.source), findings


def fill_holes(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Fill the unlabelled holes of bodies, canal, discs and cord, each label inside its own box."""
    out = labels.copy()
    boxes = label_boxes(labels)
    for label in FILLED_LABELS:
        if label not in boxes:
            continue
        part = out[boxes[label].slices]
        filled = fill_voids.fill(part == label, in_place=True)
        part[filled & (part == 0)] = label
    return out


def _without_specks(labels: NDArray[np.uint8], spacing_mm: Spacing) -> NDArray[np.uint8]:
    parts = connected(labels, FACES)
    points = np.flatnonzero(labels)
    numbers = parts.numbers.reshape(-1)[points]
    speck = (parts.sizes < reference_voxels(SPECK_VOXELS, spacing_mm))[numbers] & lookup(SPECK_LABELS)[
        labels.reshape(-1)[points]
    ]
    out = labels.copy()
    out.reshape(-1)[points[speck]] = 0
    return out


def _spine_only(labels: NDArray[np.uint8], spacing_mm: Spacing) -> NDArray[np.uint8]:
    """Keep the chain of components that is the spine; the sacrum is judged on its own."""
    spine = np.where(labels == Structure.SACRUM, np.uint8(0), labels)
    parts = connected(spine > 0, CORNERS)
    if parts.count < 2:
        return labels
    points = _Points.of(spine, spacing_mm)
    numbers = parts.numbers.reshape(-1)[points.where].astype(np.int64)
    keep = np.zeros(parts.count + 1, np.bool_)
    main = _main_component(points, numbers, parts)
    keep[main] = True
    # Nothing of the column lies below a sacrum: what is painted there is bladder, bowel or coccyx.
    lowest_plane = _sacrum_plane(labels, parts.numbers == main, spacing_mm)
    possible = np.array([centre[1] <= lowest_plane for centre in parts.centres])
    _join_pieces(keep, possible, points, numbers, parts, spacing_mm)
    _join_fragments(keep, points, numbers, parts, spacing_mm)
    out = labels.copy()
    out.reshape(-1)[points.where[~keep[numbers]]] = 0
    return out


def _main_component(points: _Points, numbers: NDArray[np.int64], parts: Components) -> int:
    """The component with the most planes that show both a body or disc and a canal or arch; among equals the one with the
    most planes of body, disc or canal, and then the largest: an arch alone is no spine to join others to.
    """
    planes = int(points.plane.max()) + 1

    def seen(kind: NDArray[np.bool_]) -> NDArray[np.bool_]:
        table = np.zeros((parts.count + 1, planes), np.bool_)
        chosen = kind[points.labels]
        table[numbers[chosen], points.plane[chosen]] = True
        return table

    both = (seen(_COLUMN) & seen(_CANAL | _POSTERIOR)).sum(axis=1)
    both[0] = -1
    return int(np.lexsort((parts.sizes, seen(_COLUMN | _CANAL).sum(axis=1), both))[-1])


def _sacrum_plane(labels: NDArray[np.uint8], main: NDArray[np.bool_], spacing_mm: Spacing) -> float:
    """Plane of the centre of the largest sacrum that adjoins the main component; infinite where none does."""
    parts = connected(labels == Structure.SACRUM, CORNERS)
    for k in (int(k) for k in np.argsort(-parts.sizes[1:], kind="stable") + 1):
        if near(main, parts, k, SACRUM_GAP_MM, spacing_mm):
            return float(parts.centres[k][1])
    return float("inf")


def _join_pieces(
    keep: NDArray[np.bool_],
    possible: NDArray[np.bool_],
    points: _Points,
    numbers: NDArray[np.int64],
    parts: Components,
    spacing_mm: Spacing,
) -> None:
    """Mark the possible components that continue the midline of the kept ones, the nearest first."""
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    kinds = [_COLUMN[points.labels], _CANAL[points.labels]]
    volumes = [np.bincount(numbers[kind], minlength=parts.count + 1) * voxel_ml for kind in kinds]
    waiting = {int(k) for k in np.flatnonzero((np.maximum(*volumes) >= PIECE_ML) & possible & ~keep) if k}
    joined = True
    while joined and waiting:
        joined = False
        spines = [points.midline(kind & keep[numbers], spacing_mm) for kind in kinds]
        ends = spines[0].span_mm if spines[0].known else spines[1].span_mm
        for k in sorted(waiting, key=lambda k: (_gap(parts.boxes[k], ends, spacing_mm), k)):
            kind = 0 if volumes[0][k] >= PIECE_ML else 1
            piece = points.midline(kinds[kind] & (numbers == k), spacing_mm)
            if in_line(spines[kind] if spines[kind].known else spines[0], piece):
                keep[k] = joined = True
                waiting.discard(k)
                break


def _gap(box: Box, ends_mm: tuple[float, float], spacing_mm: Spacing) -> float:
    top, bottom = box.start[1] * spacing_mm[1], box.stop[1] * spacing_mm[1]
    return max(0.0, top - ends_mm[1], ends_mm[0] - bottom)


def _join_fragments(
    keep: NDArray[np.bool_], points: _Points, numbers: NDArray[np.int64], parts: Components, spacing_mm: Spacing
) -> None:
    """Mark the components that lie close to the kept ones and where their kind may lie."""
    column = _COLUMN[points.labels] & keep[numbers]
    midline = points.midline(column if column.any() else keep[numbers], spacing_mm)
    posterior = np.bincount(numbers, weights=_POSTERIOR[points.labels], minlength=parts.count + 1) > 0.5 * parts.sizes
    kept = keep[parts.numbers]
    grown = True
    while grown:
        grown = False
        for k in range(1, parts.count + 1):
            if keep[k]:
                continue
            reach, offset = (ATTACHED_POSTERIOR_MM, POSTERIOR_REACH_MM) if posterior[k] else (ATTACHED_MM, STRAY_MM)
            centre_mm = parts.centres[k] * spacing_mm
            if midline.distance_mm(centre_mm) <= offset and near(kept, parts, k, reach, spacing_mm):
                keep[k] = grown = True
                kept[parts.boxes[k].slices] |= parts.mask(k)


def near(kept: NDArray[np.bool_], parts: Components, number: int, reach_mm: float, spacing_mm: Spacing) -> bool:
    """Tell whether a component comes within a distance of the kept voxels; only its surroundings are looked at."""
    region = around(parts.boxes[number], reach_mm, spacing_mm, kept.shape)
    here = np.ascontiguousarray(kept[region.slices])
    if not here.any():
        return False
    distance = edt.edt(~here, anisotropy=spacing_mm)
    return bool(distance[parts.numbers[region.slices] == number].min() <= reach_mm)


def _without_stray(labels: NDArray[np.uint8], spacing_mm: Spacing) -> NDArray[np.uint8]:
    """Remove bodies, discs and canals that are tied to the spine but lie far from the midline of its bodies and discs."""
    column = np.where(_COLUMN[labels], labels, np.uint8(0))
    points = _Points.of(column, spacing_mm)
    if points.where.size == 0:
        return labels
    midline = points.midline(np.ones(points.where.size, np.bool_), spacing_mm)
    beside = replace(midline, centre_mm=midline.centre_mm * (0, 1))  # a canal lies behind the column: only R counts
    out = labels.copy()
    for parts, course, limit_mm, axes in (
        (connected(column, FACES), midline, STRAY_MM, (1, 1, 1)),
        (connected(_CANAL[labels], FACES), beside, STRAY_CANAL_MM, (0, 1, 1)),
    ):
        far = [course.distance_mm(centre * spacing_mm * axes) > limit_mm for centre in parts.centres[1:]]
        if any(far):
            out[np.array([False, *far])[parts.numbers]] = 0
    return out


def _with_sacrum_at_the_end(labels: NDArray[np.uint8], spacing_mm: Spacing) -> NDArray[np.uint8]:
    """Keep the component of the sacrum that adjoins the lowest body or disc, and its continuation."""
    parts = connected(labels == Structure.SACRUM, CORNERS)
    if parts.count == 0:
        return labels
    keep = _sacrum_components(labels, parts, spacing_mm)
    if keep[1:].all():
        return labels
    out = labels.copy()
    out[(parts.numbers > 0) & ~keep[parts.numbers]] = 0
    return out


def _sacrum_components(labels: NDArray[np.uint8], parts: Components, spacing_mm: Spacing) -> NDArray[np.bool_]:
    keep = np.zeros(parts.count + 1, np.bool_)
    by_size: list[int] = [int(k) for k in np.argsort(-parts.sizes[1:], kind="stable") + 1]
    lowest = _lowest_part(labels, (*BODY, Structure.DISC), spacing_mm)
    if lowest is None:
        keep[by_size[0]] = True
        return keep
    mask, centre_plane = lowest
    if (body := _lowest_part(labels, BODY, spacing_mm)) is not None:  # the last disc can lie beside a sacrum cut at its top
        centre_plane = body[1]
    below = [k for k in by_size if parts.centres[k][1] > centre_plane]
    first = next((k for k in below if near(mask, parts, k, SACRUM_GAP_MM, spacing_mm)), None)
    if first is None:
        return keep
    keep[first] = True
    grown: Any = True
    while grown:
        kept = keep[parts.numbers]
        grown = [k for k in below if not keep[k] and near(kept, parts, k, SACRUM_PIECE_GAP_MM, spacing_mm)]
        keep[grown] = True
    return keep


def _lowest_part(
    labels: NDArray[np.uint8], wanted: tuple[Structure, ...], spacing_mm: Spacing
) -> tuple[NDArray[np.bool_], float] | None:
    """Mask of the lowest component of some size of the wanted labels, and the plane of its centre."""
    parts = connected(np.where(lookup(wanted)[labels], labels, np.uint8(0)), FACES)
    large = np.flatnonzero(parts.sizes[1:] * np.prod(spacing_mm) >= PIECE_ML * 1000) + 1
    if large.size == 0:
        return None
    k = int(large[np.argmax(parts.centres[large, 1])])
    return parts.numbers == k, float(parts.centres[k][1])
