"""The tests of the papers against scipy's own calls, and corrections worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from spineps.evaluation.ranking import Challenge, challenge_points, final_points, wilcoxon_points
from spineps.evaluation.scores import Level as ScoreLevel
from spineps.evaluation.scores import Metric, Note, Score, mean_sd, summarise
from spineps.evaluation.statistics import Correction, adjusted, bootstrap_interval, mann_whitney, wilcoxon

samples = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=2, max_size=25)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("n", [4, 25])
def test_wilcoxon_is_scipys(n, alternative):
    first, second = np.random.default_rng(n).integers(0, 20, size=(2, n)).astype(float)
    second[0] = first[0]  # a pair without a difference
    found = wilcoxon(list(zip(first, second, strict=True)), alternative=alternative)
    expected = stats.wilcoxon(first, second, alternative=alternative)
    assert (found.statistic, found.p_value) == (expected.statistic, expected.pvalue)
    assert wilcoxon([(1.0, 1.0), (2.0, 2.0)]).p_value == 1.0  # no difference at all, where scipy has no answer


@given(samples)
def test_mann_whitney_is_scipys(pairs):
    first, second = ([float(v) for v in side] for side in zip(*pairs, strict=True))
    expected = stats.mannwhitneyu(first, second, alternative="two-sided")
    found = mann_whitney(first, second)
    assert (found.statistic, found.p_value) == (expected.statistic, expected.pvalue)


def test_wilcoxon_by_hand():
    # Five gains of different size: of the 2^5 signs only one sum of ranks is as extreme on one side, so p = 1/32 and 2/32.
    pairs = [(1.0, 0.9), (1.0, 0.8), (1.0, 0.7), (1.0, 0.6), (1.0, 0.5)]
    assert wilcoxon(pairs, alternative="greater").p_value == pytest.approx(1 / 32)
    assert wilcoxon(pairs).p_value == pytest.approx(2 / 32)


def test_without_values_there_is_no_test():
    assert wilcoxon([]).p_value is None
    assert mann_whitney([], [1.0]).p_value is None
    assert bootstrap_interval([1.0]) is None


def test_the_bootstrap_is_repeatable_and_holds_the_mean():
    values = [0.1, 0.4, 0.2, 0.9, 0.3, 0.35]
    interval = bootstrap_interval(values)
    assert interval == bootstrap_interval(values)
    assert interval is not None
    assert interval[0] < np.mean(values) < interval[1]
    assert bootstrap_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


def test_holm_by_hand():
    # Sorted .01 .02 .04: times 3, 2, 1 gives .03 .04 .04; the missing one does not count.
    assert adjusted([0.04, None, 0.01, 0.02], Correction.HOLM) == [
        pytest.approx(0.04),
        None,
        pytest.approx(0.03),
        pytest.approx(0.04),
    ]
    assert adjusted([0.6, 0.9], Correction.HOLM) == [1.0, 1.0]


def test_false_discovery_rate_by_hand():
    # Sorted .01 .02 .04 times 3/1, 3/2, 3/3, then the running least from the end: .03 .03 .04.
    found = adjusted([0.04, 0.01, 0.02], Correction.FDR)
    assert found == [pytest.approx(0.04), pytest.approx(0.03), pytest.approx(0.03)]
    assert adjusted([0.2, None], Correction.NONE) == [0.2, None]


def test_mean_and_sample_deviation_by_hand():
    assert mean_sd([1.0, 3.0]) == (2.0, pytest.approx(2**0.5))
    assert mean_sd([1.0]) == (1.0, None)
    assert mean_sd([]) == (None, None)


def test_special_cases_are_counted_not_hidden():
    def score(value, note=Note.NONE):
        return Score("cord", ScoreLevel.GLOBAL, Metric.DSC, value, note=note)

    found = summarise([score(1.0), score(0.0, Note.MISSED), score(None, Note.ONLY_IN_PREDICTION)])
    assert (found.mean, found.n, found.missed, found.extra) == (0.5, 2, 1, 1)


def test_a_number_that_is_none_is_never_nan():
    with pytest.raises(ValueError, match="finite"):
        Score("cord", ScoreLevel.GLOBAL, Metric.ASSD, float("inf"))


def test_points_of_the_challenge_by_hand():
    # Ten scans, A above B above C in each: one-sided p = 2^-10 = 0.00098 < 0.001, so A beats both and B beats C.
    scans = np.arange(10) / 100
    values = {"A": list(0.9 + scans), "B": list(0.7 + scans * 1.1), "C": list(0.2 + scans * 1.2)}
    assert wilcoxon_points(values, Metric.DSC) == {"A": pytest.approx(2 / 3), "B": pytest.approx(1 / 3), "C": 0}
    # Of distances the least is the best.
    assert wilcoxon_points(values, Metric.HD) == {"A": 0, "B": pytest.approx(1 / 3), "C": pytest.approx(2 / 3)}
    # Nine scans cannot reach the threshold: 2^-9 = 0.00195.
    assert set(wilcoxon_points({m: v[:9] for m, v in values.items()}, Metric.DSC).values()) == {0.0}


def test_weights_of_the_challenges_by_hand():
    better, worse = [0.9 + i / 100 for i in range(10)], [0.1 + i / 90 for i in range(10)]
    metrics = {
        Metric.DSC: {"A": better, "B": worse},
        Metric.HD: {"A": better, "B": worse},  # lower is better: B
        Metric.ID_RATE: {"A": better, "B": worse},
        Metric.D_MEAN: {"A": better, "B": worse},  # B
    }
    # A point is worth 1/2 of two teams. 2019: A has 2/3 * 2/3 + 1/3 * 2/3 = 2/3 of it, B 2/3 * 1/3 + 1/3 * 1/3 = 1/3.
    assert challenge_points(metrics, Challenge.VERSE_2019) == {"A": pytest.approx(1 / 3), "B": pytest.approx(1 / 6)}
    # 2020: Dice 2/3 and id.rate 1/3 alone.
    assert challenge_points(metrics, Challenge.VERSE_2020) == {"A": pytest.approx(1 / 2), "B": 0}
    assert final_points({"A": 0.3}, {"A": 0.6}) == {"A": pytest.approx(0.5)}


def test_ranking_needs_the_same_scans():
    with pytest.raises(ValueError, match="same scans"):
        wilcoxon_points({"A": [1.0], "B": [1.0, 2.0]}, Metric.DSC)
