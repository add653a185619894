"""The fixed input that proves that weights, network code and libraries still give what they gave when exported."""

from __future__ import annotations

import torch
from torch import nn

from spineps.zoo.card import Golden

GOLDEN_SHAPE = (32, 32, 16)


def probe(channels: int, shape: tuple[int, int, int] = GOLDEN_SHAPE) -> torch.Tensor:
    """Waves of a different period in each channel, shape (1, channels, P, I, R); the same on every machine."""
    p, i, r = (torch.arange(n, dtype=torch.float32) for n in shape)
    waves = [
        torch.sin(p * 0.31 * (c + 1))[:, None, None] + torch.cos(i * 0.23 * (c + 1))[:, None] * torch.sin(r * 0.4 + c)
        for c in range(channels)
    ]
    return torch.stack(waves)[None]


@torch.no_grad()
def channel_means(network: nn.Module, channels: int, shape: tuple[int, int, int] = GOLDEN_SHAPE) -> tuple[float, ...]:
    """Mean of each output channel for the probe, in fp32."""
    logits: torch.Tensor = network(probe(channels, shape))
    means = logits.reshape(*logits.shape[:2], -1).mean(dim=(0, 2))
    return tuple(round(float(v), 6) for v in means)


def make_golden(network: nn.Module, channels: int, shape: tuple[int, int, int] = GOLDEN_SHAPE) -> Golden:
    """Golden vector of a network in fp32."""
    return Golden(shape=shape, logits=channel_means(network, channels, shape))


def holds(network: nn.Module, channels: int, golden: Golden) -> bool:
    """Tell whether a network (in fp32) still gives its golden vector."""
    found = channel_means(network, channels, golden.shape)
    return len(found) == len(golden.logits) and all(
        abs(a - b) <= golden.tolerance * max(1.0, abs(b)) for a, b in zip(found, golden.logits, strict=True)
    )
