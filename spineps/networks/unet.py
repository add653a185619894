"""The bundled networks: small residual U-Nets, made to be fast on a CPU.

Skips are added rather than concatenated, downsampling is a strided convolution without overlap, and the semantic network
begins with a patch embedding, so that nearly all work is done at half the in-plane resolution, with a light decoder at
full resolution. About 4.2 and 2.5 million parameters.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

Triple = tuple[int, int, int]

IN_PLANE: Triple = (2, 2, 1)
ALL_AXES: Triple = (2, 2, 2)


class InstanceNorm(nn.Module):
    """Instance normalisation with a learned scale and shift.

    A batch of one goes through PyTorch's batch normalisation kernel, which computes the same and, unlike its instance
    normalisation, keeps the channels-last layout. Who records the network for another engine sees the normalisation itself.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise each channel of each sample of ``x``, shape (N, C, P, I, R)."""
        recorded = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if x.shape[0] == 1 and not recorded:
            return functional.batch_norm(x, None, None, self.weight, self.bias, training=True)
        return functional.instance_norm(x, weight=self.weight, bias=self.bias)


class ConvBlock(nn.Sequential):
    """Convolution, normalisation and leaky ReLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: Triple = (3, 3, 3), stride: Triple = (1, 1, 1)) -> None:
        same = tuple((k - 1) // 2 for k in kernel)
        padding: Triple = (0, 0, 0) if stride == kernel else (same[0], same[1], same[2])
        super().__init__(
            nn.Conv3d(channels_in, channels_out, kernel, stride, padding, bias=False),
            InstanceNorm(channels_out),
            nn.LeakyReLU(0.01, inplace=True),
        )


class ResidualBlock(nn.Module):
    """Two 3x3x3 convolutions around a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvBlock(channels, channels)
        self.second = nn.Sequential(nn.Conv3d(channels, channels, 3, padding=1, bias=False), InstanceNorm(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Refine features ``x``, shape (N, C, P, I, R)."""
        return functional.leaky_relu(x + self.second(self.first(x)), 0.01)


class Trunk(nn.Module):
    """Encoder and decoder between features of one resolution; shapes in and out are equal.

    Parameters
    ----------
    widths : sequence of int
        Channels at each level, the finest first.
    strides : sequence of triples
        Step from each level to the next coarser one.
    light : bool
        One convolution in place of a residual block at the finest level of the decoder.
    """

    def __init__(self, widths: Sequence[int], strides: Sequence[Triple], *, light: bool = False) -> None:
        super().__init__()
        steps = list(zip(widths, widths[1:], strides, strict=False))
        self.down = nn.ModuleList(
            nn.Sequential(ConvBlock(fine, coarse, stride, stride), ResidualBlock(coarse)) for fine, coarse, stride in steps
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(coarse, fine, stride, stride, bias=False) for fine, coarse, stride in reversed(steps)
        )
        self.merge = nn.ModuleList(
            ConvBlock(fine, fine) if light and fine_level else ResidualBlock(fine)
            for fine_level, fine in ((i == len(steps) - 1, step[0]) for i, step in enumerate(reversed(steps)))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pass features ``x``, shape (N, widths[0], P, I, R), through all levels."""
        skips = []
        for down in self.down:
            skips.append(x)
            x = down(x)
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(up(x) + skips.pop())
        return x


class SemanticUNet(nn.Module):
    """Semantic network: one image channel in, one logit a class out.

    Parameters
    ----------
    classes : int
        Output channels.
    fine_width : int
        Channels at full resolution.
    widths : sequence of int
        Channels of the trunk, which begins at half the in-plane resolution.
    """

    divisors: Triple = (16, 16, 8)

    def __init__(self, classes: int = 15, fine_width: int = 32, widths: Sequence[int] = (32, 64, 128, 160)) -> None:
        super().__init__()
        self.input_channels: int = 1
        self.embed = nn.Sequential(
            nn.Conv3d(1, widths[0], (4, 4, 1), IN_PLANE, (1, 1, 0), bias=False),
            InstanceNorm(widths[0]),
            nn.LeakyReLU(0.01, inplace=True),
            ResidualBlock(widths[0]),
        )
        self.trunk = Trunk(widths, [ALL_AXES] * (len(widths) - 1))
        self.half_head = nn.Conv3d(widths[0], classes, 1)
        self.fine_skip = ConvBlock(1, fine_width, (3, 3, 1))
        self.fine_up = nn.ConvTranspose3d(widths[0], fine_width, IN_PLANE, IN_PLANE, bias=False)
        self.fine_merge = ConvBlock(fine_width, fine_width, (3, 3, 1))
        self.head = nn.Conv3d(fine_width, classes, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits, shape (N, classes, P, I, R), of images of shape (N, 1, P, I, R)."""
        coarse = self.trunk(self.embed(image))
        logits: torch.Tensor = self.head(self.fine_merge(self.fine_up(coarse) + self.fine_skip(image)))
        return logits

    def forward_half(self, image: torch.Tensor) -> torch.Tensor:
        """Logits at half the in-plane resolution, for the first part of a training."""
        logits: torch.Tensor = self.half_head(self.trunk(self.embed(image)))
        return logits


class InstanceUNet(nn.Module):
    """Instance network: one-hot semantic labels of a cutout in, four classes (none, above, centre, below) out.

    Parameters
    ----------
    channels : int
        Input channels, one a group of structures.
    widths : sequence of int
        Channels at each level, the finest first.
    """

    divisors: Triple = (8, 8, 8)

    def __init__(self, channels: int = 13, widths: Sequence[int] = (32, 48, 96, 128)) -> None:
        super().__init__()
        self.input_channels = channels
        self.stem = ConvBlock(channels, widths[0])
        self.trunk = Trunk(widths, [ALL_AXES] * (len(widths) - 1), light=True)
        self.head = nn.Conv3d(widths[0], 4, 1)

    def forward(self, one_hot: torch.Tensor) -> torch.Tensor:
        """Logits, shape (N, 4, P, I, R), of one-hot cutouts of shape (N, channels, P, I, R)."""
        logits: torch.Tensor = self.head(self.trunk(self.stem(one_hot)))
        return logits
