from __future__ import annotations

import numpy as np
import pytest

from spineps.labels import VERTEBRA, Structure, lookup
from spineps.stages.assign import (
    assign_articular,
    assign_components,
    clip_to_vertebrae,
    grow,
    join_split_top,
    reassign_fragments,
    top_to_bottom,
    unite_loose_spinous,
)
from tests.spines import make_spine

SPACING = (2.0, 2.0, 2.0)


@pytest.fixture(scope="module")
def spine():
    return make_spine(4)


def _padded(spine):
    return np.pad(spine.labels(), 1), np.pad(spine.truth, 1)


def test_instances_end_where_no_vertebra_is(spine):
    semantic, truth = _padded(spine)
    assert np.array_equal(clip_to_vertebrae(semantic, np.full_like(truth, 2) * (truth >= 0)) > 0, truth > 0)


def test_a_rim_grows_back_to_the_right_vertebra(spine):
    semantic, truth = _padded(spine)
    inner = truth.copy()
    for axis in range(3):
        inner[(np.roll(truth, 1, axis) != truth) | (np.roll(truth, -1, axis) != truth)] = 0
    grown = grow(lookup(VERTEBRA)[semantic], semantic, inner, 4)
    assert np.count_nonzero(grown == truth) > 0.995 * truth.size
    assert np.count_nonzero((grown > 0) & (grown != truth)) < 0.001 * np.count_nonzero(truth)


def test_growth_prefers_the_own_structure():
    semantic = np.zeros((5, 5, 5), np.uint8)
    semantic[2, 1, 1:4] = Structure.INFERIOR_ARTICULAR_LEFT
    semantic[2, 2, 1:4] = Structure.SUPERIOR_ARTICULAR_LEFT
    instance = np.zeros_like(semantic)
    instance[2, 1] = np.where(semantic[2, 1] > 0, 1, 0)
    instance[2, 2, 1] = 2
    grown = grow(semantic > 0, semantic, instance, 3)
    assert grown[2, 2, 2] == 2


def test_an_articular_process_belongs_to_who_clearly_holds_most_of_it(spine):
    semantic, truth = _padded(spine)
    process = (truth == 2) & (semantic == Structure.SUPERIOR_ARTICULAR_LEFT)
    where = np.argwhere(process)
    mixed = truth.copy()
    mixed[tuple(where[: len(where) // 5].T)] = 1  # a fifth to the wrong vertebra
    mixed[tuple(where[-len(where) // 3 :].T)] = 0  # and a third to none: the background is no vertebra
    assert np.array_equal(assign_articular(semantic, mixed), truth)


def test_a_disputed_articular_process_stays_divided(spine):
    semantic, truth = _padded(spine)
    where = np.argwhere((truth == 2) & (semantic == Structure.SUPERIOR_ARTICULAR_LEFT))
    mixed = truth.copy()
    mixed[tuple(where[: len(where) * 2 // 5].T)] = 1
    assert np.array_equal(assign_articular(semantic, mixed), mixed)


def test_a_missing_component_goes_to_its_neighbour_and_an_orphan_goes(spine):
    semantic, truth = _padded(spine)
    missing = truth.copy()
    missing[(semantic == Structure.SPINOUS) & (truth == 3)] = 0
    orphan = semantic.copy()
    orphan[2:4, 2:4, 2:4] = Structure.ARCUS
    new_semantic, new_instance, removed = assign_components(orphan, missing)
    assert np.array_equal(new_instance, truth)
    assert np.array_equal(new_semantic, semantic)
    assert removed == 8


def test_a_fragment_that_touches_one_other_vertebra_changes_owner(spine):
    semantic, truth = _padded(spine)
    wrong = truth.copy()
    wrong[(semantic == Structure.SPINOUS) & (truth == 3)] = 2
    parts = reassign_fragments(semantic, wrong)
    assert np.array_equal(parts, truth)


def test_a_fragment_with_body_stays(spine):
    semantic, truth = _padded(spine)
    wrong = truth.copy()
    where = np.argwhere((semantic == Structure.CORPUS) & (truth == 3))
    wrong[tuple(where[:50].T)] = 2
    assert np.array_equal(reassign_fragments(semantic, wrong), wrong)


def _cut_off(spine, *numbers):
    """The masks with the spinous processes of these vertebrae cut off their arches, and where the processes are."""
    semantic, truth = _padded(spine)
    for number in numbers:
        process = (semantic == Structure.SPINOUS) & (truth == number)
        gap = np.flatnonzero(process.any(axis=(1, 2)))[:2]
        for masked in (semantic, truth):
            masked[gap] = np.where(process[gap], 0, masked[gap])
    return semantic, truth, (semantic == Structure.SPINOUS) & np.isin(truth, numbers)


def _renamed(truth, process):
    """The process of vertebra 2 named after the one above, with specks of the one below."""
    named = np.where(process, 1, truth)
    lowest = np.flatnonzero(process.any(axis=(0, 2)))[-1]
    named[:, lowest][process[:, lowest]] = 3
    return named


def test_a_loose_spinous_process_goes_to_the_arch_in_front_of_it(spine):
    semantic, truth, process = _cut_off(spine, 2)
    assert np.array_equal(unite_loose_spinous(semantic, _renamed(truth, process), SPACING), truth)


def test_a_spinous_process_on_its_arch_stays(spine):
    semantic, truth = _padded(spine)
    wrong = truth.copy()
    wrong[(semantic == Structure.SPINOUS) & (truth == 3)] = 2
    assert np.array_equal(unite_loose_spinous(semantic, wrong, SPACING), wrong)


def test_two_joined_spinous_processes_stay_divided(spine):
    semantic, truth, pair = _cut_off(spine, 2, 3)
    p, i, r = (np.flatnonzero(pair.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    bridge = (p[-1], slice(i[0], i[-1] + 1), r[len(r) // 2])
    truth[bridge] = np.where(truth[bridge] == 0, 3, truth[bridge])
    semantic[bridge] = Structure.SPINOUS
    assert np.array_equal(unite_loose_spinous(semantic, truth, SPACING), truth)


def test_a_spinous_process_above_the_first_arch_stays(spine):
    semantic, truth, process = _cut_off(spine, 1)
    arch = np.flatnonzero(((semantic == Structure.ARCUS) & (truth == 1)).any(axis=(0, 2)))
    shift = np.flatnonzero(process.any(axis=(0, 2)))[-1] - arch[0] + 2
    higher = np.roll(process, -shift, axis=1)
    for masked, value in ((semantic, Structure.SPINOUS), (truth, 9)):
        masked[process] = 0
        masked[higher] = value
    assert np.array_equal(unite_loose_spinous(semantic, truth, SPACING), truth)


def test_without_arches_a_loose_spinous_process_stays(spine):
    semantic, truth, process = _cut_off(spine, 2)
    semantic[semantic == Structure.ARCUS] = 0
    named = _renamed(truth, process)
    assert np.array_equal(unite_loose_spinous(semantic, named, SPACING), named)


def test_a_split_first_body_is_joined(spine):
    semantic, truth = _padded(spine)
    body = (semantic == Structure.CORPUS) & (truth == 1)
    planes = np.flatnonzero(body.any(axis=(0, 2)))
    split = truth.copy()
    split[(truth == 1) & (np.arange(truth.shape[1])[None, :, None] < planes[2])] = 9
    assert np.array_equal(join_split_top(semantic, split, SPACING), truth)


def test_a_cut_first_vertebra_is_not_joined(spine):
    top = spine.body_box(1).stop[1] - 2
    semantic, truth = (np.pad(a[:, top:], 1) for a in (spine.labels(), spine.truth))
    first, second = (np.count_nonzero(truth == n) for n in (1, 2))
    assert first < 0.5 * second
    assert np.array_equal(join_split_top(semantic, truth, SPACING), truth)


def test_vertebrae_are_ordered_by_their_bodies(spine):
    semantic, truth = _padded(spine)
    table = np.array([0, 7, 3, 9, 1], np.uint8)
    assert top_to_bottom(semantic, table[truth]) == [7, 3, 9, 1]
