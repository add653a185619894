"""Inference as nnU-Net v2 does it, exactly: normalisation, tiles, the quantised window, mirroring, resampling of the scores.

Arrays here are those of nnU-Net: the axes of the image in reverse order, then transposed as the plans say. The order of
operations, and the rounding to fp16 where the published predictor rounds, are kept, for a label map follows from them; only the
sums are kept in fp32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import softmax

from spineps.geometry import Box, FloatArray, Shape
from spineps.inference.sliding import Progress, Slab, Tiles, accumulate
from spineps.zoo.elsewhere import Channel, NnunetModel, Triple

Network = Callable[[FloatArray], FloatArray]
"""One tile, shape (X, Y, Z), to its logits, shape (C, X, Y, Z), both fp32."""

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


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a network says of an image.

    Parameters
    ----------
    channels : ndarray of uint8
        Most probable channel of each voxel; of regions, the last that it is in, counted from 1.
    probabilities : ndarray of float32 or None
        Of each channel, shape (C, *image.shape), where they were asked for; outside of what was seen all is background.
    """

    channels: NDArray[np.uint8]
    probabilities: FloatArray | None = None


def answer(
    image: FloatArray, network: Network, model: NnunetModel, window: Window, *, spacing: Triple, probabilities: bool = False
) -> Answer | None:
    """What a network says of an image, inside the box of what is not background.

    Where the image has the model's spacing, a slab at a time is in memory; else all logits at the model's spacing, and one
    class of them at that of the image.

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
    probabilities : bool
        Keep them.

    Returns
    -------
    Answer or None
        None for an image of zeros.
    """
    rounded = image.astype(_SIDE_BY_SIDE)
    filled = ndimage.binary_fill_holes(rounded != 0)
    box = Box.around(filled)
    if box is None:
        return None
    data = normalised(rounded[box.slices], filled[box.slices], model.channel).astype(_SIDE_BY_SIDE)
    shape = model_shape(data.shape, spacing, model.spacing)
    slabs = logit_slabs(_scaled(data[None], shape, spacing, model.spacing, image=True)[0], network, model, window)
    found = np.zeros(image.shape, np.uint8)
    if shape == data.shape and not probabilities:
        inner = found[box.slices]
        for slab in slabs:
            inner[slab.box.slices] = _winner(slab.scores, regions=model.regions)
        return Answer(found)
    logits = _put_together(slabs, shape)
    channels = (_scaled(channel[None], data.shape, model.spacing, spacing, image=False)[0] for channel in logits)
    if not probabilities:
        found[box.slices] = _winner(channels, regions=model.regions)
        return Answer(found)
    whole = np.stack(list(channels))
    found[box.slices] = _winner(whole, regions=model.regions)
    return Answer(found, _probabilities(whole, box, image.shape, regions=model.regions))


def _put_together(slabs: Iterable[Slab], shape: Shape) -> FloatArray:
    whole: FloatArray = np.zeros((0, 0, 0, 0), np.float32)
    for slab in slabs:
        if not whole.size:
            whole = np.zeros((len(slab.scores), *shape), np.float32)
        x, y, z = slab.box.slices
        whole[:, x, y, z] = slab.scores
    return whole


def _probabilities(logits: FloatArray, box: Box, shape: Sequence[int], *, regions: bool) -> FloatArray:
    inside = 1 / (1 + np.exp(-logits)) if regions else softmax(logits, axis=0)
    found: FloatArray = np.zeros((len(logits), *shape), np.float32)
    found[0] = 0 if regions else 1
    x, y, z = box.slices
    found[:, x, y, z] = inside
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


def logit_slabs(image: NDArray[Any], network: Network, model: NnunetModel, window: Window) -> Iterator[Slab]:
    """Logits of a whole image, averaged over overlapping tiles and their mirror images, a slab at a time.

    Parameters
    ----------
    image : ndarray of float16 or float32, shape (X, Y, Z)
        Normalised, at the model's spacing.
    """
    padded, inside = _padded(image.astype(np.float32), model.patch)
    x, y, z = (tile_starts(n, tile, window.step) for n, tile in zip(padded.shape, model.patch, strict=True))
    tiles = Tiles((x, y, z), gaussian_window(model.patch).astype(np.float32))
    axes = model.mirror_axes if window.mirror else ()
    for slab in accumulate(padded.shape, tiles, lambda here: mirrored(padded[here], network, axes), window.progress):
        part = slab.box.intersect(inside)
        if not part.empty:
            a, b, c = part.shifted([-n for n in slab.box.start]).slices
            yield Slab(slab.scores[:, a, b, c], part.shifted([-n for n in inside.start]))


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


def _padded(image: FloatArray, patch: Shape) -> tuple[FloatArray, Box]:
    """Zeros on both sides of axes shorter than a tile, and where the image then lies."""
    missing = [max(0, tile - n) for n, tile in zip(image.shape, patch, strict=True)]
    before = [n // 2 for n in missing]
    padded = np.pad(image, [(low, n - low) for low, n in zip(before, missing, strict=True)])
    return padded, Box.whole((image.shape[0], image.shape[1], image.shape[2])).shifted(before)


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


def _winner(channels: Iterable[FloatArray], *, regions: bool) -> NDArray[np.uint8]:
    """The first of the largest logits of each voxel; of overlapping regions the last that it is in, counted from 1."""
    best: FloatArray = np.zeros(0, np.float32)
    found: NDArray[np.uint8] = np.zeros(0, np.uint8)
    for number, score in enumerate(channels):
        if number == 0:
            best, found = np.array(score), np.zeros(score.shape, np.uint8)
        if regions:
            found[score > 0] = number + 1
        else:
            better = score > best
            best[better], found[better] = score[better], number
    return found
