"""Ranking of methods as in the VerSe challenges (Sekuboyina et al. 2021, appendix A)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from itertools import permutations
from typing import Final

from spineps.evaluation.scores import Metric
from spineps.evaluation.statistics import Alternative, wilcoxon

P_VALUE: Final = 0.001


class Challenge(str, Enum):
    """Whose weights to take (figure A.13)."""

    VERSE_2019 = "2019"
    VERSE_2020 = "2020"


_METRIC_WEIGHTS: Final[dict[Challenge, dict[Metric, float]]] = {
    Challenge.VERSE_2019: {
        Metric.DSC: 2 / 3 * 2 / 3,
        Metric.HD: 2 / 3 * 1 / 3,
        Metric.ID_RATE: 1 / 3 * 2 / 3,
        Metric.D_MEAN: 1 / 3 * 1 / 3,
    },
    Challenge.VERSE_2020: {Metric.DSC: 2 / 3, Metric.ID_RATE: 1 / 3},
}
"""Segmentation counts 2/3 and labelling 1/3; in 2019 Dice and id.rate count twice as much as HD and d_mean within them."""
_HIDDEN_WEIGHT: Final = 2 / 3

PerScan = Mapping[str, Sequence[float]]
"""Method to its value of each scan, the scans in the same order."""


def wilcoxon_points(values: PerScan, metric: Metric) -> dict[str, float]:
    """Points of each method in one metric.

    Each pair of methods is compared on the scans by a one-sided Wilcoxon signed-rank test; with p < 0.001 the better one gets
    a point. Points are divided by the number of methods, as in the paper, so that the best possible is (n - 1) / n.

    Parameters
    ----------
    values : Mapping of str to sequence of float
        Method to its values. Missing vertebrae must have been replaced where a metric needs it (strict mode of
        :mod:`spineps.evaluation.verse`).
    metric : Metric
        Says which way is better.

    Raises
    ------
    ValueError
        If the methods have different numbers of scans.
    """
    lengths = {len(v) for v in values.values()}
    if len(lengths) > 1:
        raise ValueError(f"expected the same scans of every method, found {sorted(lengths)} values")
    points = dict.fromkeys(values, 0.0)
    better: Alternative = "less" if metric.lower_is_better else "greater"
    for one, two in permutations(values, 2):
        test = wilcoxon(list(zip(values[one], values[two], strict=True)), alternative=better)
        if test.p_value is not None and test.p_value < P_VALUE:
            points[one] += 1 / len(values)
    return points


def challenge_points(metrics: Mapping[Metric, PerScan], challenge: Challenge) -> dict[str, float]:
    """Points of each method on one set of scans, the metrics weighted as in a challenge.

    Raises
    ------
    KeyError
        If a metric of the challenge is missing.
    """
    total: dict[str, float] = {}
    for metric, weight in _METRIC_WEIGHTS[challenge].items():
        for method, points in wilcoxon_points(metrics[metric], metric).items():
            total[method] = total.get(method, 0.0) + weight * points
    return total


def final_points(public: Mapping[str, float], hidden: Mapping[str, float]) -> dict[str, float]:
    """Points of the public (1/3) and the hidden (2/3) set together."""
    return {method: (1 - _HIDDEN_WEIGHT) * public[method] + _HIDDEN_WEIGHT * hidden[method] for method in public}


def challenge_metrics(challenge: Challenge) -> tuple[Metric, ...]:
    """Metrics that a challenge ranks by."""
    return tuple(_METRIC_WEIGHTS[challenge])
