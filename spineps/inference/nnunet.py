"""Inference as nnU-Net v2 does it, exactly: normalisation, tiles, the quantised window, mirroring, resampling of the scores.

Arrays here are those of nnU-Net: the axes of the image in reverse order, then transposed as the plans say. The order of
operations, and the rounding to fp16 where the published predictor rounds, are kept, for a label map follows from them; only the
sums are kept in fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import softmax

from spineps.geometry import Box, FloatArray, Shape
from spineps.zoo.elsewhere import Channel, NnunetModel, Triple

Network = Callable[[FloatArray], FloatArray]
"""One tile, shape (X, Y, Z), to its logits, shape (C, X, Y, Z), both fp32."""
Progress = Callable[[int, int], None]

SIGMA_SHARE: Final = 1 / 8
"""Sigma of the window as a share of the tile."""
WINDOW_PEAK: Final = 1000
_LEAST_DEVIATION: Final = 1e-8
_SIDE_BY_SIDE: Final = np.float16
"""The published predictor hands images over, and keeps them, in this type."""


@dataclass(frozen=True, slots=True)
class Window:
    """How tiles are laid and what is told of them.

    Parameters
    ----------
    step : float
        Step between tiles as a share of a tile.
    mirror : bool
        Average over mirrored tiles, along the axes that the model allows.
    progress : callable or None
        Told the number of tiles done and of all tiles.
    """

    step: float
    mirror: bool
    progress: Progress | None = None


def scores_of(image: FloatArray, network: Network, model: NnunetModel, window: Window, *, spacing: Triple) -> Scores | None:
    """Logits of an image, inside the box of what is not background.

    Parameters
    ----------
    image : ndarray of float32, 3D
        In the axes of the network's arrays.
    network : callable
        Runs one tile.
    model : NnunetModel
        Normalisation, tile and spacing.
    window : Window
        How tiles are laid.
    spacing : tuple of 3 float
        Of the image, in mm along its axes; where it is not the model's, image and logits are resampled.

    Returns
    -------
    Scores or None
        None for an image of zeros.
    """
    rounded = image.astype(_SIDE_BY_SIDE)
    filled = ndimage.binary_fill_holes(rounded != 0)
    box = Box.around(filled)
    if box is None:
        return None
    data = normalised(rounded[box.slices], filled[box.slices], model.channel).astype(_SIDE_BY_SIDE)
    shape = model_shape(data.shape, spacing, model.spacing)
    scaled = _scaled(data[None], shape, spacing, model.spacing, image=True)[0]
    logits = sliding_scores(scaled, network, model, window)
    return Scores(_scaled(logits, data.shape, model.spacing, spacing, image=False), box)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Logits, shape (C, X, Y, Z), of a part of an image, and where it lies."""

    logits: FloatArray
    box: Box

    def channels(self, shape: Shape, *, regions: bool) -> NDArray[np.intp]:
        """Most probable channel of each voxel of the image; of regions, the last that it is in, counted from 1."""
        found = np.zeros(shape, np.intp)
        found[self.box.slices] = _last_region(self.logits) if regions else self.logits.argmax(axis=0)
        return found

    def probabilities(self, shape: Shape, *, regions: bool) -> FloatArray:
        """Probability of each channel, shape (C, *shape); outside of the part all is background."""
        inside = 1 / (1 + np.exp(-self.logits)) if regions else softmax(self.logits, axis=0)
        found = np.zeros((len(self.logits), *shape), np.float32)
        found[0] = 0 if regions else 1
        p, i, r = self.box.slices
        found[:, p, i, r] = inside
        return found


def normalised(image: NDArray[np.float16], inside: NDArray[np.bool_], channel: Channel) -> FloatArray:
    """Intensities as the networks were trained on.

    Parameters
    ----------
    image : ndarray of float16
        Cropped image.
    inside : ndarray of bool
        The image without the background around it.
    channel : Channel
        Scheme and intensities of the training images.
    """
    values: FloatArray = image.astype(np.float32)
    if channel.scheme == "CTNormalization":
        np.clip(values, channel.low, channel.high, out=values)
        values -= channel.mean
        values /= max(channel.std, _LEAST_DEVIATION)
    elif channel.scheme == "RescaleTo01Normalization":
        values -= values.min()
        values /= np.clip(values.max(), a_min=_LEAST_DEVIATION, a_max=None)
    elif channel.scheme == "ZScoreNormalization" and channel.inside_mask:
        seen = values[inside]
        values[inside] = (seen - seen.mean()) / max(float(seen.std()), _LEAST_DEVIATION)
    elif channel.scheme == "ZScoreNormalization":
        mean, deviation = values.mean(), values.std()
        values -= mean
        values /= max(deviation, _LEAST_DEVIATION)
    return values


def sliding_scores(image: NDArray[Any], network: Network, model: NnunetModel, window: Window) -> FloatArray:
    """Logits of a whole image, shape (C, X, Y, Z), averaged over overlapping tiles and their mirror images.

    Parameters
    ----------
    image : ndarray of float16 or float32, shape (X, Y, Z)
        Normalised, at the model's spacing.
    """
    padded, within = _padded(image.astype(np.float32), model.patch)
    weight = gaussian_window(model.patch).astype(np.float32)
    axes = model.mirror_axes if window.mirror else ()
    tiles = list(_tiles(padded.shape, model.patch, window.step))
    total: FloatArray | None = None
    weights = np.zeros(padded.shape, np.float32)
    for done, tile in enumerate(tiles, start=1):
        scores = mirrored(padded[tile], network, axes)
        if total is None:
            total = np.zeros((scores.shape[0], *padded.shape), np.float32)
        total[:, tile[0], tile[1], tile[2]] += scores * weight
        weights[tile] += weight
        if window.progress is not None:
            window.progress(done, len(tiles))
    if total is None:
        raise ValueError("an image without tiles")
    total /= weights
    return total[:, within[0], within[1], within[2]]


@lru_cache(maxsize=4)
def gaussian_window(patch: Shape) -> NDArray[np.float16]:
    """Weight of each voxel of a tile, quantised as the published predictor quantises it.

    The filtered unit impulse is rounded to fp16 before it is scaled, so that everything below some hundredth of its peak is
    the same constant; a window that is scaled first has another floor, and other labels where tiles meet.
    """
    impulse = np.zeros(patch)
    impulse[tuple(n // 2 for n in patch)] = 1
    smooth = ndimage.gaussian_filter(impulse, [n * SIGMA_SHARE for n in patch], 0, mode="constant", cval=0)
    coarse = smooth.astype(np.float32).astype(np.float16)
    window: NDArray[np.float16] = (coarse / coarse.max()) * np.float16(WINDOW_PEAK)
    window[window == 0] = window[window != 0].min()
    window.setflags(write=False)
    return window


def tile_starts(length: int, tile: int, step: float) -> list[int]:
    """First voxels of tiles along an axis: as few as a step of at most ``step`` of a tile allows, evenly spread."""
    count = int(np.ceil((length - tile) / (tile * step))) + 1
    if count < 2:
        return [0]
    stride = (length - tile) / (count - 1)
    return [int(np.round(stride * k)) for k in range(count)]


def model_shape(shape: Sequence[int], spacing: Triple, target: Triple) -> Shape:
    """Voxels of an image at another spacing."""
    a, b, c = (round(old / new * n) for old, new, n in zip(spacing, target, shape, strict=True))
    return a, b, c


def _tiles(shape: Sequence[int], patch: Shape, step: float) -> Iterator[tuple[slice, slice, slice]]:
    for x, y, z in product(*(tile_starts(n, tile, step) for n, tile in zip(shape, patch, strict=True))):
        yield slice(x, x + patch[0]), slice(y, y + patch[1]), slice(z, z + patch[2])


def _padded(image: FloatArray, patch: Shape) -> tuple[FloatArray, tuple[slice, ...]]:
    """Zeros on both sides of axes shorter than a tile, and where the image then lies."""
    missing = [max(0, tile - n) for n, tile in zip(image.shape, patch, strict=True)]
    before = [n // 2 for n in missing]
    padded = np.pad(image, [(low, n - low) for low, n in zip(before, missing, strict=True)])
    return padded, tuple(slice(low, low + n) for low, n in zip(before, image.shape, strict=True))


def mirrored(tile: FloatArray, network: Network, axes: Sequence[int]) -> FloatArray:
    """Mean of the logits of a tile and of all its mirror images along ``axes``."""
    flips = [flip for count in range(len(axes) + 1) for flip in combinations(axes, count)]
    total: FloatArray | None = None
    for flip in flips:
        scores = network(np.ascontiguousarray(np.flip(tile, flip)))
        straight = np.flip(scores, [axis + 1 for axis in flip])
        total = straight.copy() if total is None else total + straight
    if total is None:
        raise ValueError("no tile")
    total /= len(flips)
    return total


def _scaled(data: NDArray[Any], shape: Sequence[int], old: Triple, new: Triple, *, image: bool) -> NDArray[Any]:
    """Channels of another shape, by nnU-Net's own default: third order for images, first for scores."""
    if tuple(data.shape[1:]) == tuple(shape):
        return data
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

    order = 3 if image else 1
    scaled: NDArray[Any] = resample_data_or_seg_to_shape(
        data, tuple(shape), old, new, is_seg=False, order=order, order_z=0, force_separate_z=None
    )
    return scaled


def _last_region(scores: FloatArray) -> NDArray[np.intp]:
    """Of overlapping regions the last that a voxel is in, counted from 1; 0 in none."""
    found = np.zeros(scores.shape[1:], np.intp)
    for number, score in enumerate(scores, start=1):
        found[score > 0] = number
    return found
