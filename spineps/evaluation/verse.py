"""Labelling and segmentation of vertebrae as the VerSe benchmark measures them, in three modes that differ in details.

``paper`` is the text of Sekuboyina et al. 2021 (section 2.3), ``official`` the behaviour of the published evaluation code with
its edge cases, ``strict`` closes what both leave open. ``docs/evaluation.md`` has the table of differences.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineps.errors import ErrorCode, InputError
from spineps.evaluation.landmarks import Point, Points
from spineps.evaluation.masks import Pair
from spineps.evaluation.overlap import joint_counts
from spineps.evaluation.scores import Level, Metric, Note, Score, mean_sd
from spineps.evaluation.structures import is_counted_vertebra
from spineps.evaluation.surface import surface_distances
from spineps.labels import LEVEL_NAMES, Scheme

THRESHOLD_MM: Final = 20.0
MISSING_D_MM: Final = 1000.0
"""Distance of a missing vertebra in the ranking of VerSe 2019 (appendix A.1), and in the strict mode."""
MISSING_HD_MM: Final = 100.0
"""Hausdorff distance of a missing vertebra there."""


class Mode(str, Enum):
    """Which definition."""

    PAPER = "paper"
    """The reference point nearest to the prediction is its own, among all N of the reference; less than 20 mm."""
    COMPETING = "paper, competing predictions"
    """The other reading of the paper's sentence: the prediction nearest to the reference point is its own."""
    OFFICIAL = "official"
    """The published code: candidates are the labels on both sides, 20 mm included, distances in voxels."""
    STRICT = "strict"
    """Both readings, nothing tied, extra vertebrae in the denominator, missing ones at 1000 and 100 mm."""


@dataclass(frozen=True, slots=True)
class Identification:
    """Labelling of one scan.

    Parameters
    ----------
    hits : dict of int to bool
        Reference label to whether it was identified.
    reasons : dict of int to str
        Why a label was not.
    id_rate : float or None
        Share identified; None of an empty reference.
    d_mean : float or None
        Mean distance of equal labels; None where no label is on both sides, or the mode has none.
    """

    hits: dict[int, bool]
    reasons: dict[int, str]
    id_rate: float | None
    d_mean: float | None


def identify(reference: Points, prediction: Points, mode: Mode = Mode.PAPER) -> Identification:
    """Identification rate and localisation distance of one scan.

    Parameters
    ----------
    reference, prediction : Mapping of int to tuple of 3 float
        Label to point, in mm (in voxels for the official mode, as in the official notebook).
    mode : Mode
        Which definition.
    """
    reasons: dict[int, str] = {}
    hits: dict[int, bool] = {}
    for label in sorted(reference):
        reason = "no prediction" if label not in prediction else _miss(label, reference, prediction, mode)
        hits[label] = reason is None
        if reason is not None:
            reasons[label] = reason
    count = len(set(reference) | set(prediction)) if mode is Mode.STRICT else len(reference)
    rate = sum(hits.values()) / count if count and reference else None
    return Identification(hits, reasons, rate, _d_mean(reference, prediction, mode))


def foreground_dice(reference: NDArray[Any], prediction: NDArray[Any], *, empty_score: float = 1.0) -> float:
    """Dice of the foregrounds, whatever the labels, as the official ``compute_dice`` gives it.

    A prediction with every label wrong scores 1.0 here; two empty masks score ``empty_score``.
    """
    one, two = reference.astype(bool), prediction.astype(bool)
    if one.shape != two.shape:
        raise ValueError(f"expected arrays of one shape, found {one.shape} and {two.shape}")
    total = int(one.sum()) + int(two.sum())
    return empty_score if total == 0 else 2 * int((one & two).sum()) / total


def measure_verse(
    pair: Pair, reference_mm: Points, prediction_mm: Points, *, modes: Iterable[Mode] = tuple(Mode)
) -> tuple[tuple[Score, ...], tuple[str, ...]]:
    """All VerSe numbers of one scan.

    Parameters
    ----------
    pair : Pair
        With instance masks whose ids are VerSe's labels (1 to 25, T13 = 28).
    reference_mm, prediction_mm : Mapping of int to tuple of 3 float
        Centroids in RAS+ millimetres.
    modes : iterable of Mode
        Which definitions.

    Returns
    -------
    tuple of Score
        A mode's numbers under the mode's name; Dice and Hausdorff distance of each vertebra under its level.
    tuple of str
        Sentences about the vertebrae on which the modes disagree.

    Raises
    ------
    InputError
        INPUT_LABELS without instance masks.
    """
    arrays = pair.arrays(Scheme.INSTANCE)
    if arrays is None:
        raise InputError(
            ErrorCode.INPUT_LABELS, "VerSe numbers need instance masks on both sides.", remedy="Give *_seg-vert_msk files."
        )
    vertebrae = vertebra_scores(pair)
    scores = list(vertebrae)
    found: dict[Mode, Identification] = {}
    for mode in modes:
        points = reference_mm, prediction_mm
        if mode is Mode.OFFICIAL:
            points = _in_voxels(reference_mm, pair), _in_voxels(prediction_mm, pair)
        found[mode] = identify(_counted(points[0]), _counted(points[1]), mode)
        scores += _mode_scores(mode, found[mode], vertebrae, arrays)
    return tuple(scores), tuple(_disagreements(found))


def vertebra_scores(pair: Pair) -> list[Score]:
    """Dice, Hausdorff distance and its 95th percentile of each vertebra, found in both masks by its label.

    Parameters
    ----------
    pair : Pair
        With instance masks.

    Returns
    -------
    list of Score
        A vertebra that the prediction lacks has Dice 0 and no distance (note MISSED); one that only the prediction has has
        scores without a value.
    """
    arrays = pair.arrays(Scheme.INSTANCE)
    if arrays is None:
        return []
    counts = joint_counts(*arrays)
    boxes = [ndimage.find_objects(a) for a in arrays]
    labels = sorted({i for i in (*counts.reference_labels(), *counts.prediction_labels()) if is_counted_vertebra(i)})
    scores: list[Score] = []
    for label in labels:
        overlap = counts.overlap((label,))
        note = Note.NONE
        if not overlap.reference:
            note = Note.ONLY_IN_PREDICTION
        elif not overlap.prediction:
            note = Note.MISSED
        distances: tuple[float | None, ...] = (None, None, None)
        if note is Note.NONE:
            box = tuple(
                slice(min(a.start, b.start), max(a.stop, b.stop))
                for a, b in zip(boxes[0][label - 1], boxes[1][label - 1], strict=True)
            )
            surface = surface_distances(arrays[0][box] == label, arrays[1][box] == label, pair.spacing_mm)
            distances = (None, None, None) if surface is None else (surface.hausdorff, surface.hausdorff95, surface.assd)
        values = (None if note is Note.ONLY_IN_PREDICTION else overlap.dice, *distances)
        for metric, value in zip((Metric.DSC, Metric.HD, Metric.HD95, Metric.ASSD), values, strict=True):
            scores.append(Score(level_name(label), Level.VERTEBRA, metric, value, note=note))
    return scores


def level_name(label: int) -> str:
    """Level of a vertebra id ("C3"), or the id itself where it names no level."""
    return LEVEL_NAMES.get(label, str(label))


def _miss(label: int, reference: Points, prediction: Points, mode: Mode) -> str | None:
    """Why a label on both sides is not identified, or None if it is."""
    own = _distance(reference[label], prediction[label])
    too_far = own > THRESHOLD_MM if mode is Mode.OFFICIAL else own >= THRESHOLD_MM
    if mode is Mode.OFFICIAL:
        common = sorted(set(reference) & set(prediction))
        nearest = min(common, key=lambda j: (_distance(reference[j], prediction[label]), j))
        if nearest != label:
            return f"the nearest reference point with a prediction is {level_name(nearest)}"
    if mode in (Mode.PAPER, Mode.STRICT):
        rivals = [_distance(point, prediction[label]) for j, point in reference.items() if j != label]
        if _beaten(own, rivals, strict=mode is Mode.STRICT):
            return "another reference point is nearer to the prediction"
    if mode in (Mode.COMPETING, Mode.STRICT):
        rivals = [_distance(point, reference[label]) for j, point in prediction.items() if j != label]
        if _beaten(own, rivals, strict=mode is Mode.STRICT):
            return "another prediction is nearer to the reference point"
    if too_far:
        return f"{own:.4g} {'voxels' if mode is Mode.OFFICIAL else 'mm'} away"
    return None


def _beaten(own: float, rivals: list[float], *, strict: bool) -> bool:
    nearest = min(rivals, default=math.inf)
    return nearest <= own if strict else nearest < own


def _d_mean(reference: Points, prediction: Points, mode: Mode) -> float | None:
    if mode is Mode.OFFICIAL:
        return None
    distances = [_distance(point, prediction[label]) for label, point in reference.items() if label in prediction]
    if mode is Mode.STRICT:
        distances += [MISSING_D_MM] * (len(reference) - len(distances))
    return mean_sd(distances)[0]


def _mode_scores(mode: Mode, found: Identification, vertebrae: list[Score], arrays: tuple[Any, Any]) -> Iterator[Score]:
    dice = [s for s in vertebrae if s.metric is Metric.DSC]
    distances = [s for s in vertebrae if s.metric is Metric.HD and s.note is not Note.ONLY_IN_PREDICTION]
    kept: dict[Metric, float | None] = {Metric.ID_RATE: found.id_rate, Metric.D_MEAN: found.d_mean}
    if mode is Mode.OFFICIAL:
        kept[Metric.DSC], kept[Metric.HD] = foreground_dice(*arrays), None
    elif mode is Mode.STRICT:
        kept[Metric.DSC] = mean_sd([0.0 if s.value is None else s.value for s in dice])[0]
        kept[Metric.HD] = mean_sd([MISSING_HD_MM if s.value is None else s.value for s in distances])[0]
    else:
        kept[Metric.DSC] = mean_sd([s.value for s in dice if s.value is not None])[0]
        kept[Metric.HD] = mean_sd([s.value for s in distances if s.value is not None])[0]
    for metric, value in kept.items():
        note = Note.NONE if value is not None else Note.UNDEFINED
        if mode is Mode.OFFICIAL and metric in (Metric.D_MEAN, Metric.HD):
            note = Note.NOT_PROVIDED
        yield Score(mode.value, Level.SCAN, metric, value, note=note)


def _disagreements(found: dict[Mode, Identification]) -> Iterator[str]:
    labels = sorted({label for identification in found.values() for label in identification.hits})
    for label in labels:
        verdicts = {mode: i.hits[label] for mode, i in found.items()}
        if len(set(verdicts.values())) > 1:
            told = [
                f"{mode.value}: {'identified' if hit else 'not identified, ' + found[mode].reasons[label]}"
                for mode, hit in verdicts.items()
            ]
            yield f"{level_name(label)} - " + "; ".join(told) + "."


def _counted(points: Points) -> dict[int, Point]:
    return {label: point for label, point in points.items() if is_counted_vertebra(label)}


def _in_voxels(points_mm: Points, pair: Pair) -> dict[int, Point]:
    """The official notebook rescales after resampling, which does nothing: distances stay in voxels."""
    out = {}
    for label, point in points_mm.items():
        x, y, z = (float(v) for v in pair.geometry.to_vox(point))
        out[label] = (x, y, z)
    return out


def _distance(one: Point, two: Point) -> float:
    # Not math.dist: the goldens compare with exactly 20 mm, and numpy's norm is what the official code takes.
    return float(np.linalg.norm(np.subtract(one, two)))
