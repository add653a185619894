from __future__ import annotations

import numpy as np
import pytest

from spineps.geometry import Box
from spineps.stages.cutouts import Vote
from spineps.stages.merge import dice, find_couples, merge_votes

SPACING = (1.0, 1.0, 1.0)
SHAPE = (20, 80, 20)


def vote(cutout, relation, low, high, *, keep=None):
    box = Box((5, low, 5), (15, high, 15))
    mask = np.ones(box.shape, np.bool_)
    if keep is not None:
        mask[keep:] = False
    return Vote(cutout, relation, box, mask, int(mask.sum()))


def test_dice_of_boxes_that_overlap_in_part_or_not_at_all():
    assert dice(vote(0, 2, 0, 10), vote(1, 1, 5, 15)) == pytest.approx(0.5)
    assert dice(vote(0, 2, 0, 10), vote(1, 1, 10, 20)) == 0
    assert dice(vote(0, 2, 0, 10), vote(1, 1, 0, 10)) == 1


def test_three_votes_for_a_vertebra_are_one_couple():
    votes = [vote(0, 3, 20, 30), vote(1, 2, 20, 30), vote(2, 1, 20, 31), vote(1, 1, 0, 10), vote(0, 2, 0, 10)]
    couples = sorted(find_couples(votes), key=lambda c: -len(c.votes))
    assert [len(c.votes) for c in couples] == [3, 2]
    assert couples[0].agreement == pytest.approx((1 + 2 * 20 / 21) / 3)
    assert couples[1].agreement == 1


def test_votes_of_one_cutout_or_of_far_ones_are_no_partners():
    assert all(len(c.votes) == 1 for c in find_couples([vote(0, 2, 0, 10), vote(0, 3, 0, 10)]))
    assert all(len(c.votes) == 1 for c in find_couples([vote(0, 2, 0, 10), vote(3, 1, 0, 10)]))


def test_two_of_three_decide_a_voxel():
    votes = [vote(0, 3, 20, 30), vote(1, 2, 20, 30), vote(2, 1, 20, 33)]
    merged = merge_votes(votes, SHAPE, SPACING)
    assert np.count_nonzero(merged.labels) == 1000
    assert merged.agreement[1] > 0.9


def test_one_of_two_decides_a_voxel():
    merged = merge_votes([vote(0, 3, 20, 30), vote(1, 2, 20, 33)], SHAPE, SPACING)
    assert np.count_nonzero(merged.labels) == 1300


def test_a_vertebra_that_one_cutout_shows_is_kept_without_agreement():
    merged = merge_votes([vote(0, 2, 20, 30)], SHAPE, SPACING)
    assert np.count_nonzero(merged.labels == 1) == 1000
    assert merged.agreement == {1: 0.0}


def test_the_agreeing_are_written_first_and_keep_their_voxels():
    agreeing = [vote(0, 3, 20, 30), vote(1, 2, 20, 30)]
    stray = vote(4, 2, 24, 34)
    merged = merge_votes([stray, *agreeing], SHAPE, SPACING)
    assert (merged.labels[5:15, 20:30, 5:15] == 1).all()
    assert (merged.labels[5:15, 30:34, 5:15] == 2).all()


def test_a_couple_that_is_mostly_taken_is_dropped():
    agreeing = [vote(0, 3, 20, 30), vote(1, 2, 20, 30)]
    merged = merge_votes([*agreeing, vote(4, 2, 23, 33)], SHAPE, SPACING)
    assert list(merged.agreement) == [1]


def test_crumbs_are_dropped_and_holes_filled():
    crumb = Vote(0, 2, Box((0, 0, 0), (3, 3, 3)), np.ones((3, 3, 3), np.bool_), 27)
    hollow = np.ones((10, 10, 10), np.bool_)
    hollow[4:6, 4:6, 4:6] = False
    merged = merge_votes([crumb, Vote(4, 2, Box((5, 20, 5), (15, 30, 15)), hollow, 992)], SHAPE, SPACING)
    assert np.count_nonzero(merged.labels == 1) == 1000
    assert list(merged.agreement) == [1]


def test_votes_beyond_the_volume_are_cut_off():
    box = Box((-5, -5, -5), (12, 12, 12))
    merged = merge_votes([Vote(0, 2, box, np.ones(box.shape, np.bool_), 17**3)], SHAPE, SPACING)
    assert np.count_nonzero(merged.labels) == 12**3


def test_no_votes_no_vertebrae():
    merged = merge_votes([], SHAPE, SPACING)
    assert not merged.labels.any()
    assert merged.agreement == {}
