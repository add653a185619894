"""Losses of both networks: cross-entropy plus soft Dice, as in nnU-Net (Isensee et al. 2021)."""

from __future__ import annotations

from typing import Final

import torch
from torch.nn import functional

IGNORE: Final = 255
"""Target value of voxels that count for no loss and no score (beyond the phantom's edge)."""
BACKGROUND_WEIGHT: Final = 0.5
"""Weight of the background in the cross-entropy."""
MIN_VOXELS: Final = 20
"""A class enters the Dice loss where the patch holds at least this many voxels of it; fewer make it noise."""
_SMOOTH: Final = 10.0


def cross_entropy_and_dice(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Sum of weighted cross-entropy and mean soft Dice loss over the classes that are present.

    Parameters
    ----------
    logits : Tensor, shape (N, C, P, I, R)
        Scores, background first.
    target : Tensor of int64, shape (N, P, I, R)
        Class indices, or :data:`IGNORE`.
    """
    logits = logits.float()
    classes = logits.shape[1]
    weight = torch.ones(classes, device=logits.device)
    weight[0] = BACKGROUND_WEIGHT
    entropy = functional.cross_entropy(logits, target, weight=weight, ignore_index=IGNORE)
    valid = (target != IGNORE)[:, None]
    truth = functional.one_hot(torch.where(target == IGNORE, 0, target), classes).movedim(-1, 1) * valid
    scores = torch.softmax(logits, dim=1) * valid
    axes = (0, 2, 3, 4)
    overlap, size = (scores * truth).sum(axes), scores.sum(axes) + truth.sum(axes)
    present = truth.sum(axes) >= MIN_VOXELS
    present[0] = False
    if not bool(present.any()):
        return entropy
    dice = (2 * overlap + _SMOOTH) / (size + _SMOOTH)
    return entropy + (1 - dice[present]).mean()


@torch.no_grad()
def dice_counts(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Intersection and sum of sizes of each class, shape (2, C); Dice over many patches is ``2 * a / b`` of their sums."""
    classes = logits.shape[1]
    valid = target != IGNORE
    found, truth = logits.argmax(dim=1)[valid], target[valid]
    both = torch.bincount(found[found == truth], minlength=classes)
    sizes = torch.bincount(found, minlength=classes) + torch.bincount(truth, minlength=classes)
    return torch.stack([both, sizes]).double().cpu()
