"""The published instance network: a residual 3D U-Net that tells the vertebra above, the one at the centre and the one below.

Both published generations have this form; they differ in width and in input channels only. Module names are those of the
published checkpoints, so that their tensors load by name.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
from torch import nn
from torch.nn import functional

from spineps.networks.published.stem import StemConv
from spineps.networks.unet import Triple

CLASSES: Final = 4
"""None, above, centre, below."""
_LEVELS: Final = (1, 1, 2, 4, 8)
"""Width at the stem and at each level, in multiples of the width of the network."""
_NORM_GROUPS: Final = 8


class NormedConv(nn.Module):
    """A 3x3x3 convolution, group normalisation and leaky ReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(channels_in, channels_out, 3, padding=1)
        self.norm = nn.GroupNorm(_NORM_GROUPS, channels_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features of ``x``, shape (N, C, P, I, R)."""
        return functional.leaky_relu(self.norm(self.proj(x)), 0.01)


class ResidualPair(nn.Module):
    """Two convolutions beside a skip connection, which is a 1x1x1 convolution where the number of channels changes."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.block1 = NormedConv(channels_in, channels_out)
        self.block2 = NormedConv(channels_out, channels_out)
        self.res_conv: nn.Module = nn.Conv3d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features of ``x``, shape (N, C, P, I, R)."""
        out: torch.Tensor = self.block2(self.block1(x)) + self.res_conv(x)
        return out


class Unet3D(nn.Module):
    """The published instance network.

    Parameters
    ----------
    width : int
        Channels at full resolution: 16 in the first published generation, 8 in the second.
    channels : int
        Input channels: one a class of the cutout, background included, or 1 for the class number as an intensity.
    """

    divisors: Triple = (8, 8, 8)
    golden_shape: Triple = (16, 16, 16)
    plain_layout: bool = True
    """Not channels-last: there PyTorch's group normalisation (2.4 to 2.15) takes the variance as the difference of two sums in
    single precision, which is wrong in the first digit where a channel's mean is large beside its deviation; it is no faster.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.input_channels = channels
        widths = [width * factor for factor in _LEVELS]
        steps = list(pairwise(widths))
        last = len(steps) - 1
        self.init_conv = StemConv(channels, width)
        self.downs = nn.ModuleList(
            nn.ModuleList([ResidualPair(a, b), ResidualPair(b, b), nn.Conv3d(b, b, 4, 2, 1) if k < last else nn.Identity()])
            for k, (a, b) in enumerate(steps)
        )
        self.mid_block1 = ResidualPair(widths[-1], widths[-1])
        self.mid_block2 = ResidualPair(widths[-1], widths[-1])
        self.ups = nn.ModuleList(
            nn.ModuleList(
                [ResidualPair(b, a), ResidualPair(a, a), nn.ConvTranspose3d(a, a, 4, 2, 1) if k < last else nn.Identity()]
            )
            for k, (a, b) in enumerate(reversed(steps))
        )
        self.final_res_block = ResidualPair(2 * width, width)
        self.final_conv = nn.Conv3d(width, CLASSES, 1)

    def forward(self, cutouts: torch.Tensor) -> torch.Tensor:
        """Logits, shape (N, 4, P, I, R), of cutouts of shape (N, channels, P, I, R); sides must be multiples of 8."""
        stem = self.init_conv(cutouts)
        x, skips = stem, []
        for first, second, step in self._levels(self.downs):
            x = second(first(x))
            skips.append(x)
            x = step(x)
        x = self.mid_block2(self.mid_block1(x))
        for first, second, step in self._levels(self.ups):
            x = step(second(first(0.5 * (x + skips.pop()))))
        logits: torch.Tensor = self.final_conv(self.final_res_block(torch.cat((x, stem), dim=1)))
        return logits

    @staticmethod
    def _levels(levels: nn.ModuleList) -> list[tuple[nn.Module, nn.Module, nn.Module]]:
        return [(level[0], level[1], level[2]) for level in levels if isinstance(level, nn.ModuleList)]
