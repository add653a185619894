"""The sliding window: overlapping tiles, weighted with a Gaussian, accumulated in fp32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import FloatArray, Shape
from spineps.inference.protocols import SemanticPredictor
from spineps.labels import left_right_table

SIGMA_SHARE = 0.22
"""Sigma of the Gaussian weight as a share of the tile (measured on the prototype; nnU-Net uses 0.125)."""
WEIGHT_FLOOR = 0.02
"""Least weight of a voxel, so that the volume's rim, seen by one tile alone, is not divided by nothing."""

Progress = Callable[[int, int], None]


def tile_starts(length: int, tile: int, step_share: float) -> list[int]:
    """First voxels of evenly spread tiles that cover an axis with a step of at most ``step_share`` of a tile."""
    if length <= tile:
        return [0]
    count = int(np.ceil((length - tile) / (tile * step_share))) + 1
    return [round(s) for s in np.linspace(0, length - tile, count)]


def gaussian_weight(tile: Shape) -> FloatArray:
    """Weight of each voxel of a tile, 1 at its centre, shape ``tile``."""
    axes = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n * SIGMA_SHARE)) ** 2) for n in tile]
    weight: FloatArray = (axes[0][:, None, None] * axes[1][:, None] * axes[2]).astype(np.float32)
    return np.maximum(weight, WEIGHT_FLOOR)


def probabilities(
    image: FloatArray, predictor: SemanticPredictor, *, step_share: float, mirror: bool, progress: Progress | None = None
) -> FloatArray:
    """Class probabilities of a whole image.

    Parameters
    ----------
    image : ndarray of float32, shape (P, I, R)
        Normalised, at the predictor's spacing.
    predictor : SemanticPredictor
        Runs the tiles.
    step_share : float
        Step between tiles as a share of a tile, in (0, 1].
    mirror : bool
        Average with the prediction of the left-right mirrored tile, left and right structures swapped.
    progress : callable, optional
        Called with the number of tiles done and of all tiles.

    Returns
    -------
    ndarray of float32, shape (C, P, I, R)
        In the order of ``predictor.labels``; sums to one over the classes.
    """
    tile = predictor.patch_size
    padded = _pad(image, tile)
    weight = gaussian_weight(tile)
    total = np.zeros((len(predictor.labels), *padded.shape), np.float32)
    weights = np.zeros(padded.shape, np.float32)
    windows = list(_windows(padded.shape, tile, step_share))
    for done, window in enumerate(windows, start=1):
        scores = predictor(padded[window][None])[0]
        if mirror:
            flipped = predictor(padded[window][None, :, :, ::-1])[0]
            scores = 0.5 * (scores + flipped[_mirrored_channels(predictor.labels)][..., ::-1])
        total[:, window[0], window[1], window[2]] += scores * weight
        weights[window] += weight
        if progress is not None:
            progress(done, len(windows))
    total /= weights
    p, i, r = image.shape
    return total[:, :p, :i, :r]


def _windows(shape: tuple[int, ...], tile: Shape, step_share: float) -> Iterator[tuple[slice, slice, slice]]:
    starts = [tile_starts(n, t, step_share) for n, t in zip(shape, tile, strict=True)]
    for p, i, r in product(*starts):
        yield slice(p, p + tile[0]), slice(i, i + tile[1]), slice(r, r + tile[2])


def _pad(image: FloatArray, tile: Shape) -> FloatArray:
    """Repeat the last planes of axes that are shorter than a tile."""
    missing = [(0, max(0, t - n)) for n, t in zip(image.shape, tile, strict=True)]
    return np.pad(image, missing, mode="edge") if any(after for _, after in missing) else image


def _mirrored_channels(labels: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Channel of a mirrored prediction that each channel of the straight one corresponds to."""
    swapped = left_right_table()[labels]
    order = np.argsort(labels)
    found: NDArray[np.intp] = order[np.searchsorted(labels, swapped, sorter=order)]
    return found
