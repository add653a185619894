"""Discs and endplates get the level that they belong to (SPINEPS paper, section 2.3: the nearest vertebra above)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.config import EndplateLabels, EndplateOwner, PostprocessConfig
from spineps.geometry import Matrix, Spacing
from spineps.labels import (
    BODY,
    DISC_OFFSET,
    ENDPLATE_OFFSET,
    ENDPLATES,
    FIRST_UNNAMED_INSTANCE,
    SACRUM_INSTANCE,
    Structure,
    lookup,
)
from spineps.stages.assign import NO_BODY_WEIGHT, grow, ring_counts
from spineps.stages.components import CORNERS, EDGES, connected

FUSED_SHARE: Final = 0.15
"""A disc component with more than this share of its voxels on either side of a body's centre spans two levels."""

_IS_BODY = lookup(BODY)
_IS_PLATE = lookup(ENDPLATES)


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """The vertebrae from top to bottom, numbered 1 to n in the instance array at hand.

    Parameters
    ----------
    ids : ndarray of int, shape (n + 2,)
        Their final ids between that of the level above the first and the sacrum's.
    centres_vox : ndarray, shape (n, 3)
        Centres of their bodies.
    """

    ids: NDArray[np.int64]
    centres_vox: Matrix

    @classmethod
    def of(cls, semantic: NDArray[np.uint8], instance: NDArray[np.uint8], ids: Sequence[int]) -> Levels:
        """Levels of the instances 1 to n, which get the given ids."""
        where = np.flatnonzero(instance)
        owner = instance.reshape(-1)[where].astype(np.int64)
        weights = np.where(_IS_BODY[semantic.reshape(-1)[where]], 1.0, NO_BODY_WEIGHT)
        size = len(ids) + 1
        totals = np.bincount(owner, weights=weights, minlength=size)
        index = np.unravel_index(where, instance.shape)
        sums = np.stack([np.bincount(owner, weights=weights * axis, minlength=size) for axis in index], axis=1)
        first = ids[0] - 1 if ids else FIRST_UNNAMED_INSTANCE - 1
        return cls(np.array([first, *ids, SACRUM_INSTANCE], np.int64), sums[1:] / totals[1:, None])

    @property
    def count(self) -> int:
        """Number of vertebrae."""
        return len(self.centres_vox)

    def above(self, planes: NDArray[np.floating]) -> NDArray[np.int64]:
        """For positions along I the index of the nearest vertebra above, -1 where there is none."""
        found: NDArray[np.int64] = np.searchsorted(self.centres_vox[:, 1], planes, side="left") - 1
        return found

    def id_of(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Final ids of indices from -1 (the level above the first vertebra) to n (the sacrum)."""
        return self.ids[index + 1]


@dataclass(frozen=True, slots=True, eq=False)
class Plates:
    """The endplate voxels: where they are, which side of which vertebra (an index, n for the sacrum) they cover."""

    where: NDArray[np.int64]
    superior: NDArray[np.bool_]
    owner: NDArray[np.int64]


def paint_discs(out: NDArray[np.uint16], semantic: NDArray[np.uint8], levels: Levels) -> None:
    """Write 100 + X for each disc into ``out``; a component that spans several levels is divided at the bodies' centres."""
    parts = connected(semantic == Structure.DISC, CORNERS)
    where = np.flatnonzero(parts.numbers)
    numbers = parts.numbers.reshape(-1)[where].astype(np.int64)
    plane = (where // semantic.shape[2]) % semantic.shape[1]
    level = levels.above(parts.centres[:, 1])[numbers]
    for number in range(1, parts.count + 1):
        low, high = parts.boxes[number].start[1], parts.boxes[number].stop[1]
        inside = (levels.centres_vox[:, 1] > low) & (levels.centres_vox[:, 1] < high)
        if inside.any():
            voxels = np.flatnonzero(numbers == number)
            cuts = [c for c in levels.centres_vox[inside, 1] if FUSED_SHARE < (plane[voxels] < c).mean() < 1 - FUSED_SHARE]
            if cuts:
                _, pieces = np.unique(np.searchsorted(cuts, plane[voxels], side="right"), return_inverse=True)
                means = np.bincount(pieces, plane[voxels]) / np.bincount(pieces)
                level[voxels] = levels.above(means)[pieces]
    out.reshape(-1)[where] = DISC_OFFSET + levels.id_of(level)


def find_plates(semantic: NDArray[np.uint8], instance: NDArray[np.uint8], levels: Levels, spacing_mm: Spacing) -> Plates:
    """Tell which vertebra each endplate voxel covers, and from which side; no voxel is left over.

    Voxels that already carry a side keep it. The others belong to the body (or sacrum) that grows into them; components
    that touch none belong to the nearer of the two bodies around them.
    """
    where = np.flatnonzero(_IS_PLATE[semantic])
    points = np.stack(np.unravel_index(where, semantic.shape), axis=1)
    owner = _grown_into_plates(semantic, instance, levels.count + 1).reshape(-1)[where].astype(np.int64) - 1
    superior = np.ones(len(where), np.bool_)
    known = (owner >= 0) & (owner < levels.count)
    superior[known] = _above_centre(points[known], owner[known], levels, spacing_mm)
    _place_loose(semantic, where, owner, superior, levels, spacing_mm)
    _keep_given_sides(semantic.reshape(-1)[where], points, owner, superior, levels)
    return Plates(where, superior, owner)


def _grown_into_plates(semantic: NDArray[np.uint8], instance: NDArray[np.uint8], sacrum: int) -> NDArray[np.uint8]:
    seeds = np.where(_IS_BODY[semantic], instance, np.uint8(0))
    seeds[semantic == Structure.SACRUM] = sacrum
    plate = _IS_PLATE[semantic]
    return grow(plate, semantic, seeds, rounds=sum(semantic.shape))


def _spine_axes(levels: Levels, spacing_mm: Spacing) -> Matrix:
    """Unit vectors along the spine at each vertebra, shape (n, 3), in mm."""
    centres = levels.centres_vox * np.asarray(spacing_mm)
    if len(centres) < 2:
        return np.array([[0.0, 1.0, 0.0]])
    axes: Matrix = np.gradient(centres, axis=0)
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return axes


def _above_centre(
    points: NDArray[np.int64], owner: NDArray[np.int64], levels: Levels, spacing_mm: Spacing
) -> NDArray[np.bool_]:
    offset = (points - levels.centres_vox[owner]) * np.asarray(spacing_mm)
    above: NDArray[np.bool_] = (offset * _spine_axes(levels, spacing_mm)[owner]).sum(axis=1) < 0
    return above


def _place_loose(
    semantic: NDArray[np.uint8],
    where: NDArray[np.int64],
    owner: NDArray[np.int64],
    superior: NDArray[np.bool_],
    levels: Levels,
    spacing_mm: Spacing,
) -> None:
    """Owner and side of the components that no body grew into."""
    loose = np.zeros(semantic.shape, np.bool_)
    loose.reshape(-1)[where[owner < 0]] = True
    parts = connected(loose, EDGES)
    numbers = parts.numbers.reshape(-1)[where]
    coded = np.zeros(semantic.shape, np.uint16)
    coded.reshape(-1)[where[owner >= 0]] = 1 + 2 * owner[owner >= 0] + superior[owner >= 0]
    last = levels.count - 1
    has_sacrum = bool((semantic == Structure.SACRUM).any())
    for number in range(1, parts.count + 1):
        index = int(levels.above(parts.centres[number, 1:2])[0])
        touched = ring_counts(parts.numbers, number, parts.boxes[number].grown((1, 1, 1)).slices, coded)[1]
        if touched[1:].any():
            of, side = divmod(int(np.argmax(touched[1:])), 2)
        elif index < 0:
            side, of = True, 0
        elif index == last:
            side = has_sacrum and _below_last_disc(semantic, parts.centres[number, 1], levels)
            of = last + 1 if side else last
        else:
            upper, lower = levels.centres_vox[index : index + 2] * np.asarray(spacing_mm)
            step = lower - upper
            share = float((parts.centres[number] * spacing_mm - upper) @ step) / max(1e-9, float(step @ step))
            side, of = (False, index) if share < 0.5 else (True, index + 1)
        owner[numbers == number] = of
        superior[numbers == number] = side


def _below_last_disc(semantic: NDArray[np.uint8], plane: float, levels: Levels) -> bool:
    """Tell whether a plane along I lies below the middle of the disc under the last vertebra."""
    counts = np.count_nonzero(semantic == Structure.DISC, axis=(0, 2))
    planes = np.flatnonzero(counts)
    planes = planes[planes > levels.centres_vox[-1, 1]]
    return bool(planes.size and plane > np.average(planes, weights=counts[planes]))


def _keep_given_sides(
    labels: NDArray[np.uint8], points: NDArray[np.int64], owner: NDArray[np.int64], superior: NDArray[np.bool_], levels: Levels
) -> None:
    """Where the mask already says which side a plate is, that holds, and the vertebra follows from it."""
    level = levels.above(points[:, 1].astype(np.float64))
    for label, side in ((Structure.ENDPLATE_SUPERIOR, True), (Structure.ENDPLATE_INFERIOR, False)):
        wrong = (labels == label) & (superior != side)
        superior[wrong] = side
        owner[wrong] = np.maximum(0, level[wrong] + 1) if side else np.maximum(0, level[wrong])


def paint_plates(out: NDArray[np.uint16], plates: Plates, levels: Levels, owner: EndplateOwner) -> None:
    """Write 200 + X for each endplate voxel: X is the disc's level, or the plate's own vertebra."""
    own = owner is EndplateOwner.VERTEBRA
    index = plates.owner if own else plates.owner - plates.superior
    out.reshape(-1)[plates.where] = ENDPLATE_OFFSET + levels.id_of(index)


def label_plates(semantic: NDArray[np.uint8], plates: Plates, config: PostprocessConfig) -> NDArray[np.uint8]:
    """The semantic mask with endplates superior and inferior (52, 53), or merged (62)."""
    out = semantic.copy()
    if config.endplate_labels is EndplateLabels.MERGED:
        out.reshape(-1)[plates.where] = Structure.ENDPLATE
    else:
        sides = np.where(plates.superior, Structure.ENDPLATE_SUPERIOR, Structure.ENDPLATE_INFERIOR).astype(np.uint8)
        out.reshape(-1)[plates.where] = sides
    return out
