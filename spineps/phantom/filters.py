"""Random fields and filters on voxel grids in torch: the building blocks of a phantom's appearance.

All randomness comes from a numpy ``Generator``; torch's global random state is neither read nor changed. Arrays are 3D float32
tensors with axes (P, I, R).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_NEGLIGIBLE_SIGMA_VOX = 0.15


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread, so that sums come out bit-equal however many cores a machine has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def white_noise(rng: np.random.Generator, shape: Sequence[int]) -> Tensor:
    """Independent standard normal values of a given shape."""
    return torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32))


def smooth_field(rng: np.random.Generator, shape: Sequence[int], cell_vox: Sequence[float]) -> Tensor:
    """Random field whose standard normal nodes lie ``cell_vox`` voxels apart, with linear interpolation between them."""
    nodes = [max(2, math.ceil(n / c) + 1) for n, c in zip(shape, cell_vox, strict=True)]
    return resize(white_noise(rng, nodes), shape, align_corners=True)


def resize(volume: Tensor, shape: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """Linear interpolation to another shape over the same field of view."""
    if tuple(volume.shape) == tuple(shape):
        return volume
    return functional.interpolate(volume[None, None], size=tuple(shape), mode="trilinear", align_corners=align_corners)[0, 0]


def gaussian_weights(sigma_vox: float) -> list[float]:
    """Normalised weights of a Gaussian at whole voxels, cut off at 2.5 sigma."""
    radius = max(1, int(2.5 * sigma_vox + 0.5))
    weights = [math.exp(-0.5 * (k / sigma_vox) ** 2) for k in range(-radius, radius + 1)]
    total = sum(weights)
    return [w / total for w in weights]


def box_weights(width_vox: float) -> list[float]:
    """Normalised weights of a box of (fractional) width around a voxel: an ideal slice profile."""
    radius = max(0, math.ceil((width_vox - 1) / 2))
    weights = [max(0.0, min(k + 0.5, width_vox / 2) - max(k - 0.5, -width_vox / 2)) for k in range(-radius, radius + 1)]
    total = sum(weights)
    return [w / total for w in weights]


def correlate(volume: Tensor, weights: Sequence[float], axis: int) -> Tensor:
    """Weighted sum of neighbours along one axis; edge values are repeated beyond the edge. Weights are odd in number."""
    radius = len(weights) // 2
    if radius == 0:
        return volume
    length = volume.shape[axis]
    first, last = volume.narrow(axis, 0, 1), volume.narrow(axis, length - 1, 1)
    repeat = [1, 1, 1]
    repeat[axis] = radius
    padded = torch.cat([first.repeat(repeat), volume, last.repeat(repeat)], dim=axis)
    out = padded.narrow(axis, 0, length) * weights[0]
    for k, weight in enumerate(weights[1:], start=1):
        out.add_(padded.narrow(axis, k, length), alpha=weight)
    return out


def blur(volume: Tensor, sigma_vox: Sequence[float]) -> Tensor:
    """Gaussian blur with a sigma for each axis; sigmas too small to matter are skipped."""
    for axis, sigma in enumerate(sigma_vox):
        if sigma >= _NEGLIGIBLE_SIGMA_VOX:
            volume = correlate(volume, gaussian_weights(sigma), axis)
    return volume


def quantile(volume: Tensor, q: float, *, most: int = 20_000) -> float:
    """Quantile of at most about ``most`` evenly strided values."""
    flat = volume.reshape(-1)
    return float(torch.quantile(flat[:: max(1, flat.numel() // most)], q))
