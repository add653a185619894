"""DenseNet (Huang et al., CVPR 2017) and ResNet (He et al., CVPR 2016) in three dimensions, as feature extractors.

Module names are those of the published labeling checkpoints (which were made with MONAI 1.x), so that tensors load by name.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import torch
from torch import nn
from torch.nn import functional

DENSENET_STEM: Final = 64
DENSENET_GROWTH: Final = 32
_DENSENET_BOTTLENECK: Final = 4
RESNET_WIDTHS: Final = (64, 128, 256, 512)
_RESNET_EXPANSION: Final = 4


class _DenseLayer(nn.Module):
    """Adds new features to those that it was given."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = _DENSENET_BOTTLENECK * DENSENET_GROWTH
        self.layers = nn.Sequential(
            OrderedDict(
                norm1=nn.BatchNorm3d(channels),
                relu1=nn.ReLU(),
                conv1=nn.Conv3d(channels, inner, 1, bias=False),
                norm2=nn.BatchNorm3d(inner),
                relu2=nn.ReLU(),
                conv2=nn.Conv3d(inner, DENSENET_GROWTH, 3, padding=1, bias=False),
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """All features so far, shape (N, C + growth, P, I, R)."""
        return torch.cat([x, self.layers(x)], dim=1)


class DenseNet(nn.Module):
    """A 3D DenseNet without its last linear layer.

    Parameters
    ----------
    blocks : sequence of int
        Layers of each dense block: (6, 12, 24, 16) is DenseNet121, (6, 12, 32, 32) DenseNet169.
    """

    def __init__(self, blocks: Sequence[int]) -> None:
        super().__init__()
        parts: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv3d(1, DENSENET_STEM, 7, 2, 3, bias=False),
            norm0=nn.BatchNorm3d(DENSENET_STEM),
            relu0=nn.ReLU(),
            pool0=nn.MaxPool3d(3, 2, 1),
        )
        channels = DENSENET_STEM
        for k, count in enumerate(blocks, start=1):
            layers = {f"denselayer{i + 1}": _DenseLayer(channels + i * DENSENET_GROWTH) for i in range(count)}
            parts[f"denseblock{k}"] = nn.Sequential(OrderedDict(layers))
            channels += count * DENSENET_GROWTH
            if k < len(blocks):
                parts[f"transition{k}"] = nn.Sequential(
                    OrderedDict(
                        norm=nn.BatchNorm3d(channels),
                        relu=nn.ReLU(),
                        conv=nn.Conv3d(channels, channels // 2, 1, bias=False),
                        pool=nn.AvgPool3d(2, 2),
                    )
                )
                channels //= 2
        parts["norm5"] = nn.BatchNorm3d(channels)
        self.features = nn.Sequential(parts)
        self.width = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features, shape (N, width), of images of shape (N, 1, P, I, R)."""
        return functional.relu(self.features(x)).mean(dim=(2, 3, 4))


class _ResidualBlock(nn.Module):
    """Two 3x3x3 convolutions, or one between two 1x1x1, beside a skip connection."""

    def __init__(self, channels_in: int, width: int, stride: int, *, bottleneck: bool) -> None:
        super().__init__()
        out = width * _RESNET_EXPANSION if bottleneck else width
        if bottleneck:
            self.conv1 = nn.Conv3d(channels_in, width, 1, bias=False)
            self.conv2 = nn.Conv3d(width, width, 3, stride, 1, bias=False)
            self.conv3 = nn.Conv3d(width, out, 1, bias=False)
            self.bn3 = nn.BatchNorm3d(out)
        else:
            self.conv1 = nn.Conv3d(channels_in, width, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv3d(width, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.bn2 = nn.BatchNorm3d(width)
        self._bottleneck = bottleneck
        self.downsample = (
            nn.Sequential(nn.Conv3d(channels_in, out, 1, stride), nn.BatchNorm3d(out))
            if stride != 1 or channels_in != out
            else nn.Identity()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features of ``x``, shape (N, C, P, I, R)."""
        out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self._bottleneck:
            out = self.bn3(self.conv3(functional.relu(out)))
        return functional.relu(out + self.downsample(x))


class ResNet(nn.Module):
    """A 3D ResNet without its last linear layer.

    Parameters
    ----------
    blocks : sequence of 4 int
        Blocks of each stage: (1, 1, 1, 1) is ResNet10, (2, 2, 2, 2) ResNet18, (3, 4, 6, 3) ResNet34 or, with bottlenecks,
        ResNet50, (3, 4, 23, 3) ResNet101, (3, 8, 36, 3) ResNet152.
    bottleneck : bool
        Blocks of three convolutions.
    """

    def __init__(self, blocks: Sequence[int], *, bottleneck: bool) -> None:
        super().__init__()
        factor = _RESNET_EXPANSION if bottleneck else 1
        self.conv1 = nn.Conv3d(1, RESNET_WIDTHS[0], 7, 1, 3, bias=False)
        self.bn1 = nn.BatchNorm3d(RESNET_WIDTHS[0])
        inputs = (RESNET_WIDTHS[0], *(width * factor for width in RESNET_WIDTHS))
        stages = [
            nn.Sequential(
                _ResidualBlock(before, width, 1 if k == 0 else 2, bottleneck=bottleneck),
                *(_ResidualBlock(after, width, 1, bottleneck=bottleneck) for _ in range(blocks[k] - 1)),
            )
            for k, (width, (before, after)) in enumerate(zip(RESNET_WIDTHS, pairwise(inputs), strict=True))
        ]
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.width = inputs[-1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features, shape (N, width), of images of shape (N, 1, P, I, R)."""
        x = functional.max_pool3d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean(dim=(2, 3, 4))
