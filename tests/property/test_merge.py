from __future__ import annotations

from functools import lru_cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from spineps.config import Labeling, LabelingConfig, PipelineConfig
from spineps.pipeline import Models, segment_instances
from spineps.stages.corpora import find_corpora
from spineps.stages.cutouts import predict_cutouts
from spineps.stages.merge import merge_votes
from tests.spines import Oracle, dices, make_spine

SPACING = (2.0, 2.0, 2.0)
NUMBERED = PipelineConfig(labeling=LabelingConfig(method=Labeling.NONE))


@lru_cache(maxsize=4)
def _votes(seed):
    spine = make_spine(5)
    corpora, _ = find_corpora(spine.labels(), SPACING)
    return predict_cutouts(spine.labels(), corpora, Oracle(spine, error=0.3, seed=seed)), spine.truth.shape


@settings(max_examples=15)
@given(seed=st.integers(0, 3), order=st.randoms(use_true_random=False))
def test_the_order_of_votes_does_not_matter(seed, order):
    votes, shape = _votes(seed)
    shuffled = list(votes)
    order.shuffle(shuffled)
    one, other = merge_votes(votes, shape, SPACING), merge_votes(shuffled, shape, SPACING)
    assert np.array_equal(one.labels, other.labels)
    assert one.agreement == other.agreement


@settings(max_examples=12)
@given(seed=st.integers(0, 10_000), count=st.integers(3, 7), error=st.sampled_from([0.0, 0.1, 0.2]))
def test_no_vertebra_is_lost_or_merged_under_noise(seed, count, error):
    spine = make_spine(count)
    oracle = Oracle(spine, error=error, seed=seed)
    result = segment_instances(spine.semantic, Models(None, oracle), NUMBERED)
    assert [v.label for v in result.vertebrae] == list(range(2, count + 2))
    assert min(dices(spine.truth, result.instance.labels)) > (0.8 if error else 0.999)
