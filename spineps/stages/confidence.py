"""How sure a run is of each vertebra and of the whole scan, as probabilities that hold on held-out phantoms.

What can be seen without a reference goes into a logistic model whose weights are kept from being negative: more agreement
never lowers a confidence. Its numbers were fitted by ``bench/confidence.py`` and lie in ``confidence.json`` with the command
that made them. A mask is *right* where its Dice with the true vertebra is at least 0.8, a name where it is the true level. A
scan is well where every vertebra that the field of view does not cut is found (IoU 0.5, as the panoptic quality counts it;
SPINEPS paper, section 2.5), nothing else is taken for one, and no name is wrong.

The network's own probability of a voxel's label is by far the best sign of a poor mask, but known only where the semantic
network ran in the same run; without it a second model does with the rest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spineps.errors import Finding, FindingCode
from spineps.geometry import FloatArray, Geometry, resample
from spineps.stages.components import CORNERS, connected, label_boxes
from spineps.stages.preprocess import Prepared
from spineps.volume import LabelMap, Levels, Vertebra

DATA: Final = "confidence.json"
NEIGHBOURS: Final = 2
"""A vertebra's size is compared with those of this many vertebrae on either side."""
LEAST: Final = 1e-3
"""No probability is said to be nearer to 0 or 1 than this."""
ALARMING: Final = (
    FindingCode.MERGED_CORPUS_KEPT,
    FindingCode.MERGED_CORPUS_SPLIT,
    FindingCode.ORPHANS_REMOVED,
    FindingCode.STRAY_REMOVED,
)
"""Findings that make it more probable that something is wrong with the vertebrae."""

_LEVELS: Final = 255  # of the map of certainty


@dataclass(frozen=True, slots=True)
class Term:
    """One sign in a logistic model: its mean and spread where the model was fitted, and its weight (not negative)."""

    mean: float
    spread: float
    weight: float


@dataclass(frozen=True, slots=True)
class Logistic:
    """A logistic model; a sign that is not known counts as average.

    Parameters
    ----------
    bias : float
        Log odds of an average case.
    terms : Mapping of str to Term
        By name of the sign.
    """

    bias: float
    terms: Mapping[str, Term] = field(default_factory=lambda: MappingProxyType({}))

    def probability(self, signs: Mapping[str, float]) -> float:
        """Probability for the given signs."""
        odds = self.bias
        for name, term in self.terms.items():
            if name in signs:
                odds += term.weight * (signs[name] - term.mean) / term.spread
        return min(1 - LEAST, max(LEAST, 1 / (1 + math.exp(-max(-30.0, min(30.0, odds))))))


@dataclass(frozen=True, slots=True)
class Calibration:
    """The fitted models.

    Parameters
    ----------
    mask, mask_alone : Logistic
        Of a vertebra's mask, with the network's certainty and without.
    name : Logistic
        Of a level's posterior probability.
    score, score_alone : Logistic
        Of a scan, where its masks' confidences were computed with the network's certainty and without.
    """

    mask: Logistic
    mask_alone: Logistic
    name: Logistic
    score: Logistic
    score_alone: Logistic


@lru_cache(maxsize=1)
def calibration() -> Calibration:
    """The calibration that travels with the package."""
    data = json.loads((files("spineps.stages") / DATA).read_text(encoding="utf-8"))
    return calibration_from(data["models"])


def calibration_from(models: Mapping[str, Any]) -> Calibration:
    """A calibration from plain values, as they lie in the package."""
    return Calibration(**{name: _logistic(models[name]) for name in Calibration.__dataclass_fields__})


def certainty_map(best: FloatArray, grid: Geometry, prepared: Prepared) -> NDArray[np.uint8]:
    """How probable the most probable structure of each voxel is.

    Parameters
    ----------
    best : ndarray of float32, shape (P, I, R)
        Probability of the most probable structure on ``grid``.
    grid : Geometry
        Of ``best``.
    prepared : Prepared
        What the network saw.

    Returns
    -------
    ndarray of uint8
        0 to 255 for probabilities of 0 to 1, in the PIR grid of the whole scan; 255 where the network saw nothing.
    """
    certainty = np.full(prepared.full.shape, _LEVELS, np.uint8)
    inner = resample(best, grid, prepared.geometry, order=1)
    np.multiply(inner, _LEVELS, out=inner)
    certainty[prepared.box.slices] = np.clip(np.rint(inner, out=inner), 0, _LEVELS)
    return certainty


def vertebra_signs(
    vertebrae: Sequence[Vertebra], instance: LabelMap, certainty: NDArray[np.uint8] | None = None
) -> tuple[dict[str, float], ...]:
    """What can be seen of each vertebra that tells a good mask from a poor one; larger is better.

    Parameters
    ----------
    vertebrae : sequence of Vertebra
        From top to bottom.
    instance : LabelMap
        In PIR orientation.
    certainty : ndarray of uint8, optional
        In the same grid; see :func:`certainty_map`.

    Returns
    -------
    tuple of dict
        ``agreement`` of the votes; ``certainty`` of its voxels (mean, as minus log of what lacks to 1); ``evenness`` of its
        volume with its neighbours' and ``spacing`` of its centre to theirs (minus log of the ratio); ``solid``, the share
        of its largest part; ``whole``, 0 where the field of view cuts it, else 1.
    """
    boxes = label_boxes(instance.labels)
    found = []
    for place, vertebra in enumerate(vertebrae):
        signs = {"agreement": vertebra.agreement, "whole": 0.0 if vertebra.partial else 1.0}
        signs |= _evenness(place, vertebrae) | _spacing(place, vertebrae)
        box = boxes.get(vertebra.label)
        if box is not None:
            mask = instance.labels[box.slices] == vertebra.label
            sizes = connected(mask, CORNERS).sizes[1:]
            signs["solid"] = float(sizes.max() / sizes.sum())
            if certainty is not None:
                signs["certainty"] = -math.log(1 - float(certainty[box.slices][mask].mean()) / (_LEVELS + 1))
        found.append(signs)
    return tuple(found)


def with_confidence(
    vertebrae: Sequence[Vertebra],
    instance: LabelMap,
    levels: Levels,
    findings: Iterable[Finding],
    certainty: NDArray[np.uint8] | None = None,
) -> tuple[tuple[Vertebra, ...], float | None]:
    """The vertebrae with their confidences, and the score of the scan.

    Parameters
    ----------
    vertebrae : sequence of Vertebra
        From top to bottom, with their names.
    instance : LabelMap
        In PIR orientation.
    levels : Levels
        Probabilities of the names.
    findings : iterable of Finding
        Of the run.
    certainty : ndarray of uint8, optional
        Where the semantic network ran.

    Returns
    -------
    tuple of Vertebra
        With ``mask_confidence``, and ``name_confidence`` where they are named.
    float or None
        Probability that nothing is wrong with the scan's vertebrae; None where there is none.
    """
    fitted = calibration()
    model = fitted.mask_alone if certainty is None else fitted.mask
    sure = []
    for vertebra, signs in zip(vertebrae, vertebra_signs(vertebrae, instance, certainty), strict=True):
        name = None if vertebra.name is None else fitted.name.probability(name_signs(levels.confidence(vertebra.label)))
        mask = model.probability(signs)
        sure.append(replace(vertebra, mask_confidence=mask, name_confidence=name))
    if not sure:
        return (), None
    score = fitted.score_alone if certainty is None else fitted.score
    return tuple(sure), score.probability(scan_signs(sure, levels, findings))


def name_signs(posterior: float) -> dict[str, float]:
    """The log odds of a level's posterior probability."""
    return {"posterior": _log_odds(posterior)}


def scan_signs(vertebrae: Sequence[Vertebra], levels: Levels, findings: Iterable[Finding]) -> dict[str, float]:
    """What tells a scan in which all is well from others; larger is better.

    Returns
    -------
    dict
        ``masks``, the log of the product of the confidences of all masks; ``weakest``, log odds of the least; ``gap``, minus
        log of the widest gap between neighbours, a missed vertebra where it is wide; ``calm``, minus the number of alarming
        findings; where levels are named, ``names``, the log odds of the whole sequence.
    """
    sure = [v.mask_confidence for v in vertebrae if v.mask_confidence is not None]
    signs = {"masks": float(np.log(sure).sum()), "weakest": _log_odds(min(sure))} if sure else {}
    ratios = _gap_ratios(vertebrae)
    if ratios:
        signs["gap"] = -max(0.0, *ratios)
    signs["calm"] = -float(sum(finding.code in ALARMING for finding in findings))
    if levels.names:
        signs["names"] = _log_odds(levels.probability)
    return signs


def _logistic(plain: Mapping[str, Any]) -> Logistic:
    terms = {name: Term(**{key: float(value) for key, value in term.items()}) for name, term in plain["terms"].items()}
    return Logistic(float(plain["bias"]), MappingProxyType(terms))


def _log_odds(probability: float) -> float:
    kept = min(1 - LEAST, max(LEAST, probability))
    return math.log(kept / (1 - kept))


def _evenness(place: int, vertebrae: Sequence[Vertebra]) -> dict[str, float]:
    """How far a volume is from those around it, which the field of view must not cut."""
    near = [*vertebrae[max(0, place - NEIGHBOURS) : place], *vertebrae[place + 1 : place + 1 + NEIGHBOURS]]
    volumes = [vertebra.volume_ml for vertebra in near if not vertebra.partial and vertebra.volume_ml > 0]
    own = vertebrae[place].volume_ml
    return {"evenness": -abs(math.log(own / float(np.median(volumes))))} if volumes and own > 0 else {}


def _spacing(place: int, vertebrae: Sequence[Vertebra]) -> dict[str, float]:
    ratios = _gap_ratios(vertebrae)
    own = ratios[max(0, place - 1) : place + 1]
    return {"spacing": -max(abs(ratio) for ratio in own)} if own else {}


def _gap_ratios(vertebrae: Sequence[Vertebra]) -> list[float]:
    """Log of each gap between neighbouring centres over the median of the gaps around it."""
    gaps = [math.dist(above.centroid_mm, below.centroid_mm) for above, below in pairwise(vertebrae)]
    if len(gaps) < NEIGHBOURS:
        return []
    ratios = []
    for place, gap in enumerate(gaps):
        near = [*gaps[max(0, place - NEIGHBOURS) : place], *gaps[place + 1 : place + 1 + NEIGHBOURS]]
        ratios.append(math.log(max(gap, LEAST) / max(float(np.median(near)), LEAST)))
    return ratios
