"""Post-processing: semantic and instance mask made consistent and complete (SPINEPS paper, section 2.4)."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Final

import fill_voids
import numpy as np
from numpy.typing import NDArray

from spineps.config import EndplateLabels, PostprocessConfig, Step
from spineps.errors import Finding, FindingCode
from spineps.geometry import Box, Spacing, extract
from spineps.labels import ENDPLATES, SACRUM_INSTANCE, VERTEBRA, Scheme, Structure, lookup, unnamed_instances
from spineps.stages.assign import (
    assign_articular,
    assign_components,
    clip_to_vertebrae,
    grow,
    join_split_top,
    reassign_fragments,
    top_to_bottom,
    unite_loose_spinous,
)
from spineps.stages.components import label_boxes
from spineps.stages.levels import Levels, find_plates, label_plates, paint_discs, paint_plates
from spineps.volume import LabelMap

LEAST_ROUNDS: Final = 2
"""Voxels that the instances grow at least into unassigned vertebra (published SPINEPS)."""


@dataclass(frozen=True, slots=True, eq=False)
class Postprocessed:
    """Both masks, made consistent.

    Parameters
    ----------
    semantic : LabelMap
        uint8, endplates as configured.
    instance : LabelMap
        uint16: vertebrae from :data:`~spineps.labels.FIRST_UNNAMED_INSTANCE` on, discs 100 + X, endplates 200 + X, sacrum 26.
    agreement : Mapping of int to float
        Of each vertebra id.
    findings : tuple of Finding
        ORPHANS_REMOVED.
    """

    semantic: LabelMap
    instance: LabelMap
    agreement: Mapping[int, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


def postprocess(
    semantic: LabelMap,
    instance: NDArray[np.uint8],
    agreement: Mapping[int, float],
    config: PostprocessConfig | None = None,
    *,
    instance_spacing_mm: Spacing | None = None,
) -> Postprocessed:
    """Make both masks consistent and complete.

    Parameters
    ----------
    semantic : LabelMap
        In PIR orientation.
    instance : ndarray of uint8
        Vertebrae 1 to n in any order, in the same grid.
    agreement : Mapping of int to float
        Of each number in ``instance``.
    config : PostprocessConfig, optional
        With ``enabled=False`` the masks are only clipped to each other and numbered.
    instance_spacing_mm : tuple of 3 float, optional
        Spacing that the instances were found at; the coarser it is, the wider the rim that they must grow.
    """
    config = config or PostprocessConfig()
    box = Box.around(semantic.labels > 0)
    if box is None:
        empty = LabelMap(np.zeros(semantic.geometry.shape, np.uint16), semantic.geometry, Scheme.INSTANCE, semantic.source)
        return Postprocessed(semantic, empty)
    rim = box.grown((1, 1, 1))
    classes, numbers = extract(semantic.labels.astype(np.uint8), rim), extract(instance, rim)
    spacing_mm = semantic.geometry.spacing_mm
    findings: tuple[Finding, ...] = ()
    if Step.CLIP not in config.without:
        numbers = clip_to_vertebrae(classes, numbers)
    numbers, order = _ordered(classes, numbers)
    if config.enabled:
        rounds = _rounds(spacing_mm, instance_spacing_mm or spacing_mm)
        classes, numbers, removed = _completed(classes, numbers, rounds, spacing_mm, without=config.without)
        findings = _orphans(removed, semantic.geometry.voxel_volume_mm3)
        numbers, again = _ordered(classes, numbers)
        order = [order[k - 1] for k in again]
    ids = unnamed_instances(len(order))
    classes, painted = _painted(classes, numbers, Levels.of(classes, numbers, ids), config, spacing_mm)
    inner = (slice(1, -1), slice(1, -1), slice(1, -1))
    new_semantic = np.zeros(semantic.geometry.shape, np.uint8)
    new_instance = np.zeros(semantic.geometry.shape, np.uint16)
    new_semantic[box.slices], new_instance[box.slices] = classes[inner], painted[inner]
    return Postprocessed(
        LabelMap(new_semantic, semantic.geometry, Scheme.SEMANTIC, semantic.source),
        LabelMap(new_instance, semantic.geometry, Scheme.INSTANCE, semantic.source),
        {new: float(agreement.get(old, 0.0)) for old, new in zip(order, ids, strict=True)},
        findings,
    )


def _ordered(semantic: NDArray[np.uint8], instance: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], list[int]]:
    """The instances numbered 1 to n from top to bottom, and the number that each had before."""
    order = top_to_bottom(semantic, instance)
    table = np.zeros(256, np.uint8)
    table[order] = np.arange(1, len(order) + 1)
    return table[instance], order


def _rounds(spacing_mm: Spacing, instance_spacing_mm: Spacing) -> int:
    """Voxels to grow: those that one voxel of the coarser grid spans, and one more."""
    spans = [coarse / fine for coarse, fine in zip(instance_spacing_mm, spacing_mm, strict=True)]
    return max(LEAST_ROUNDS, int(np.ceil(max(spans) - 1e-3)) + 1)


def _completed(
    semantic: NDArray[np.uint8],
    instance: NDArray[np.uint8],
    rounds: int,
    spacing_mm: Spacing,
    *,
    without: Container[Step] = (),
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int]:
    removed = 0
    if Step.ARTICULAR not in without:
        instance = assign_articular(semantic, instance)
    if Step.MISSING not in without:
        instance = grow(lookup(VERTEBRA)[semantic], semantic, instance, rounds)
        semantic, instance, removed = assign_components(semantic, instance)
    if Step.SPLIT_TOP not in without:
        instance = join_split_top(semantic, instance, spacing_mm)
    if Step.POSTERIOR not in without:
        instance = unite_loose_spinous(semantic, reassign_fragments(semantic, instance), spacing_mm)
    if Step.HOLES not in without:
        semantic, instance = _filled(semantic, instance)
    return semantic, instance, removed


def _filled(semantic: NDArray[np.uint8], instance: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Fill holes of the vertebrae in both masks; the structures around a hole grow into it."""
    instance, hollow = instance.copy(), np.zeros(semantic.shape, np.bool_)
    for number, box in label_boxes(instance).items():
        owner, classes = instance[box.slices], semantic[box.slices]
        holes = fill_voids.fill(owner == number) & (owner == 0) & (classes == 0)
        owner[holes] = number
        hollow[box.slices] |= holes
    return grow(hollow, instance, semantic, rounds=sum(semantic.shape)), instance


def _painted(
    semantic: NDArray[np.uint8], instance: NDArray[np.uint8], levels: Levels, config: PostprocessConfig, spacing_mm: Spacing
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """Final ids of vertebrae, discs, endplates and sacrum, and the semantic mask with its endplates labelled."""
    table = np.zeros(256, np.uint16)
    table[1 : levels.count + 1] = levels.ids[1:-1]
    out = table[instance]
    out[semantic == Structure.SACRUM] = SACRUM_INSTANCE
    if levels.count == 0:
        return semantic, out
    paint_discs(out, semantic, levels)
    if lookup(ENDPLATES)[semantic].any():
        plates = find_plates(semantic, instance, levels, spacing_mm)
        paint_plates(out, plates, levels, config.endplate_owner)
        if config.enabled or config.endplate_labels is EndplateLabels.MERGED:
            semantic = label_plates(semantic, plates, config)
    return semantic, out


def _orphans(removed: int, voxel_mm3: float) -> tuple[Finding, ...]:
    if removed == 0:
        return ()
    message = f"{removed * voxel_mm3 / 1000:.2f} ml of vertebra that touch no vertebra instance were removed."
    return (Finding(FindingCode.ORPHANS_REMOVED, message),)
