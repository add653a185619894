"""Cervical, thoracic and lumbar parts of a pair of masks (SPINEPS paper, appendix B).

A voxel belongs to the region of its vertebra instance, a disc or endplate to that of its vertebra. Canal, cord and voxels
without an instance belong to the region of the nearest vertebra of the reference. The reference's ids must be level names; a
predicted vertebra takes the region of the reference vertebra that it shares most voxels with, so that a labelling shifted by
one level does not move voxels to another region.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from spineps.errors import ErrorCode, InputError
from spineps.evaluation.masks import Pair
from spineps.evaluation.overlap import JointCounts, joint_counts
from spineps.evaluation.structures import REGION_CODES, is_counted_vertebra, owner, region_of
from spineps.labels import DISC_OFFSET, ENDPLATE_OFFSET, SACRUM_INSTANCE, T13_INSTANCE, Scheme, Structure

Codes = NDArray[np.uint8]
_LOWEST_LUMBAR = (23, 24, 25)
_TABLE_SIZE = ENDPLATE_OFFSET + DISC_OFFSET


def region_codes(pair: Pair) -> tuple[Codes, Codes]:
    """Region of every voxel of both sides.

    Parameters
    ----------
    pair : Pair
        With instance masks.

    Returns
    -------
    tuple of two ndarray of uint8
        Reference and prediction: 0 background and sacrum, else :data:`REGION_CODES`.

    Raises
    ------
    InputError
        INPUT_LABELS without instance masks, or where the reference's ids cannot be level names.
    """
    arrays = pair.arrays(Scheme.INSTANCE)
    if arrays is None:
        raise InputError(
            ErrorCode.INPUT_LABELS,
            "Regions need instance masks, and there are none on both sides.",
            remedy="Give *_seg-vert_msk files as well, or leave --regions out.",
        )
    reference, prediction = arrays
    counts = joint_counts(reference, prediction)
    check_level_names(counts)
    tables = (_reference_table(), _prediction_table(counts, reference, prediction, pair))
    nearest = _NearestRegion(reference, pair)
    semantic = pair.arrays(Scheme.SEMANTIC)
    sides = []
    for side, (instances, table) in enumerate(zip(arrays, tables, strict=True)):
        codes = _long_enough(table, instances)[instances]  # np.take would make an int64 copy of the volume
        if semantic is not None:
            free = (semantic[side] > 0) & (semantic[side] != Structure.SACRUM) & (codes == 0)
            codes[free] = nearest(np.argwhere(free))
        sides.append(codes)
    return sides[0], sides[1]


def _long_enough(table: Codes, labels: NDArray[Any]) -> Codes:
    """The table, with zeros for ids beyond it: they belong to no region."""
    return np.pad(table, (0, max(0, int(labels.max(initial=0)) + 1 - table.size)))


def check_level_names(counts: JointCounts) -> None:
    """Refuse a reference whose ids cannot be level names: a sacrum, but no lower lumbar vertebra above it.

    Raises
    ------
    InputError
        INPUT_LABELS.
    """
    labels = counts.reference_labels()
    vertebrae = [i for i in labels if is_counted_vertebra(i)]
    has_lowest = any(i in vertebrae for i in _LOWEST_LUMBAR)
    if not vertebrae or any(i > T13_INSTANCE for i in vertebrae) or (SACRUM_INSTANCE in labels and not has_lowest):
        raise InputError(
            ErrorCode.INPUT_LABELS,
            f"Regions need level names, but the reference's vertebrae are {vertebrae} above a sacrum."
            if vertebrae
            else "Regions need vertebrae in the reference, and it has none.",
            remedy="Number the reference's vertebrae C1 = 1 ... L5 = 24 (T13 = 28, L6 = 25), or leave --regions out.",
        )


def _reference_table() -> Codes:
    table = np.zeros(_TABLE_SIZE, dtype=np.uint8)
    for instance in range(1, _TABLE_SIZE):
        region = region_of(owner(instance))
        table[instance] = 0 if region is None else REGION_CODES[region]
    return table


def _prediction_table(counts: JointCounts, reference: NDArray[Any], prediction: NDArray[Any], pair: Pair) -> Codes:
    """Predicted id to region, through the reference vertebra with the greatest overlap, else the nearest one."""
    table = np.zeros(_TABLE_SIZE, dtype=np.uint8)
    vertebrae = [i for i in counts.reference_labels() if is_counted_vertebra(i)]
    nearest = _NearestRegion(reference, pair)
    for instance in counts.prediction_labels():
        if not is_counted_vertebra(instance) or instance >= DISC_OFFSET:
            continue
        shared = counts.table[vertebrae, instance]
        if shared.any():
            region = region_of(vertebrae[int(shared.argmax())])
            code = 0 if region is None else REGION_CODES[region]
        else:
            centre = ndimage.center_of_mass(prediction == instance)
            code = int(nearest(np.asarray([centre]))[0])
        table[[instance, DISC_OFFSET + instance, ENDPLATE_OFFSET + instance]] = code
    return table


class _NearestRegion:
    """Region of the reference vertebra whose centre is nearest to a voxel."""

    def __init__(self, reference: NDArray[Any], pair: Pair) -> None:
        self._spacing_mm = np.asarray(pair.spacing_mm)
        boxes = ndimage.find_objects(reference)
        centres, codes = [], []
        for index, box in enumerate(boxes):
            region = region_of(index + 1) if box is not None and is_counted_vertebra(index + 1) else None
            if region is not None:
                inside = ndimage.center_of_mass(reference[box] == index + 1)
                centres.append([(c + s.start) for c, s in zip(inside, box, strict=True)])
                codes.append(REGION_CODES[region])
        self._tree = KDTree(np.asarray(centres) * self._spacing_mm)
        self._codes = np.asarray(codes, dtype=np.uint8)

    def __call__(self, voxels: NDArray[Any]) -> Codes:
        if not len(voxels):
            return np.empty(0, dtype=np.uint8)
        codes: Codes = self._codes[self._tree.query(voxels * self._spacing_mm)[1]]
        return codes
