"""Targets that leave open which of several classes a voxel is, and losses that punish no class that it may be.

Masks of one's own seldom name all fourteen structures. Where a structure is not labelled, a voxel of background may be that
structure as well; where a vertebra is one piece, each of its voxels may be any part. So a target is a set of classes for each
voxel, kept as bits, and what is learned is the sum of their probabilities: the marginal loss (Shi et al. 2021, "Marginal loss
and exclusion loss for partially supervised multi-organ segmentation").
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from spineps.labels import VERTEBRA, Structure, left_right_table
from spineps.networks.classes import SEMANTIC_CLASSES, SEMANTIC_TABLE
from spineps.training.losses import BACKGROUND_WEIGHT, MIN_VOXELS

Sets = NDArray[np.uint16]
"""Bit ``c`` of a voxel is set where it may be class ``c`` of :data:`~spineps.networks.classes.SEMANTIC_CLASSES`."""

ANYTHING: Final = (1 << len(SEMANTIC_CLASSES)) - 1
"""The set of all classes: such a voxel counts for nothing."""
ANY_PART: Final = sum({1 << int(SEMANTIC_TABLE[s]) for s in VERTEBRA})
"""A voxel of a vertebra of which no mask says the part."""
_SMOOTH: Final = 10.0
_LEAST: Final = 1e-7


def class_sets(labelled: frozenset[Structure]) -> Sets:
    """What a semantic label can mean in masks that name only some structures.

    Parameters
    ----------
    labelled : frozenset of Structure
        Structures that the masks name where they are.

    Returns
    -------
    ndarray of uint16, shape (256,)
        Set of classes for each semantic id. Unlabelled structures may hide in the background; an unlabelled cord in a labelled
        canal alone, unlabelled endplates in bodies and discs too.
    """
    named = {int(SEMANTIC_TABLE[s]) for s in labelled} - {0}
    hidden = sum(1 << c for c in range(1, len(SEMANTIC_CLASSES)) if c not in named)
    table: Sets = (np.uint16(1) << SEMANTIC_TABLE.astype(np.uint16)).astype(np.uint16)
    cord, canal, endplate = (1 << int(SEMANTIC_TABLE[s]) for s in (Structure.CORD, Structure.CANAL, Structure.ENDPLATE))
    if hidden & cord and not hidden & canal:
        table[Structure.CANAL] |= cord
        hidden &= ~cord
    if hidden & endplate:
        for structure in (*VERTEBRA, Structure.DISC):
            if SEMANTIC_TABLE[structure] == SEMANTIC_TABLE[Structure.CORPUS] or structure is Structure.DISC:
                table[structure] |= endplate
    table[SEMANTIC_TABLE == 0] = 1 | hidden
    return table


def mirrored_sets() -> Sets:
    """Look-up table of 65536 entries: a set with left and right structures exchanged."""
    swap = SEMANTIC_TABLE[left_right_table()[[int(s) for s in SEMANTIC_CLASSES]]]
    every = np.arange(1 << 16, dtype=np.int64)
    out = np.zeros_like(every)
    for old, new in enumerate(swap):
        out += ((every >> old) & 1) << int(new)
    return out.astype(np.uint16)


def marginal_loss(logits: torch.Tensor, sets: torch.Tensor) -> torch.Tensor:
    """Weighted cross-entropy and mean soft Dice loss of what the voxels' sets of classes say.

    Equal to :func:`spineps.training.losses.cross_entropy_and_dice` where every set is one class (or all: ignored).

    Parameters
    ----------
    logits : Tensor, shape (N, C, P, I, R)
        Scores, background first.
    sets : Tensor of int64, shape (N, P, I, R)
        See :data:`Sets`.
    """
    scores = torch.softmax(logits.float(), dim=1)
    possible = _members(sets, logits.shape[1])
    chosen = (scores * possible).sum(1).clamp_min(_LEAST)
    weight = torch.where(possible[:, 0], BACKGROUND_WEIGHT, 1.0) * ~possible.all(1)
    entropy = -(weight * chosen.log()).sum() / weight.sum().clamp_min(1.0)
    terms = [
        1 - (2 * (score * truth).sum() + _SMOOTH) / (score.sum() + truth.sum() + _SMOOTH)
        for score, truth in _decided(scores, sets)
        if int(truth.sum()) >= MIN_VOXELS
    ]
    return entropy + torch.stack(terms).mean() if terms else entropy


@torch.no_grad()
def marginal_counts(logits: torch.Tensor, sets: torch.Tensor, scored: tuple[int, ...]) -> torch.Tensor:
    """Intersection and sum of sizes for each of the given sets, shape (2, len(scored)).

    A voxel counts for a set if it is labelled as just that set or cannot be any class of it.
    """
    found = torch.bitwise_left_shift(torch.ones_like(sets), logits.argmax(dim=1))
    rows = []
    for group in scored:
        valid = (sets == group) | (sets & group == 0)
        hit, truth = (found & group != 0) & valid, sets == group
        rows.append(torch.stack([(hit & truth).sum(), hit.sum() + truth.sum()]))
    return torch.stack(rows, dim=1).double().cpu() if rows else torch.zeros(2, 0, dtype=torch.float64)


def sets_without_background(sets: Sets) -> tuple[int, ...]:
    """The distinct sets that a target is certain of: those without the background."""
    return tuple(int(s) for s in np.unique(sets) if not s & 1)


def set_name(group: int) -> str:
    """Semantic ids of the classes of a set, such as ``61`` or ``60+61``."""
    return "+".join(str(int(s)) for c, s in enumerate(SEMANTIC_CLASSES) if group >> c & 1)


def _members(sets: torch.Tensor, classes: int) -> torch.Tensor:
    bits = torch.arange(classes, device=sets.device).reshape(1, -1, 1, 1, 1)
    return torch.bitwise_right_shift(sets[:, None], bits) & 1 == 1


def _decided(scores: torch.Tensor, sets: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """For each set without background that occurs: its probability and its truth, in the voxels where that is decided."""
    pairs = []
    for group in torch.unique(sets).tolist():
        if group & 1:
            continue
        members = [c for c in range(scores.shape[1]) if group >> c & 1]
        valid = (sets == group) | (sets & group == 0)
        pairs.append((scores[:, members].sum(1) * valid, sets == group))
    return pairs
