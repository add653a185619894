"""The labeling network: a cutout around a vertebral body in, opinions on its level out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import torch
from torch import nn

from spineps.networks.unet import ALL_AXES, ConvBlock, ResidualBlock, Triple

REGIONS: Final = ("cervical", "thoracic", "lumbar")


class LevelNet(nn.Module):
    """A residual encoder with three opinions: level, region, and whether the vertebra is whole in the field of view.

    Parameters
    ----------
    levels : int
        Classes of the first opinion.
    channels : int
        Input channels: the image, and one a group of structures.
    widths : sequence of int
        Channels at each resolution; the first is half that of the input.
    """

    divisors: Triple = (16, 16, 8)

    def __init__(self, levels: int = 25, channels: int = 10, widths: Sequence[int] = (16, 32, 64, 96)) -> None:
        super().__init__()
        self.input_channels = channels
        self.levels = levels
        self.stem = ConvBlock(channels, widths[0], ALL_AXES, ALL_AXES)
        steps: list[nn.Module] = []
        for place, (fine, coarse) in enumerate(pairwise(widths)):
            stride = ALL_AXES if place < len(widths) - 2 else (2, 2, 1)
            steps += [ResidualBlock(fine), ConvBlock(fine, coarse, stride, stride), ResidualBlock(coarse)]
        self.trunk = nn.Sequential(*steps)
        # Where something lies in the cutout tells as much as that it is there, so rows are kept apart.
        self.rows = nn.AdaptiveAvgPool3d((3, 3, 1))
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(widths[-1] * 9, 192), nn.LeakyReLU(0.01), nn.Linear(192, levels + len(REGIONS) + 2)
        )

    def forward(self, cutouts: torch.Tensor) -> torch.Tensor:
        """Logits of levels, regions and (cut, whole) beside each other, of cutouts of shape (N, channels, P, I, R)."""
        logits: torch.Tensor = self.head(self.rows(self.trunk(self.stem(cutouts))))
        return logits
