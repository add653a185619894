"""nnU-Net networks from the settings of their plans, and the average of the networks of several folds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import torch
from dynamic_network_architectures.architectures.unet import (  # type: ignore[import-untyped]
    PlainConvUNet,
    ResidualEncoderUNet,
    ResidualUNet,
)
from torch import nn

from spineps.networks.unet import Triple

CLASSES: Final[Mapping[str, type[nn.Module]]] = {
    "PlainConvUNet": PlainConvUNet,
    "ResidualEncoderUNet": ResidualEncoderUNet,
    "ResidualUNet": ResidualUNet,
}
"""The network classes that plans may name; no other code is ever looked up by name."""
NONLINEARITIES: Final[Mapping[str, type[nn.Module]]] = {"LeakyReLU": nn.LeakyReLU, "ReLU": nn.ReLU}
NORMS: Final[Mapping[str, type[nn.Module]]] = {"InstanceNorm3d": nn.InstanceNorm3d, "BatchNorm3d": nn.BatchNorm3d}


def make_nnunet(architecture: Mapping[str, Any], input_channels: int, classes: int) -> nn.Module:
    """One network.

    Parameters
    ----------
    architecture : mapping
        ``class`` (of :data:`CLASSES`), ``norm`` (of :data:`NORMS`), ``nonlin`` (of :data:`NONLINEARITIES`) and the arguments
        of the class that are plain values.
    input_channels, classes : int
        Channels in and out.

    Raises
    ------
    KeyError
        Where a name is not one of those.
    TypeError, ValueError
        Where the class does not take the arguments.
    """
    arguments = dict(architecture)
    network_class = CLASSES[arguments.pop("class")]
    norm, nonlin = NORMS[arguments.pop("norm")], NONLINEARITIES[arguments.pop("nonlin")]
    network: nn.Module = network_class(
        input_channels=input_channels,
        num_classes=classes,
        conv_op=nn.Conv3d,
        norm_op=norm,
        nonlin=nonlin,
        dropout_op=None,
        deep_supervision=False,
        **arguments,
    )
    for part in list(network.modules()):
        for name, child in part.named_children():
            if isinstance(child, nn.AvgPool3d):
                setattr(part, name, AveragePool(child.kernel_size, child.stride, child.padding))
    return network


class AveragePool(nn.AvgPool3d):
    """Average pooling in fp32, whatever its input: PyTorch has none in bf16 for CPUs."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Averages, in the number format of the features."""
        return super().forward(features.float()).to(features.dtype)


class NnunetFolds(nn.Module):
    """The networks of all folds, whose logits are averaged.

    Averaging the logits of a tile is the same as averaging those of whole images, for the window is the same for all.

    Parameters
    ----------
    architecture : mapping
        See :func:`make_nnunet`.
    input_channels, classes : int
        Channels in and out.
    folds : int
        How many networks.
    """

    def __init__(self, architecture: Mapping[str, Any], input_channels: int, classes: int, folds: int) -> None:
        super().__init__()
        self.input_channels = input_channels
        self.folds = nn.ModuleList(make_nnunet(architecture, input_channels, classes) for _ in range(folds))
        steps = [stride if isinstance(stride, (list, tuple)) else (stride,) * 3 for stride in architecture["strides"]]
        self.divisors: Triple = tuple(math.prod(int(step[axis]) for step in steps) for axis in range(3))  # type: ignore[assignment]
        # two voxels at the coarsest level: instance normalisation of a single one is undefined
        self.golden_shape: Triple = tuple(2 * n for n in self.divisors)  # type: ignore[assignment]

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        """Logits, shape (N, classes, X, Y, Z), of tiles of shape (N, input_channels, X, Y, Z)."""
        logits: torch.Tensor = self.folds[0](tiles)
        for network in list(self.folds)[1:]:
            logits = logits + network(tiles)
        return logits / len(self.folds)
