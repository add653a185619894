"""What a published labeling network says of the vertebrae of a column, as evidence.

Such a network gives opinions of several kinds on one vertebra: its level, a group of levels, its region, whether it is the
first or the last of a region, whether it is a thirteenth thoracic one, whether it is whole in its patch. Each becomes a
likelihood of names, or of sequences of names where it depends on the neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import chain, repeat
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineps.geometry import FloatArray, Matrix, Shape, Spacing
from spineps.inference.protocols import LabelingPredictor
from spineps.labeling.cutouts import LEAST_LOG
from spineps.labeling.landmarks import Column
from spineps.labeling.sequence import INDEX, NAMES, legal_sequences
from spineps.labels import BODY, lookup
from spineps.volume import LabelMap

TRUST: Final = 0.7
"""Power of the likelihood that one vertebra's opinions make together: those on neighbours are of one kind. Twice that of our
own network, which has seen phantoms alone; not fitted, for that takes the published weights and scans with known levels."""
HEADS: Final[Mapping[str, float]] = MappingProxyType({"VERT": 0.9, "VERTEX": 0.9, "VERTGRP": 0.8, "REGION": 1.1, "VT13": 0.4})
"""Opinions on a single vertebra, and the published weight of each."""
RELATION: Final = "VERTREL"
RELATION_WEIGHT: Final = 0.6
"""Published weight of the opinion on the ends of regions."""
VISIBLE: Final = "FULLYVISIBLE"
VISIBLE_WEIGHT: Final = 0.5
"""An opinion on a vertebra that is certainly not whole in its patch counts for so much less, as published."""
_REGULAR: Final = tuple(name for name in NAMES if name not in ("T13", "L6", "S1"))
_GROUPS: Final = (
    "C1 C2",
    "C3 C4 C5",
    "C6 C7",
    "T1 T2",
    "T3 T4",
    "T5 T6 T7",
    "T8 T9",
    "T10 T11",
    "T12 T13",
    "L1 L2",
    "L3 L4",
    "L5 L6",
)
_LAST: Final[Mapping[str, int]] = MappingProxyType({"T": 3, "L": 5})
"""Class of the last vertebra of a region whose number is not always the same."""
_FIXED: Final[Mapping[str, int]] = MappingProxyType({"C7": 1, "T1": 2, "L1": 4})
"""Class of the other ends of regions; 0 is none."""


def published_scores(
    network: LabelingPredictor, image: FloatArray, semantic: LabelMap, instance: LabelMap, column: Column
) -> tuple[Matrix, Matrix]:
    """Log-likelihoods from a published labeling network.

    Parameters
    ----------
    network : LabelingPredictor
        The network.
    image : ndarray of float32, shape (P, I, R)
        Intensities in the grid of the masks.
    semantic, instance : LabelMap
        In PIR orientation.
    column : Column
        Their vertebrae.

    Returns
    -------
    ndarray, shape (n, len(NAMES))
        Of each name for each vertebra.
    ndarray, shape (k,)
        Of each legal sequence, in the order of :func:`~spineps.labeling.sequence.legal_sequences`.
    """
    spacing_mm = semantic.geometry.spacing_mm
    patches = cut_patches(network, image, spacing_mm, body_centres(semantic, instance, column), column.centres_mm)
    opinions = [network(patch) for patch in patches]
    total = sum(weight for head, weight in HEADS.items() if head in network.heads) + RELATION_WEIGHT * (
        RELATION in network.heads
    )
    trust = [TRUST / total * visibility(said) for said in opinions]
    scores: Matrix = np.array([t * name_scores(said) for t, said in zip(trust, opinions, strict=True)])
    whole: Matrix = np.zeros(len(legal_sequences(column.count).names))
    if RELATION in network.heads:
        classes = relations(column.count)
        for row, t, said in zip(column.rows, trust, opinions, strict=True):
            whole += t * RELATION_WEIGHT * _log(said[RELATION])[classes[:, row]]
    return scores, whole


def name_scores(opinions: Mapping[str, FloatArray]) -> Matrix:
    """Weighted sum of the log-probabilities that the opinions on one vertebra give each name, shape (len(NAMES),)."""
    scores = np.zeros(len(NAMES))
    for head in HEADS.keys() & opinions.keys():
        scores[:-1] += HEADS[head] * _log(opinions[head])[_class_of_names(head)]
    scores[INDEX["S1"]] = LEAST_LOG * sum(HEADS.values())
    return scores


def visibility(opinions: Mapping[str, FloatArray]) -> float:
    """Factor on the opinions on one vertebra: 1 where it is whole in its patch."""
    return 1 - VISIBLE_WEIGHT * (1 - float(opinions[VISIBLE][1])) if VISIBLE in opinions else 1.0


@lru_cache(maxsize=64)
def relations(count: int) -> NDArray[np.intp]:
    """Which end of a region each row of each legal sequence of a length is, shape (k, count)."""
    walks = [[NAMES[i] for i in walk] for walk in legal_sequences(count).names]
    found: NDArray[np.intp] = np.array([[_relation(*pair) for pair in _with_next(walk)] for walk in walks], np.intp)
    return found


def cut_patches(
    network: LabelingPredictor, image: FloatArray, spacing_mm: Spacing, centres_vox: Matrix, column_mm: Matrix
) -> list[FloatArray]:
    """An image patch around each vertebra at the spacing of a network, turned upright if it wants that; 0 beyond the image.

    Parameters
    ----------
    network : LabelingPredictor
        The network.
    image : ndarray of float32, shape (P, I, R)
        Intensities.
    spacing_mm : tuple of 3 float
        Of the image.
    centres_vox : ndarray, shape (n, 3)
        Middles of the patches.
    column_mm : ndarray, shape (n, 3)
        Course of the spine, along (P, I, R).
    """
    step = np.asarray(network.spacing_for(spacing_mm))
    middle = (np.asarray(network.patch_size) // 2) * step
    whole_numbers = bool((image == np.rint(image)).all())  # then background stays 0, which networks leave out of their norm
    smooth = ndimage.spline_filter(image.astype(np.float32), order=3, output=np.float32, mode="nearest")
    turns = upright_turns(column_mm) if network.rotated else repeat(np.eye(3), len(centres_vox))
    patches = [
        _sampled(smooth, turn * step / np.asarray(spacing_mm)[:, None], centre - turn @ middle / spacing_mm, network.patch_size)
        for turn, centre in zip(turns, centres_vox, strict=True)
    ]
    return [np.rint(patch) for patch in patches] if whole_numbers else patches


def upright_turns(column_mm: Matrix) -> list[Matrix]:
    """For each vertebra the rotation, shape (3, 3), in the sagittal plane that lays a patch's I axis along the spine there."""
    before, after = column_mm[[0, *range(len(column_mm) - 1)]], column_mm[[*range(1, len(column_mm)), -1]]
    angles = np.arctan2((after - before)[:, 0], (after - before)[:, 1])
    return [np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]]) for a in angles]


def body_centres(semantic: LabelMap, instance: LabelMap, column: Column) -> Matrix:
    """Middle voxel of the box around the body of each vertebra, shape (n, 3); its centre of mass where it shows none."""
    bodies = np.where(lookup(BODY)[semantic.labels], instance.labels, 0)
    boxes = ndimage.find_objects(bodies, max_label=max(column.instances))
    fallback = column.centres_mm / np.asarray(semantic.geometry.spacing_mm)
    found = [boxes[number - 1] for number in column.instances]
    return np.array(
        [
            other if box is None else [part.start + (part.stop - part.start) // 2 for part in box]
            for box, other in zip(found, fallback, strict=True)
        ]
    )


def _sampled(smooth: FloatArray, matrix: Matrix, offset: Matrix, shape: Shape) -> FloatArray:
    patch: FloatArray = ndimage.affine_transform(
        smooth, matrix, offset, output_shape=shape, output=np.float32, order=3, mode="constant", prefilter=False
    )
    return patch


def _log(probabilities: FloatArray) -> Matrix:
    logs: Matrix = np.log(np.maximum(probabilities.astype(np.float64), np.exp(LEAST_LOG)))
    return logs


@lru_cache(maxsize=8)
def _class_of_names(head: str) -> NDArray[np.intp]:
    """Class of each name but S1 in the answer of a head."""
    names = NAMES[:-1]
    if head == "VERTEX":
        return np.arange(len(names))
    if head == "VT13":
        return np.array([int(name == "T13") for name in names])
    if head == "REGION":
        return np.array(["CTL".index(name[0]) for name in names])
    if head == "VERTGRP":
        return np.array([next(k for k, group in enumerate(_GROUPS) if name in group.split()) for name in names])
    regular = {"T13": "T12", "L6": "L5"}
    return np.array([_REGULAR.index(regular.get(name, name)) for name in names])


def _with_next(walk: list[str]) -> zip[tuple[str, str]]:
    """Each name of a sequence with the one below it; at the lower edge that of a spine without variants."""
    return zip(walk, chain(walk[1:], [_BELOW.get(walk[-1], walk[-1])]), strict=True)


_BELOW: Final[Mapping[str, str]] = MappingProxyType({"T12": "L1", "T13": "L1", "L5": "S1", "L6": "S1"})


def _relation(name: str, below: str) -> int:
    return _LAST[name[0]] if name[0] in _LAST and below[0] != name[0] else _FIXED.get(name, 0)
