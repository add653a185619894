from __future__ import annotations

import numpy as np
import pytest

from spineps.labels import Structure
from spineps.stages.corpora import find_corpora
from spineps.stages.cutouts import predict_cutouts
from spineps.stages.instances import find_instances
from spineps.stages.merge import Instances, merge_votes
from spineps.stages.recover import with_every_corpus
from tests.spines import Oracle, fused_with_a_waist, make_spine

SPACING = (2.0, 2.0, 2.0)


@pytest.fixture(scope="module")
def found():
    spine = make_spine(5)
    corpora, _ = find_corpora(spine.labels(), SPACING)
    votes = predict_cutouts(spine.labels(), corpora, Oracle(spine))
    return spine, corpora, votes, merge_votes(votes, spine.truth.shape, SPACING)


def _owners(labels, spine):
    return [set(np.unique(labels[spine.truth == n]).tolist()) for n in range(1, 6)]


def test_good_instances_stay(found):
    _, corpora, votes, merged = found
    checked = with_every_corpus(merged, corpora, votes, SPACING)
    assert np.array_equal(checked.labels, merged.labels)
    assert checked.agreement == merged.agreement


def test_a_skipped_vertebra_comes_back(found):
    spine, corpora, votes, merged = found
    labels = merged.labels.copy()
    lost = int(np.bincount(labels[spine.truth == 3]).argmax())
    labels[labels == lost] = 0
    checked = with_every_corpus(Instances(labels, merged.agreement), corpora, votes, SPACING)
    owners = _owners(checked.labels, spine)
    assert len(set.union(*owners)) == 5
    assert all(len(owner) == 1 for owner in owners)
    assert sorted(checked.agreement) == [1, 2, 3, 4, 5]


def test_merged_vertebrae_are_divided(found):
    spine, corpora, votes, merged = found
    labels = merged.labels.copy()
    one, other = (int(np.bincount(labels[spine.truth == n]).argmax()) for n in (2, 3))
    labels[labels == other] = one
    checked = with_every_corpus(Instances(labels, merged.agreement), corpora, votes, SPACING)
    bodies = {int(checked.labels[tuple(int(v) for v in c.centre_vox)]) for c in corpora}
    assert len(bodies) == 5


def test_a_remnant_without_a_body_is_dissolved(found):
    spine, corpora, votes, merged = found
    labels = merged.labels.copy()
    arch = (spine.truth == 3) & (np.arange(labels.shape[0])[:, None, None] > spine.centres_vox[2][0] + 14)
    labels[arch] = 6
    checked = with_every_corpus(Instances(labels, {**merged.agreement, 6: 0.1}), corpora, votes, SPACING)
    assert not checked.labels[arch].any()
    assert sorted(checked.agreement) == [1, 2, 3, 4, 5]


def test_a_body_belongs_to_one_instance(found):
    spine, corpora, votes, merged = found
    labels = merged.labels.copy()
    one, other = (int(np.bincount(labels[spine.truth == n]).argmax()) for n in (3, 4))
    body = np.argwhere(labels[corpora[2].box.slices] * corpora[2].mask)
    third = body[: len(body) // 4] + np.array(corpora[2].box.start)
    labels[tuple(third.T)] = other
    checked = with_every_corpus(Instances(labels, merged.agreement), corpora, votes, SPACING)
    assert one != other
    assert np.array_equal(checked.labels, merged.labels)


def test_an_arch_below_the_last_body_is_no_vertebra_unless_the_image_cuts_it(found):
    _, corpora, votes, merged = found
    labels = np.pad(merged.labels, ((0, 0), (0, 20), (0, 0)))
    last = int(corpora[-1].centre_vox[1])
    free = np.argwhere(labels[:, last + 8 :].any(axis=2))
    p = int(free[:, 0].max()) if free.size else labels.shape[0] // 2
    inside, cut = labels.copy(), labels.copy()
    inside[p - 2 : p + 1, -16:-10, 4:9] = 6
    cut[p - 2 : p + 1, -8:, 4:9] = 6
    agreement = {**merged.agreement, 6: 0.4}
    assert len(with_every_corpus(Instances(inside, agreement), corpora, votes, SPACING).agreement) == 5
    assert len(with_every_corpus(Instances(cut, agreement), corpora, votes, SPACING).agreement) == 6


@pytest.mark.parametrize("parts_fused", [True, False])
def test_votes_tell_where_fused_bodies_end_for_a_network_that_parts_them(parts_fused):
    """Two bodies are one, and thinnest in the upper one: there the cut is wrong and the votes are right."""
    spine = make_spine(5, (1.0, 1.0, 2.0))
    labels = fused_with_a_waist(spine)
    oracle = Oracle(spine, (1.0, 1.0, 2.0), (112, 112, 32), parts_fused=parts_fused)
    found = find_instances(spine.edited(labels), oracle).labels
    body = labels == Structure.CORPUS
    counts = [np.bincount(found[body & (spine.truth == n)]) for n in range(1, 6)]
    wrong = sum(int(c.sum() - c.max()) for c in counts)
    assert wrong == 0 if parts_fused else wrong > 1000
