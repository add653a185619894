from __future__ import annotations

import numpy as np
import pytest

from spineps.geometry import Box, Geometry
from spineps.labels import VERTEBRA, lookup
from spineps.stages.corpora import Corpus, find_corpora
from spineps.stages.cutouts import cutout_box, instance_grid, predict_cutouts
from tests.spines import Oracle, make_spine


@pytest.fixture(scope="module")
def spine():
    return make_spine(4)


def test_the_grid_of_the_network_keeps_the_first_voxel():
    source = Geometry.from_spacing((380, 464, 33), (0.5, 0.5, 3.3))
    grid = instance_grid(source, (0.75, 0.75, 1.65))
    assert grid.shape == (253, 309, 66)
    assert np.allclose(grid.to_mm((0, 0, 0)), source.to_mm((0, 0, 0)))
    assert np.allclose(grid.spacing_mm, (0.75, 0.75, 1.65))
    assert grid.axes == source.axes


def test_a_cutout_lies_around_the_whole_voxel_of_the_centre(spine):
    oracle = Oracle(spine, shift_mm=(0.0, 0.0, 0.0), cutout_size=(10, 12, 8))
    corpus = Corpus((20.9, 30.2, 15.5), Box((15, 25, 10), (25, 35, 20)), np.ones((10, 10, 10), np.bool_))
    assert cutout_box(corpus, oracle) == Box((15, 24, 11), (25, 36, 19))


def test_the_centre_of_a_hollow_body_is_moved_onto_it(spine):
    oracle = Oracle(spine, shift_mm=(0.0, 0.0, 0.0), cutout_size=(10, 10, 10))
    mask = np.ones((9, 9, 9), np.bool_)
    mask[3:6, 2:7, 3:6] = False
    box = cutout_box(Corpus((14.0, 14.0, 14.0), Box((10, 10, 10), (19, 19, 19)), mask), oracle)
    centre = np.array(box.start) + 5
    assert mask[tuple(centre - 10)]
    assert np.abs(centre - 14).max() == 2


def test_votes_are_the_vertebrae_in_tight_boxes(spine):
    corpora, _ = find_corpora(spine.labels(), (2.0, 2.0, 2.0))
    votes = predict_cutouts(spine.labels(), corpora, Oracle(spine))
    assert [v.key for v in votes] == [(0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (3, 1), (3, 2)]
    for vote in votes:
        number = vote.cutout + vote.relation - 1
        assert Box.around(vote.mask) == Box.whole(vote.mask.shape)
        assert vote.size == np.count_nonzero(vote.mask)
        assert (spine.truth[vote.box.slices][vote.mask] == number).all()
    central = [v for v in votes if v.relation == 2]
    assert [v.size for v in central] == [np.count_nonzero(spine.truth == n) for n in range(1, 5)]


def test_batches_do_not_matter_and_progress_is_told(spine):
    corpora, _ = find_corpora(spine.labels(), (2.0, 2.0, 2.0))
    told = []
    one = predict_cutouts(
        spine.labels(), corpora, Oracle(spine), batch_size=1, progress=lambda done, total: told.append((done, total))
    )
    all_at_once = predict_cutouts(spine.labels(), corpora, Oracle(spine), batch_size=16)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [(v.key, v.box, v.size) for v in one] == [(v.key, v.box, v.size) for v in all_at_once]


def test_what_the_network_paints_beside_vertebrae_does_not_count(spine):
    class Painter(Oracle):
        def __call__(self, cutouts):
            return np.full(cutouts.shape, 2, np.uint8)

    corpora, _ = find_corpora(spine.labels(), (2.0, 2.0, 2.0))
    for vote in predict_cutouts(spine.labels(), corpora, Painter(spine)):
        assert lookup(VERTEBRA)[spine.labels()[vote.box.slices][vote.mask]].all()
