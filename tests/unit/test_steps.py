"""Steps that can be left out: what each does, and what stays as it was without it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from spineps.config import PostprocessConfig, Step
from spineps.geometry import Box
from spineps.labels import Structure
from spineps.stages.clean import clean_semantic
from spineps.stages.corpora import find_corpora
from spineps.stages.cutouts import Vote
from spineps.stages.merge import merge_votes
from spineps.stages.postprocess import Postprocessed, postprocess
from tests.spines import Spine, make_spine

SPACING = (2.0, 2.0, 2.0)


@pytest.fixture(scope="module")
def spine() -> Spine:
    return make_spine(4)


def _post(spine: Spine, raw: NDArray[np.uint8], *without: Step, labels: NDArray[np.uint8] | None = None) -> Postprocessed:
    semantic = spine.semantic if labels is None else spine.edited(labels)
    return postprocess(semantic, raw, {}, PostprocessConfig(without=without))


def _both(spine: Spine, raw: NDArray[np.uint8], step: Step, labels: NDArray[np.uint8] | None = None) -> tuple[NDArray, NDArray]:
    """Final instances with the step and without it."""
    return _post(spine, raw, labels=labels).instance.labels, _post(spine, raw, step, labels=labels).instance.labels


def _part(spine: Spine, number: int, structure: Structure) -> NDArray[np.bool_]:
    return (spine.truth == number) & (spine.semantic.labels == structure)


def test_instances_are_cut_to_the_semantic_vertebrae(spine: Spine) -> None:
    raw = spine.truth.copy()
    wide = np.roll(raw, -1, axis=0)
    raw[(raw == 0) & (wide > 0) & (spine.semantic.labels == 0)] = 2
    beyond = (raw > 0) & (spine.semantic.labels == 0)
    assert beyond.any()
    with_it, without = _both(spine, raw, Step.CLIP)
    assert not with_it[beyond].any()
    assert without[beyond].any()


def test_an_articular_process_goes_to_one_vertebra(spine: Spine) -> None:
    process = _part(spine, 2, Structure.SUPERIOR_ARTICULAR_LEFT)
    raw = spine.truth.copy()
    top = np.argwhere(process)[:, 1].min()
    tip = process & (np.arange(process.shape[1])[None, :, None] == top)
    raw[tip] = 1
    with_it, without = _both(spine, raw, Step.ARTICULAR)
    assert set(with_it[process]) == {3}
    assert set(without[tip]) == {2}


def test_vertebra_without_an_instance_is_given_to_one(spine: Spine) -> None:
    raw = np.where(_part(spine, 2, Structure.SPINOUS), 0, spine.truth).astype(np.uint8)
    with_it, without = _both(spine, raw, Step.MISSING)
    assert set(with_it[_part(spine, 2, Structure.SPINOUS)]) == {3}
    assert not without[_part(spine, 2, Structure.SPINOUS)].any()
    kept = _post(spine, raw, Step.MISSING).semantic.labels
    assert (kept[_part(spine, 2, Structure.SPINOUS)] == Structure.SPINOUS).all()


def test_a_topmost_vertebra_in_two_parts_is_joined(spine: Spine) -> None:
    box = spine.body_box(1)
    raw = spine.truth.copy()
    upper = (raw == 1) & (np.arange(raw.shape[1])[None, :, None] < box.start[1] + 3)
    raw[upper] = 9
    with_it, without = _both(spine, raw, Step.SPLIT_TOP)
    assert len(set(with_it[spine.truth > 0])) == 4
    assert len(set(without[spine.truth > 0])) == 5


def test_a_fragment_of_an_arch_goes_to_the_vertebra_that_it_touches(spine: Spine) -> None:
    process = _part(spine, 3, Structure.SPINOUS)
    raw = np.where(process, 1, spine.truth).astype(np.uint8)
    with_it, without = _both(spine, raw, Step.POSTERIOR)
    assert set(with_it[process]) == {4}
    assert set(without[process]) == {2}


def test_holes_are_filled(spine: Spine) -> None:
    labels, raw, body = spine.labels(), spine.truth.copy(), spine.body_box(2)
    hole = tuple((a + b) // 2 for a, b in zip(body.start, body.stop, strict=True))
    labels[hole] = raw[hole] = 0
    with_it, without = _both(spine, raw, Step.HOLES, labels)
    assert (with_it[hole], without[hole]) == (3, 0)
    assert _post(spine, raw, Step.HOLES, labels=labels).semantic.labels[hole] == 0
    damaged = spine.edited(labels)
    assert clean_semantic(damaged)[0].labels[hole] == Structure.CORPUS
    assert clean_semantic(damaged, fill=False)[0].labels[hole] == 0


def test_bodies_that_touch_fall_apart(spine: Spine) -> None:
    labels = spine.labels()
    upper, lower = spine.body_box(2), spine.body_box(3)
    middle = tuple(slice((a + b) // 2, (a + b) // 2 + 1) for a, b in zip(upper.start, upper.stop, strict=True))
    labels[middle[0], upper.stop[1] - 1 : lower.start[1] + 1, middle[2]] = Structure.CORPUS
    assert len(find_corpora(labels, SPACING, split_merged=False)[0]) == 4
    assert len(find_corpora(labels, SPACING, split_merged=False, erode=False)[0]) == 3


def test_specks_of_instances_are_removed() -> None:
    mask = np.zeros((20, 20, 20), np.bool_)
    mask[:14, :14, :14] = True
    mask[5, 5, 5], mask[18, 18, 18] = False, True
    votes = [Vote(key, 2, Box((5, 5, 5), (25, 25, 25)), mask, int(mask.sum())) for key in (0, 1, 2)]
    shape = (30, 30, 30)
    clean, specks, holes = (
        merge_votes(votes, shape, (1.0, 1.0, 1.0), without=w).labels for w in ((), (Step.INSTANCE_SPECKS,), (Step.HOLES,))
    )
    assert (clean[23, 23, 23], specks[23, 23, 23]) == (0, 1)
    assert (clean[10, 10, 10], holes[10, 10, 10]) == (1, 0)
