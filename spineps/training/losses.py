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
    logs = functional.log_softmax(logits.float(), dim=1)
    classes = logs.shape[1]
    weight = torch.ones(classes, device=logs.device)
    weight[0] = BACKGROUND_WEIGHT
    entropy = functional.nll_loss(logs, target, weight=weight, ignore_index=IGNORE)
    valid = target != IGNORE
    truth = target[valid]
    counts = torch.bincount(truth, minlength=classes)
    present = counts >= MIN_VOXELS
    present[0] = False
    if not bool(present.any()):
        return entropy
    scores = logs.exp()
    size = (scores.flatten(2) @ valid.flatten(1)[:, :, None].to(scores.dtype)).sum((0, 2)) + counts
    of_truth = scores.gather(1, torch.where(valid, target, 0)[:, None])[:, 0][valid]
    overlap = torch.zeros(classes, device=logs.device).index_add(0, truth, of_truth)
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
