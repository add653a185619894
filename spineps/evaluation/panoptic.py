"""Panoptic quality of vertebrae and discs with panoptica (SPINEPS paper, section 2.6).

Instances are matched and counted by panoptica: RQ, SQ, PQ and the mean Dice over the true positives are its numbers. Surface
distances of the true positives are ours (:mod:`spineps.evaluation.surface`), because panoptica averages the two directions
where the paper pools them; both are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineps.evaluation.scores import mean_sd
from spineps.evaluation.surface import SurfaceDistances, surface_distances

IOU_THRESHOLD: Final = 0.5


class Matcher(str, Enum):
    """How predicted instances find their reference instance; the first three are panoptica's."""

    NAIVE = "naive"
    """Best pairs first, one to one, IoU at or above the threshold (the paper's)."""
    BIPARTITE = "bipartite"
    """One to one with the greatest sum of IoU, IoU at or above the threshold."""
    MERGE = "merge"
    """Several predicted instances may be merged onto one reference instance where that raises its IoU."""
    LABELS = "labels"
    """Equal labels belong together; a true positive still needs the IoU."""


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """A true positive: reference instance id, overlap and surfaces."""

    reference: int
    dice: float
    iou: float
    surface: SurfaceDistances


@dataclass(frozen=True, slots=True, eq=False)
class PanopticQuality:
    """Instance-wise quality of one subject and one kind of structure.

    Parameters
    ----------
    n_reference, n_prediction : int
        Instances on each side.
    tp : int
        True positives.
    rq, sq, pq, dice : float or None
        Recognition, segmentation and panoptic quality, and the mean Dice over the true positives. 0 where both sides have
        instances and none match, or where the prediction has none; None where the reference has none.
    matches : tuple of Match
        The true positives.
    """

    n_reference: int
    n_prediction: int
    tp: int
    rq: float | None
    sq: float | None
    pq: float | None
    dice: float | None
    matches: tuple[Match, ...]

    @property
    def fp(self) -> int:
        """Predicted instances without a reference."""
        return self.n_prediction - self.tp

    @property
    def fn(self) -> int:
        """Reference instances that were not found."""
        return self.n_reference - self.tp

    @property
    def assd(self) -> float | None:
        """Mean over the true positives, in mm, directions pooled; None without a true positive."""
        return mean_sd([m.surface.assd for m in self.matches])[0]

    @property
    def assd_two_way(self) -> float | None:
        """Mean over the true positives, in mm, as panoptica computes it; None without a true positive."""
        return mean_sd([m.surface.assd_two_way for m in self.matches])[0]


def panoptic_quality(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    spacing_mm: Sequence[float],
    *,
    matcher: Matcher = Matcher.NAIVE,
    components: bool = False,
    threshold: float = IOU_THRESHOLD,
) -> PanopticQuality:
    """Match the instances of two label arrays and measure the matches.

    Parameters
    ----------
    reference, prediction : ndarray of unsigned integers, equal shape
        An id an instance, 0 for background.
    spacing_mm : sequence of float
        Voxel spacing along each axis, in mm.
    matcher : Matcher
        How instances find each other.
    components : bool
        Take connected components of each label as instances first (for semantic masks).
    threshold : float
        Smallest IoU of a true positive.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if reference.shape != prediction.shape:
        raise ValueError(f"expected arrays of one shape, found {reference.shape} and {prediction.shape}")
    reference, prediction = _cropped(reference, prediction)
    n_reference, n_prediction = (len(np.unique(a[a > 0])) for a in (reference, prediction))
    if n_reference == 0:
        return PanopticQuality(0, n_prediction, 0, None, None, None, None, ())
    if n_prediction == 0 and not components:
        return PanopticQuality(n_reference, 0, 0, 0.0, 0.0, 0.0, 0.0, ())
    if components:
        reference, prediction = _components(reference, prediction)
    labelled = (reference > 0) | (prediction > 0)
    matched = _matched_pair(reference[labelled], prediction[labelled], matcher, threshold)
    result = _evaluate(matched, threshold if matcher is Matcher.LABELS else None)
    renamed = np.zeros(prediction.shape, matched.prediction_arr.dtype)
    renamed[labelled] = matched.prediction_arr
    return PanopticQuality(
        int(result.tp + result.fn),
        int(result.tp + result.fp),
        int(result.tp),
        float(result.rq),
        float(result.sq),
        float(result.pq),
        float(result.sq_dsc),
        _matches(reference, renamed, spacing_mm, threshold if matcher is Matcher.LABELS else 0.0),
    )


def _components(reference: NDArray[Any], prediction: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Connected components of each side, as panoptica finds them."""
    from panoptica import ConnectedComponentsInstanceApproximator, SemanticPair

    pair = ConnectedComponentsInstanceApproximator().approximate_instances(SemanticPair(prediction, reference))
    return pair.reference_arr, pair.prediction_arr


def _matched_pair(reference: NDArray[Any], prediction: NDArray[Any], matcher: Matcher, threshold: float) -> Any:
    """A panoptica pair in which matched instances carry the reference's id.

    Overlaps know no places, so the voxels that a side labels, one after the other, are enough for panoptica, which takes about
    40 bytes a voxel.
    """
    from panoptica import MatchedInstancePair, UnmatchedInstancePair

    if matcher is Matcher.LABELS:
        return MatchedInstancePair(prediction, reference)
    return _panoptica_matcher(matcher, threshold).match_instances(UnmatchedInstancePair(prediction, reference))


def _panoptica_matcher(matcher: Matcher, threshold: float) -> Any:
    from panoptica import MaxBipartiteMatching, NaiveThresholdMatching
    from panoptica.instance_matcher import MaximizeMergeMatching

    kinds = {
        Matcher.NAIVE: NaiveThresholdMatching,
        Matcher.BIPARTITE: MaxBipartiteMatching,
        Matcher.MERGE: MaximizeMergeMatching,
    }
    return kinds[matcher](matching_threshold=threshold)


def _evaluate(matched: Any, decision_threshold: float | None) -> Any:
    """Panoptica's result of a matched pair."""
    from panoptica import InputType, Metric, Panoptica_Evaluator, disable_citation_reminder

    disable_citation_reminder()  # It would be printed in every worker; the documentation and the tables cite panoptica.
    decision = {} if decision_threshold is None else {"decision_metric": Metric.IOU, "decision_threshold": decision_threshold}
    evaluator = Panoptica_Evaluator(
        expected_input=InputType.MATCHED_INSTANCE, instance_metrics=[Metric.DSC, Metric.IOU], global_metrics=[], **decision
    )
    # Asked for all metrics, it keeps an error for each that was not chosen, and with it every array of every caller.
    result = evaluator.evaluate(matched.prediction_arr, matched.reference_arr, result_all=False)
    (only,) = result.values()
    return only


def _matches(
    reference: NDArray[Any], prediction: NDArray[Any], spacing_mm: Sequence[float], threshold: float
) -> tuple[Match, ...]:
    """Dice, IoU and surface distances of each pair of equal ids that reaches the threshold."""
    boxes = zip(ndimage.find_objects(reference), ndimage.find_objects(prediction), strict=False)
    found = []
    for instance, (first, second) in enumerate(boxes, start=1):
        if first is None or second is None:
            continue
        box = _union(first, second)
        one, two = reference[box] == instance, prediction[box] == instance
        both, total = int((one & two).sum()), int(one.sum() + two.sum())
        iou = both / (total - both)
        surface = surface_distances(one, two, spacing_mm)
        if surface is not None and iou >= threshold:
            found.append(Match(instance, 2 * both / total, iou, surface))
    return tuple(found)


def _cropped(reference: NDArray[Any], prediction: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both arrays, of one type, inside the box around their foreground."""
    kind = np.promote_types(reference.dtype, prediction.dtype)
    boxes = [b for a in (reference, prediction) for b in ndimage.find_objects((a > 0).view(np.uint8)) if b is not None]
    if not boxes:
        return reference.astype(kind), prediction.astype(kind)
    box = boxes[0] if len(boxes) == 1 else _union(boxes[0], boxes[1])
    return np.ascontiguousarray(reference[box], dtype=kind), np.ascontiguousarray(prediction[box], dtype=kind)


def _union(first: tuple[slice, ...], second: tuple[slice, ...]) -> tuple[slice, ...]:
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True))
