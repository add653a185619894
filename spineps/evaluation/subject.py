"""Everything that the SPINEPS paper measures on one subject (section 2.6, tables 2, 3 and 5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spineps.evaluation.masks import Pair
from spineps.evaluation.overlap import JointCounts, Overlap, joint_counts
from spineps.evaluation.panoptic import IOU_THRESHOLD, Matcher, PanopticQuality, panoptic_quality
from spineps.evaluation.regions import region_codes
from spineps.evaluation.scores import ALL_REGIONS, Level, Metric, Note, Score
from spineps.evaluation.structures import (
    DISC,
    ENDPLATE,
    INSTANCE_TARGETS,
    REGION_CODES,
    SACRUM,
    TARGETS,
    VERTEBRA,
    Target,
    is_counted_vertebra,
)
from spineps.evaluation.surface import SurfaceDistances, surface_distances
from spineps.labels import DISC_OFFSET, ENDPLATE_OFFSET, LEFT_RIGHT_PAIRS, SACRUM_INSTANCE, Scheme, Structure

_LABELS: Final = 256
_MM3_PER_ML: Final = 1000.0
_SURFACE_METRICS: Final = (Metric.ASSD, Metric.ASSD_TWO_WAY, Metric.HD, Metric.HD95, Metric.HD95_MAX)
_REGIONAL_SURFACES: Final = frozenset(t.key for t in TARGETS if t.part or t in INSTANCE_TARGETS)


@dataclass(frozen=True, slots=True)
class PanopticSettings:
    """How subjects are measured.

    Parameters
    ----------
    matcher : Matcher
        How instances find each other.
    threshold : float
        Smallest IoU of a true positive.
    components : bool
        Without instance masks, take connected components of the vertebra and disc masks as instances.
    regions : bool
        Measure cervical, thoracic and lumbar parts as well; the reference's ids must be level names.
    """

    matcher: Matcher = Matcher.NAIVE
    threshold: float = IOU_THRESHOLD
    components: bool = False
    regions: bool = False


def measure_subject(pair: Pair, settings: PanopticSettings = PanopticSettings()) -> tuple[Score, ...]:
    """Measure one subject.

    Global numbers come from the semantic masks, or from unions of instances where there are none; instance-wise numbers from
    the instance masks.

    Parameters
    ----------
    pair : Pair
        Both sides on one grid.
    settings : PanopticSettings
        Matching, components, regions.

    Returns
    -------
    tuple of Score
        A structure that neither side has gives no score; one that only the prediction has gives scores without a value.

    Raises
    ------
    InputError
        See :func:`spineps.evaluation.regions.region_codes`.
    """
    codes = region_codes(pair) if settings.regions else None
    scores = list(_global_scores(pair, codes))
    for target in INSTANCE_TARGETS:
        arrays, components = _instances(pair, target, components=settings.components)
        if arrays is None:
            continue
        for region, one, two in _parts(arrays, codes):
            quality = panoptic_quality(
                one, two, pair.spacing_mm, matcher=settings.matcher, components=components, threshold=settings.threshold
            )
            scores += instance_scores(target.key, region, quality)
    return tuple(scores)


def swap_remarks(pair: Pair) -> tuple[str, ...]:
    """Tell where canal and cord, or left and right, fit better when exchanged: most likely another label convention."""
    arrays = pair.arrays(Scheme.SEMANTIC)
    if arrays is None:
        return ()
    counts = joint_counts(*arrays)
    told = []
    for first, second in ((Structure.CORD, Structure.CANAL), *LEFT_RIGHT_PAIRS):
        kept = [counts.overlap((label,)).dice or 0.0 for label in (first, second)]
        swapped = [counts.overlap((a,), (b,)).dice or 0.0 for a, b in ((first, second), (second, first))]
        if min(swapped) > max(kept):
            told.append(
                f"{first.title} ({first.value}) and {second.title} ({second.value}) look exchanged in one of the masks: "
                f"Dice {kept[0]:.3f} and {kept[1]:.3f} as labelled, {swapped[0]:.3f} and {swapped[1]:.3f} if exchanged."
            )
    return tuple(told)


def instance_scores(structure: str, region: str, quality: PanopticQuality) -> list[Score]:
    """Scores of one panoptic quality, with the edge cases of ``docs/evaluation.md``."""
    if quality.n_reference == quality.n_prediction == 0:
        return []
    note = Note.NONE
    if quality.n_reference == 0:
        note = Note.ONLY_IN_PREDICTION
    elif quality.n_prediction == 0:
        note = Note.MISSED
    elif quality.tp == 0:
        note = Note.UNMATCHED
    values = (
        (Metric.DSC, quality.dice),
        (Metric.RQ, quality.rq),
        (Metric.SQ, quality.sq),
        (Metric.PQ, quality.pq),
        (Metric.ASSD, quality.assd),
        (Metric.ASSD_TWO_WAY, quality.assd_two_way),
    )
    return [Score(structure, Level.INSTANCE, metric, value, region=region, note=note) for metric, value in values]


def overlap_scores(
    structure: str, overlap: Overlap, surface: SurfaceDistances | None, *, region: str = ALL_REGIONS
) -> list[Score]:
    """Dice and distances of one binary mask, with the edge cases of ``docs/evaluation.md``."""
    if overlap.reference == 0 and overlap.prediction == 0:
        return []
    note = Note.NONE
    if overlap.reference == 0:
        note = Note.ONLY_IN_PREDICTION
    elif overlap.prediction == 0:
        note = Note.MISSED
    dice = None if note is Note.ONLY_IN_PREDICTION else overlap.dice
    scores = [Score(structure, Level.GLOBAL, Metric.DSC, dice, region=region, note=note)]
    distances = (
        (None,) * len(_SURFACE_METRICS)
        if surface is None
        else (surface.assd, surface.assd_two_way, surface.hausdorff, surface.hausdorff95, surface.hausdorff95_max)
    )
    return scores + [
        Score(structure, Level.GLOBAL, metric, value, region=region, note=note)
        for metric, value in zip(_SURFACE_METRICS, distances, strict=True)
    ]


def _global_scores(pair: Pair, codes: tuple[Any, Any] | None) -> Iterator[Score]:
    arrays = pair.arrays(Scheme.SEMANTIC)
    if arrays is None:
        instances = pair.arrays(Scheme.INSTANCE)
        if instances is None:
            return
        arrays = (_semantic_of(instances[0]), _semantic_of(instances[1]))
    counts = joint_counts(*arrays)
    boxes = _Boxes(arrays)
    voxel_ml = pair.geometry.voxel_volume_mm3 / _MM3_PER_ML
    for target in TARGETS:
        overlap = counts.overlap(target.members)
        yield from overlap_scores(target.key, overlap, _surface(arrays, target, pair, boxes))
        if overlap.reference or overlap.prediction:
            for metric, size in ((Metric.VOLUME_REFERENCE, overlap.reference), (Metric.VOLUME_PREDICTION, overlap.prediction)):
                yield Score(target.key, Level.GLOBAL, metric, size * voxel_ml)
    if codes is not None:
        yield from _regional_scores(pair, arrays, codes)


def _regional_scores(pair: Pair, arrays: tuple[Any, Any], codes: tuple[Any, Any]) -> Iterator[Score]:
    coded = [labels + codes_.astype(np.uint16) * _LABELS for labels, codes_ in zip(arrays, codes, strict=True)]
    counts = joint_counts(coded[0], coded[1])
    for region, code in REGION_CODES.items():
        one, two = (np.where(c == code, a, 0).astype(np.uint8) for a, c in zip(arrays, codes, strict=True))
        boxes = _Boxes((one, two))
        for target in TARGETS:
            overlap = _regional_overlap(counts, target, code)
            surface = _surface((one, two), target, pair, boxes) if target.key in _REGIONAL_SURFACES else None
            yield from overlap_scores(target.key, overlap, surface, region=region.value)


def _regional_overlap(counts: JointCounts, target: Target, code: int) -> Overlap:
    return counts.overlap(member + code * _LABELS for member in target.members)


class _Boxes:
    """The box around each label of both sides, found in one pass, so that a structure costs no pass over the volume."""

    def __init__(self, arrays: tuple[Any, Any]) -> None:
        self._found = [ndimage.find_objects(a) for a in arrays]

    def around(self, members: tuple[int, ...]) -> tuple[slice, ...] | None:
        """The box around the given labels on both sides, or None unless each side has one of them."""
        sides = [[boxes[m - 1] for m in members if m <= len(boxes) and boxes[m - 1] is not None] for boxes in self._found]
        if not all(sides):
            return None
        spans = list(zip(*(sides[0] + sides[1]), strict=True))
        return tuple(slice(min(s.start for s in span), max(s.stop for s in span)) for span in spans)


def _surface(arrays: tuple[Any, Any], target: Target, pair: Pair, boxes: _Boxes) -> SurfaceDistances | None:
    box = boxes.around(target.members)
    if box is None:
        return None
    table = np.zeros(_LABELS, dtype=np.bool_)
    table[list(target.members)] = True
    return surface_distances(table[arrays[0][box]], table[arrays[1][box]], pair.spacing_mm)


def _instances(pair: Pair, target: Target, *, components: bool) -> tuple[tuple[Any, Any] | None, bool]:
    """Label arrays that hold the instances of a structure, and whether they are components to be found first."""
    arrays = pair.arrays(Scheme.INSTANCE)
    if arrays is not None:
        counted = is_counted_vertebra if target is VERTEBRA else is_disc
        ids = [i if counted(i) else 0 for i in range(int(max(a.max() for a in arrays)) + 1)]
        table = np.array(ids, dtype=np.min_scalar_type(max(ids)))
        return (table[arrays[0]], table[arrays[1]]), False
    arrays = pair.arrays(Scheme.SEMANTIC) if components else None
    if arrays is None:
        return None, False
    one, two = (np.isin(a, target.members).astype(np.uint8) for a in arrays)
    return (one, two), True


def is_disc(instance: int) -> bool:
    """Tell whether an instance id is that of a disc."""
    return DISC_OFFSET < instance < ENDPLATE_OFFSET


def _parts(arrays: tuple[Any, Any], codes: tuple[Any, Any] | None) -> Iterator[tuple[str, Any, Any]]:
    """The whole arrays, then each region's part of them."""
    yield ALL_REGIONS, arrays[0], arrays[1]
    if codes is not None:
        for region, code in REGION_CODES.items():
            one, two = (np.where(c == code, a, 0).astype(a.dtype) for a, c in zip(arrays, codes, strict=True))
            yield region.value, one, two


def _semantic_of(instances: NDArray[Any]) -> NDArray[np.uint8]:
    """Vertebrae, discs, endplates and sacrum of an instance mask under semantic labels."""
    table = np.zeros(max(int(instances.max()), ENDPLATE_OFFSET) + 1, dtype=np.uint8)
    ids = np.arange(table.size)
    table[[i for i in ids if is_counted_vertebra(int(i))]] = VERTEBRA.members[0]
    table[(ids > DISC_OFFSET) & (ids < ENDPLATE_OFFSET)] = DISC.members[0]
    table[ids > ENDPLATE_OFFSET] = ENDPLATE.members[-1]
    table[SACRUM_INSTANCE] = SACRUM.members[0]
    labels: NDArray[np.uint8] = table[instances]
    return labels
