"""Tests and intervals of the papers, with scipy: what they are given, what happens at their edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

import numpy as np

Alternative = Literal["two-sided", "greater", "less"]
CONFIDENCE: Final = 0.95
RESAMPLES: Final = 9999
ALPHA: Final = 0.05
_BOOTSTRAP_SEED: Final = 20210701


class Correction(str, Enum):
    """Correction for many tests."""

    NONE = "none"
    HOLM = "holm"
    FDR = "fdr"


@dataclass(frozen=True, slots=True)
class TestResult:
    """Outcome of a test.

    Parameters
    ----------
    n : int
        Pairs, or values of both groups together.
    statistic, p_value : float or None
        As scipy gives them; None where there are too few values for a test.
    """

    __test__ = False

    n: int
    statistic: float | None
    p_value: float | None

    @property
    def significant(self) -> bool:
        """P < 0.05."""
        return self.p_value is not None and self.p_value < ALPHA


def wilcoxon(pairs: Sequence[tuple[float, float]], *, alternative: Alternative = "two-sided") -> TestResult:
    """Paired Wilcoxon signed-rank test, as in the SPINEPS and VerSe papers.

    Parameters
    ----------
    pairs : sequence of tuple of 2 float
        Values of two methods on the same subjects. Equal values are left out of the ranks (Wilcoxon's own treatment, scipy's
        default); if all are equal there is no difference and p is 1.
    alternative : str
        "greater" asks whether the first of each pair is greater.
    """
    from scipy import stats

    if not pairs:
        return TestResult(0, None, None)
    first, second = (np.asarray(side, dtype=np.float64) for side in zip(*pairs, strict=True))
    if np.array_equal(first, second):
        return TestResult(len(pairs), 0.0, 1.0)
    result = stats.wilcoxon(first, second, alternative=alternative)
    return TestResult(len(pairs), float(result.statistic), float(result.pvalue))


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> TestResult:
    """Two-sided Mann-Whitney U test of two groups of values, as in the cervical CT paper."""
    from scipy import stats

    n = len(first) + len(second)
    if not first or not second:
        return TestResult(n, None, None)
    result = stats.mannwhitneyu(first, second, alternative="two-sided")
    return TestResult(n, float(result.statistic), float(result.pvalue))


def bootstrap_interval(values: Sequence[float], *, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Confidence interval of the mean by bias-corrected and accelerated bootstrap, the same on every run.

    Returns
    -------
    tuple of 2 float or None
        None of fewer than two values; twice the value where all are equal.
    """
    from scipy import stats

    if len(values) < 2:
        return None
    if min(values) == max(values):
        return float(values[0]), float(values[0])
    result = stats.bootstrap(
        (np.asarray(values, dtype=np.float64),),
        np.mean,
        confidence_level=confidence,
        n_resamples=RESAMPLES,
        method="BCa",
        random_state=np.random.default_rng(_BOOTSTRAP_SEED),
    )
    interval = result.confidence_interval
    return float(interval.low), float(interval.high)


def adjusted(p_values: Sequence[float | None], correction: Correction) -> list[float | None]:
    """p-values corrected for their number; missing ones stay missing and do not count.

    Parameters
    ----------
    p_values : sequence of float or None
        Of one family of tests.
    correction : Correction
        Holm (1979) holds the family-wise error, FDR (Benjamini and Hochberg 1995) the false discovery rate.
    """
    from scipy import stats

    known = [i for i, p in enumerate(p_values) if p is not None]
    raw = np.asarray([p_values[i] for i in known], dtype=np.float64)
    if correction is Correction.NONE or not known:
        return list(p_values)
    if correction is Correction.FDR:
        corrected = stats.false_discovery_control(raw, method="bh")
    else:
        order = np.argsort(raw, kind="stable")
        stepped = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
        corrected = np.empty_like(raw)
        corrected[order] = np.minimum(stepped, 1.0)
    out: list[float | None] = [None] * len(p_values)
    for index, p in zip(known, corrected, strict=True):
        out[index] = float(p)
    return out
