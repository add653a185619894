"""The published labeling network: one image patch of a vertebra in, several opinions on its level out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from spineps.networks.published.backbones import DenseNet, ResNet
from spineps.networks.unet import Triple


class VertebraClassifier(nn.Module):
    """A backbone with one head for each opinion.

    Parameters
    ----------
    family : {"densenet", "resnet"}
        Kind of backbone.
    blocks : sequence of int
        Of the backbone.
    heads : mapping of str to int
        Classes of each head, in the order of the output.
    bottleneck : bool
        Of a ResNet.
    hidden : bool
        Heads have a hidden layer of half the width.
    """

    golden_shape: Triple = (32, 32, 32)
    divisors: Triple = (32, 32, 32)

    def __init__(
        self, family: str, blocks: Sequence[int], heads: Mapping[str, int], *, bottleneck: bool = False, hidden: bool = True
    ) -> None:
        super().__init__()
        self.input_channels = 1
        self.net = DenseNet(blocks) if family == "densenet" else ResNet(blocks, bottleneck=bottleneck)
        self.heads = dict(heads)
        width = self.net.width
        self.classification_heads = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(width, width // 2), nn.ReLU(), nn.Linear(width // 2, count))
                if hidden
                else nn.Sequential(nn.Linear(width, count))
                for name, count in self.heads.items()
            }
        )

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Logits of all heads beside each other, shape (N, sum of classes), of patches of shape (N, 1, P, I, R)."""
        features = self.net(patches)
        return torch.cat([self.classification_heads[name](features) for name in self.heads], dim=1)
