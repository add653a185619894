from __future__ import annotations

import numpy as np
import pytest

from spineps.config import EndplateLabels, EndplateOwner, PostprocessConfig
from spineps.errors import FindingCode
from spineps.geometry import Geometry
from spineps.labels import ENDPLATES, VERTEBRA, Scheme, Structure, lookup, unnamed_instances
from spineps.stages.levels import Levels, paint_discs
from spineps.stages.postprocess import postprocess
from spineps.volume import LabelMap
from tests.spines import make_spine

IS_PLATE = lookup(ENDPLATES)


@pytest.fixture(scope="module")
def spine():
    return make_spine(4, (1.5, 1.5, 2.0))


def _done(spine, labels=None, instance=None, **options):
    semantic = spine.semantic if labels is None else spine.edited(labels)
    return postprocess(semantic, spine.truth if instance is None else instance, {}, PostprocessConfig(**options))


def test_ids_from_top_to_bottom_whatever_the_numbers_were(spine):
    shuffled = np.array([0, 3, 1, 4, 2], np.uint8)[spine.truth]
    done = postprocess(spine.semantic, shuffled, {3: 0.9, 1: 0.8, 4: 0.7, 2: 0.6})
    found = np.where(done.instance.labels < 26, done.instance.labels, 0)
    assert np.array_equal(found, np.where(spine.truth > 0, spine.truth + 1, 0))
    assert done.agreement == {2: 0.9, 3: 0.8, 4: 0.7, 5: 0.6}
    assert done.instance.labels.dtype == np.uint16


def test_both_masks_have_the_same_foreground(spine):
    done = _done(spine)
    shown = np.isin(done.semantic.labels, (0, Structure.CORD, Structure.CANAL), invert=True)
    assert np.array_equal(shown, done.instance.labels > 0)
    assert np.array_equal(done.instance.labels == 26, done.semantic.labels == Structure.SACRUM)


def test_discs_carry_the_vertebra_above(spine):
    done = _done(spine)
    for number, centre in enumerate(spine.centres_vox, start=2):
        planes = np.nonzero(done.instance.labels == 100 + number)[1]
        assert planes.min() > centre[1]
        assert number == 5 or planes.max() < spine.centres_vox[number - 1][1]


def test_no_endplate_voxel_is_lost_and_each_has_its_side(spine):
    done = _done(spine)
    plates = spine.semantic.labels == Structure.ENDPLATE
    assert np.array_equal(IS_PLATE[done.semantic.labels], plates)
    assert not (done.semantic.labels == Structure.ENDPLATE).any()
    for number, centre in enumerate(spine.centres_vox, start=2):
        near = plates & (np.abs(np.arange(plates.shape[1])[None, :, None] - centre[1]) < 10)
        above = near & (np.arange(plates.shape[1])[None, :, None] < centre[1])
        assert (done.semantic.labels[above] == Structure.ENDPLATE_SUPERIOR).all()
        assert (done.instance.labels[above] == 200 + number - 1).all()
        assert (done.semantic.labels[near & ~above] == Structure.ENDPLATE_INFERIOR).all()
        assert (done.instance.labels[near & ~above] == 200 + number).all()


def test_endplates_can_carry_their_own_vertebra_and_stay_undivided(spine):
    done = _done(spine, endplate_owner=EndplateOwner.VERTEBRA, endplate_labels=EndplateLabels.MERGED)
    plates = spine.semantic.labels == Structure.ENDPLATE
    assert np.array_equal(done.semantic.labels == Structure.ENDPLATE, plates)
    planes = np.arange(plates.shape[1])[None, :, None]
    for number, centre in enumerate(spine.centres_vox, start=2):
        near = plates & (np.abs(planes - centre[1]) < 10)
        assert (done.instance.labels[near] == 200 + number).all()


def test_the_plate_of_the_sacrum(spine):
    labels = spine.labels()
    top = int(np.flatnonzero((labels == Structure.SACRUM).any(axis=(0, 2)))[0])
    plate = labels[:, top]
    plate[plate == Structure.SACRUM] = Structure.ENDPLATE
    shown = np.zeros(labels.shape, np.bool_)
    shown[:, top] = plate == Structure.ENDPLATE
    by_disc = _done(spine, labels)
    assert (by_disc.semantic.labels[shown] == Structure.ENDPLATE_SUPERIOR).all()
    assert (by_disc.instance.labels[shown] == 205).all()
    by_vertebra = _done(spine, labels, endplate_owner=EndplateOwner.VERTEBRA)
    assert (by_vertebra.instance.labels[shown] == 226).all()


def test_loose_endplates_go_to_the_nearer_body(spine):
    labels = spine.labels()
    truth = spine.truth.copy()
    touching = np.zeros(labels.shape, np.bool_)
    plates = labels == Structure.ENDPLATE
    for shift in (-1, 1):
        touching |= np.roll(plates, shift, 1)
    bodies = touching & (labels == Structure.CORPUS)
    labels[bodies], truth[bodies] = 0, 0  # now no body touches its plates
    done = _done(spine, labels, truth)
    planes = np.arange(plates.shape[1])[None, :, None]
    for number, centre in enumerate(spine.centres_vox[:3], start=2):
        below = plates & (planes > centre[1]) & (planes < centre[1] + 10)
        assert (done.semantic.labels[below] == Structure.ENDPLATE_INFERIOR).all()
        assert (done.instance.labels[below] == 200 + number).all()


@pytest.mark.parametrize("merged", [False, True])
def test_a_final_mask_is_taken_as_it_is(spine, merged):
    first = _done(spine)
    config = PostprocessConfig(endplate_labels=EndplateLabels.MERGED if merged else EndplateLabels.SPLIT)
    again = postprocess(first.semantic, spine.truth, {}, config)
    assert np.array_equal(again.instance.labels, first.instance.labels)
    if merged:
        assert np.array_equal(again.semantic.labels, spine.semantic.labels)
    else:
        assert np.array_equal(again.semantic.labels, first.semantic.labels)


def test_a_disc_over_two_levels_is_divided(spine):
    labels = spine.labels()
    low, high = (int(np.nonzero(labels == Structure.DISC)[1].min()), int(spine.centres_vox[2][1] + 6))
    labels[2:6, low:high, 14:16] = Structure.DISC
    joined = labels.copy()
    joined[6 : int(spine.centres_vox[0][0]), low : low + 2, 14:16][
        joined[6 : int(spine.centres_vox[0][0]), low : low + 2, 14:16] == 0
    ] = Structure.DISC
    done = _done(spine, joined)
    levels = np.unique(done.instance.labels[2:6, low:high, 14:16])
    assert set(levels.tolist()) >= {102, 103}


def test_a_disc_beside_two_bodies_whose_centres_lie_between_the_same_planes():
    semantic = np.zeros((4, 12, 3), np.uint8)
    semantic[1:3, 2:10, 1] = Structure.DISC
    levels = Levels(np.array([19, 20, 21, 26]), np.array([[0.0, 5.2, 1.0], [0.0, 5.7, 1.0]]))
    out = np.zeros(semantic.shape, np.uint16)
    paint_discs(out, semantic, levels)
    assert (out[1:3, 2:6, 1] == 119).all()
    assert (out[1:3, 6:10, 1] == 121).all()
    assert np.count_nonzero(out) == np.count_nonzero(semantic)


def test_a_disc_above_the_first_vertebra(spine):
    labels = spine.labels()
    top = spine.body_box(1).start[1] - 5
    labels[12:22, top : top + 2, 10:20] = Structure.DISC
    assert (_done(spine, labels).instance.labels[12:22, top : top + 2, 10:20] == 101).all()


def test_orphans_are_removed_from_both_masks_with_a_finding(spine):
    labels = spine.labels()
    labels[0:3, 0:3, 0:3] = Structure.ARCUS
    done = _done(spine, labels)
    assert not done.semantic.labels[0:3, 0:3, 0:3].any()
    assert not done.instance.labels[0:3, 0:3, 0:3].any()
    assert [f.code for f in done.findings] == [FindingCode.ORPHANS_REMOVED]


def test_every_vertebra_voxel_gets_a_vertebra_and_none_other(spine):
    rng = np.random.default_rng(5)
    instance = spine.truth.copy()
    instance[rng.random(instance.shape) < 0.3] = 0
    instance[(spine.labels() == 0) & (rng.random(instance.shape) < 0.01)] = 2
    done = _done(spine, None, instance)
    vertebra = lookup(VERTEBRA)[done.semantic.labels]
    assert np.array_equal(vertebra, (done.instance.labels > 0) & (done.instance.labels < 26))
    assert np.count_nonzero(done.instance.labels[vertebra] != spine.truth[vertebra] + 1) < 0.002 * vertebra.sum()


def test_a_hole_in_a_vertebra_is_filled_with_what_surrounds_it(spine):
    labels, truth = spine.labels(), spine.truth.copy()
    p, i, r = (int(v) for v in spine.centres_vox[1])
    hole = (slice(p - 1, p + 2), slice(i - 1, i + 2), slice(r - 1, r + 2))
    labels[hole], truth[hole] = 0, 0
    done = _done(spine, labels, truth)
    assert (done.semantic.labels[hole] == Structure.CORPUS).all()
    assert (done.instance.labels[hole] == 3).all()


def test_without_postprocessing_the_masks_stay_raw(spine):
    labels = spine.labels()
    labels[0:3, 0:3, 0:3] = Structure.ARCUS
    done = _done(spine, labels, enabled=False)
    assert np.array_equal(done.semantic.labels, labels)
    assert not done.instance.labels[0:3, 0:3, 0:3].any()
    assert done.findings == ()


def test_a_coarse_instance_grid_leaves_no_rim(spine):
    coarse = spine.truth[::2, ::2, ::2].repeat(2, 0).repeat(2, 1).repeat(2, 2)
    instance = np.zeros_like(spine.truth)
    p, i, r = (min(a, b) for a, b in zip(coarse.shape, instance.shape, strict=True))
    instance[:p, :i, :r] = coarse[:p, :i, :r]
    done = postprocess(spine.semantic, instance, {}, instance_spacing_mm=(3.0, 3.0, 4.0))
    vertebra = lookup(VERTEBRA)[spine.semantic.labels]
    assert (done.instance.labels[vertebra] > 0).all()
    assert np.count_nonzero(done.instance.labels[vertebra] == spine.truth[vertebra] + 1) > 0.97 * vertebra.sum()


def test_ids_of_many_vertebrae_pass_over_sacrum_and_t13():
    ids = unnamed_instances(30)
    assert len(ids) == 30
    assert ids[:24] == tuple(range(2, 26))
    assert ids[24:27] == (27, 29, 30)
    assert unnamed_instances(0) == ()


def test_nothing_in_nothing_out():
    empty = LabelMap(np.zeros((8, 8, 8), np.uint8), Geometry.from_spacing((8, 8, 8), (1, 1, 1)), Scheme.SEMANTIC)
    done = postprocess(empty, np.zeros((8, 8, 8), np.uint8), {})
    assert not done.instance.labels.any()


def test_the_sacrum_alone():
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[5:15, 5:15, 5:15] = Structure.SACRUM
    only = LabelMap(labels, Geometry.from_spacing((20, 20, 20), (2, 2, 2)), Scheme.SEMANTIC)
    done = postprocess(only, np.zeros_like(labels), {})
    assert set(np.unique(done.instance.labels).tolist()) == {0, 26}
