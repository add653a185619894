"""A flip swaps the names of left and right structures, all three pairs of them, in training and at inference."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pytest

from spineps.inference.sliding import probability_slabs
from spineps.labels import LEFT_RIGHT_PAIRS, Structure
from spineps.networks.classes import SEMANTIC_CLASSES, SEMANTIC_TABLE
from spineps.phantom.tissues import Tissue
from spineps.training.instance_samples import draw_instance_sample
from spineps.training.pool import FIRST_TRAINING_SEED, Volume, bodies_of
from spineps.training.semantic_samples import draw_semantic_sample

PAIRS = ((43, 44), (45, 46), (47, 48))
IDS = [int(s) for s in SEMANTIC_CLASSES]


@pytest.fixture(scope="module")
def volume() -> Volume:
    """One body; the left process of each pair to its left (low R), the right one to its right."""
    semantic = np.zeros((90, 90, 40), np.uint8)
    semantic[15:45, 30:60, 10:30] = Structure.CORPUS
    for place, (left, right) in enumerate(LEFT_RIGHT_PAIRS):
        rows = slice(15 + 22 * place, 33 + 22 * place)
        semantic[50:70, rows, 3:13], semantic[50:70, rows, 27:37] = left, right
    instance = np.where(semantic > 0, np.uint8(20), np.uint8(0))
    tissue = np.where(semantic > 0, np.uint8(Tissue.BODY_MARROW), np.uint8(Tissue.MUSCLE))
    centres, order = bodies_of(semantic, instance)
    return Volume(tissue, semantic, instance, (1.0, 1.0, 2.0), FIRST_TRAINING_SEED, MappingProxyType(centres), order)


def sides(labels: np.ndarray) -> set[tuple[int, bool]]:
    """For each process that is seen with the body: its id, and whether it lies to the left of the body."""
    body = np.argwhere(labels == Structure.CORPUS)
    if len(body) < 300:
        return set()
    parts = {int(k): np.argwhere(labels == k) for k in np.unique(labels) if any(k in pair for pair in PAIRS)}
    return {(k, bool(part[:, 2].mean() < body[:, 2].mean())) for k, part in parts.items() if len(part) > 60}


def test_the_pairs_are_those_of_the_label_scheme() -> None:
    assert tuple((int(left), int(right)) for left, right in LEFT_RIGHT_PAIRS) == PAIRS


def test_left_stays_left_in_training(volume: Volume) -> None:
    wanted = {(left, True) for left, _ in PAIRS} | {(right, False) for _, right in PAIRS}
    ids = np.append(np.array(IDS, np.uint8), np.zeros(256 - len(IDS), np.uint8))
    patches, cutouts = set(), set()
    for seed in range(30):
        rng = np.random.default_rng(seed)
        patches |= sides(ids[draw_semantic_sample(volume, rng, (80, 80, 32))[1]])
        cutouts |= sides(draw_instance_sample(volume, rng, corrupt=False)[0])
    assert patches == wanted
    assert cutouts == wanted


class Sided:
    """A network that knows the answer: the grey value says which pair, the half of the tile which side."""

    spacing_mm = (1.0, 1.0, 2.0)
    patch_size = (6, 9, 8)
    step_share = 0.5
    mirror = False
    labels = np.array(IDS, np.uint8)

    def __call__(self, patches: np.ndarray) -> np.ndarray:
        scores = np.zeros((len(patches), len(IDS), *patches.shape[1:]), np.float32)
        half = patches.shape[3] // 2
        for pair, names in enumerate(PAIRS, start=1):
            for side, here in zip(names, (slice(0, half), slice(half, None)), strict=True):
                scores[:, SEMANTIC_TABLE[side], ..., here] = patches[..., here] == pair
        scores[:, 0] = 1 - scores.sum(axis=1)
        return scores


def test_left_stays_left_where_tiles_are_mirrored() -> None:
    image = np.repeat(np.array([1, 2, 3], np.float32), 3)[None, :, None] * np.ones((6, 1, 8), np.float32)
    straight, both = (
        np.concatenate([slab.scores for slab in probability_slabs(image, Sided(), step_share=0.5, mirror=mirror)], axis=2)
        for mirror in (False, True)
    )
    np.testing.assert_allclose(both, straight, atol=1e-6)
    found = np.array(IDS)[both.argmax(axis=0)]
    assert [tuple(np.unique(found[:, rows]).tolist()) for rows in (slice(0, 3), slice(3, 6), slice(6, 9))] == list(PAIRS)
