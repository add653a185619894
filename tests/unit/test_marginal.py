"""Targets that leave a voxel's class open, and the loss on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spineps.labels import LEFT_RIGHT_PAIRS, Structure
from spineps.networks.classes import SEMANTIC_CLASSES, SEMANTIC_TABLE
from spineps.training.losses import IGNORE, cross_entropy_and_dice
from spineps.training.marginal import (
    ANY_PART,
    ANYTHING,
    class_sets,
    marginal_counts,
    marginal_loss,
    mirrored_sets,
    set_name,
    sets_without_background,
)

ALL = frozenset(SEMANTIC_CLASSES)
CLASSES = len(SEMANTIC_CLASSES)


def bit(structure: Structure) -> int:
    return 1 << int(SEMANTIC_TABLE[structure])


def random_case(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, CLASSES, 8, 8, 8, generator=generator)
    target = torch.randint(0, CLASSES, (1, 8, 8, 8), generator=generator)
    return logits, target


def test_with_every_structure_labelled_it_is_the_ordinary_loss():
    logits, target = random_case()
    target[:, :2] = IGNORE
    sets = torch.where(target == IGNORE, ANYTHING, 1 << target.clamp_max(20))
    torch.testing.assert_close(marginal_loss(logits, sets), cross_entropy_and_dice(logits, target))


def test_an_unlabelled_structure_is_neither_punished_nor_taught():
    """Calling background an unlabelled structure costs nothing; calling it a labelled one does."""
    table = class_sets(frozenset({Structure.CORPUS, Structure.DISC, Structure.ENDPLATE}))
    labels = np.zeros((1, 8, 8, 8), np.uint8)
    labels[:, :4] = Structure.CORPUS
    sets = torch.from_numpy(table[labels].astype(np.int64))
    body = int(SEMANTIC_TABLE[Structure.CORPUS])

    def loss_of(behind: Structure) -> torch.Tensor:
        logits = torch.zeros(1, CLASSES, 8, 8, 8)
        logits[:, body, :4] = 20
        logits[:, int(SEMANTIC_TABLE[behind]), 4:] = 20
        return marginal_loss(logits, sets)

    right = loss_of(Structure.BACKGROUND)
    assert right < 1e-3
    torch.testing.assert_close(loss_of(Structure.SACRUM), right)
    torch.testing.assert_close(loss_of(Structure.ARCUS), right)
    assert loss_of(Structure.DISC) > right + 1

    logits = torch.zeros(1, CLASSES, 8, 8, 8, requires_grad=True)
    marginal_loss(logits, sets).backward()
    behind = logits.grad[0, :, 6, 4, 4]
    hidden = [c for c in range(CLASSES) if SEMANTIC_CLASSES[c] not in (Structure.CORPUS, Structure.DISC, Structure.ENDPLATE)]
    assert torch.allclose(behind[hidden], behind[hidden][0].expand(len(hidden)))


def test_what_a_label_can_mean():
    full = class_sets(ALL)
    assert full[Structure.BACKGROUND] == 1
    assert all(full[s] == bit(s) for s in SEMANTIC_CLASSES)
    assert full[Structure.ENDPLATE_SUPERIOR] == bit(Structure.ENDPLATE)
    spider = class_sets(frozenset({*ALL} - {Structure.CORD, Structure.ENDPLATE, Structure.SACRUM}))
    assert spider[Structure.CANAL] == bit(Structure.CANAL) | bit(Structure.CORD)
    assert spider[Structure.CORPUS] == bit(Structure.CORPUS) | bit(Structure.ENDPLATE)
    assert spider[Structure.BACKGROUND] == 1 | bit(Structure.SACRUM) | bit(Structure.ENDPLATE)
    bodies = class_sets(frozenset({Structure.CORPUS}))
    assert bodies[Structure.BACKGROUND] == ANYTHING & ~bit(Structure.CORPUS)


def test_a_whole_vertebra_may_be_any_of_its_parts():
    sets = torch.full((1, 6, 6, 6), ANY_PART)
    for part in (Structure.CORPUS, Structure.SPINOUS, Structure.INFERIOR_ARTICULAR_LEFT):
        logits = torch.zeros(1, CLASSES, 6, 6, 6)
        logits[:, int(SEMANTIC_TABLE[part])] = 20
        assert marginal_loss(logits, sets) < 1e-3
    logits = torch.zeros(1, CLASSES, 6, 6, 6)
    logits[:, int(SEMANTIC_TABLE[Structure.DISC])] = 20
    assert marginal_loss(logits, sets) > 1
    both, sizes = marginal_counts(logits, sets, (ANY_PART,))
    assert (both.tolist(), sizes.tolist()) == ([0], [216])


@pytest.mark.parametrize(("left", "right"), LEFT_RIGHT_PAIRS)
def test_mirroring_exchanges_left_and_right_in_sets(left: Structure, right: Structure):
    table = mirrored_sets()
    assert table[bit(left)] == bit(right)
    assert table[bit(right)] == bit(left)
    assert table[bit(left) | bit(Structure.CORPUS)] == bit(right) | bit(Structure.CORPUS)
    assert table[ANYTHING] == ANYTHING
    assert np.array_equal(table[table[: ANYTHING + 1]], np.arange(ANYTHING + 1))


def test_sets_are_named_by_their_ids():
    assert set_name(bit(Structure.CANAL) | bit(Structure.CORD)) == "60+61"
    assert sets_without_background(np.array([1, 2, 2, 5], np.uint16)) == (2,)


def test_a_patch_that_nothing_is_known_of_has_a_finite_loss():
    logits = torch.zeros(1, CLASSES, 4, 4, 4, requires_grad=True)
    loss = marginal_loss(logits, torch.full((1, 4, 4, 4), ANYTHING))
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.isfinite(logits.grad).all()
