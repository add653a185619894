"""The sliding window: overlapping tiles, weighted, accumulated in fp32 a slab at a time.

Only the planes that tiles still reach are held, never all classes of the whole volume: tiles are run in the order of their
place along the image's longest axis, and what no later tile touches is handed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import Box, FloatArray, Shape
from spineps.inference.protocols import SemanticPredictor
from spineps.labels import left_right_table

SIGMA_SHARE = 0.22
"""Sigma of the Gaussian weight as a share of the tile (measured on the prototype; nnU-Net uses 0.125)."""
WEIGHT_FLOOR = 0.02
"""Least weight of a voxel, so that the volume's rim, seen by one tile alone, is not divided by nothing."""

Progress = Callable[[int, int], None]
Place = tuple[slice, slice, slice]
Needed = Callable[[Box], bool]
"""Tells whether anybody reads what the network says of a part of the image."""


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """How an image is divided.

    Parameters
    ----------
    starts : tuple of 3 sequences of int
        First voxels of the tiles along each axis, rising; together they cover the image.
    weight : ndarray of float32
        Of each voxel of a tile; its shape is the tile's.
    """

    starts: tuple[Sequence[int], Sequence[int], Sequence[int]]
    weight: FloatArray

    def __len__(self) -> int:
        return int(np.prod([len(along) for along in self.starts]))


@dataclass(frozen=True, slots=True, eq=False)
class Slab:
    """Scores, shape (C, *box.shape), of a part of an image, and where it lies."""

    scores: FloatArray
    box: Box


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


def probability_slabs(
    image: FloatArray,
    predictor: SemanticPredictor,
    *,
    step_share: float,
    mirror: bool,
    progress: Progress | None = None,
    needed: Needed | None = None,
) -> Iterator[Slab]:
    """Class probabilities of a whole image, in slabs that follow one another along its longest axis.

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
    needed : callable, optional
        The network is not run on tiles that are not needed: they are background. No other voxel changes by that.

    Yields
    ------
    Slab
        Classes in the order of ``predictor.labels``; each voxel sums to one over them.
    """
    tile = predictor.patch_size
    padded = _pad(image, tile)
    a, b, c = (tile_starts(n, t, step_share) for n, t in zip(padded.shape, tile, strict=True))
    swapped = _mirrored_channels(predictor.labels) if mirror else None

    background: FloatArray = np.zeros((len(predictor.labels), *tile), np.float32)
    background[0] = 1

    def scores_at(here: Place) -> FloatArray:
        if needed is not None and not needed(Box.of(here)):
            return background
        part = padded[here]
        scores: FloatArray = predictor(part[None])[0]
        if swapped is None:
            return scores
        flipped: FloatArray = predictor(part[None, :, :, ::-1])[0]
        return 0.5 * (scores + flipped[swapped][..., ::-1])

    whole = Box.whole((image.shape[0], image.shape[1], image.shape[2]))
    for slab in accumulate(padded.shape, Tiles((a, b, c), gaussian_weight(tile)), scores_at, progress):
        box = slab.box.intersect(whole)
        p, i, r = (slice(0, n) for n in box.shape)
        if not box.empty:
            yield Slab(slab.scores[:, p, i, r], box)


def accumulate(
    shape: Sequence[int], tiles: Tiles, scores_at: Callable[[Place], FloatArray], progress: Progress | None = None
) -> Iterator[Slab]:
    """Weighted mean of what a network says of overlapping tiles.

    The order in which tiles are added to a voxel, and with it every bit of the sum, depends on the image's shape alone.

    Parameters
    ----------
    shape : sequence of 3 int
        Of the image; at least that of a tile.
    tiles : Tiles
        How it is divided.
    scores_at : callable
        The place of a tile to its scores, shape (C, x, y, z).
    progress : callable, optional
        Called with the number of tiles done and of all tiles.
    """
    axis = int(np.argmax(shape))
    size = tiles.weight.shape
    across = [along if k != axis else (0,) for k, along in enumerate(tiles.starts)]
    total: FloatArray = np.zeros((0, 0, 0, 0), np.float32)
    weights: FloatArray = np.zeros(_with(shape, axis, size[axis]), np.float32)
    done = 0
    for start, following in pairwise([*tiles.starts[axis], shape[axis]]):
        for corner in product(*across):
            x, y, z = here = tuple(slice(s, s + n) for s, n in zip(corner, size, strict=True))
            scores = scores_at(_with(here, axis, slice(start, start + size[axis])))
            if not total.size:
                total = np.zeros((len(scores), *weights.shape), np.float32)
            total[:, x, y, z] += scores * tiles.weight
            weights[x, y, z] += tiles.weight
            done += 1
            if progress is not None:
                progress(done, len(tiles))
        x, y, z = _along(axis, slice(0, following - start))
        mean: FloatArray = total[:, x, y, z] / weights[x, y, z]
        yield Slab(mean, Box(_with((0, 0, 0), axis, start), _with(shape, axis, following)))
        _advance(total, axis + 1, following - start)
        _advance(weights, axis, following - start)


def _advance(array: FloatArray, axis: int, planes: int) -> None:
    """Move what is still needed to the front of a buffer, zeros behind it."""
    moved = np.moveaxis(array, axis, 0)
    kept = len(moved) - planes
    for plane in range(kept):  # plane by plane, for source and target overlap
        moved[plane] = moved[plane + planes]
    moved[kept:] = 0


def _along(axis: int, part: slice) -> tuple[slice, slice, slice]:
    a, b, c = (part if k == axis else slice(None) for k in range(3))
    return a, b, c


def _with(values: Sequence, axis: int, value: object) -> tuple:  # type: ignore[type-arg]
    """The three values with that of one axis replaced."""
    return tuple(value if k == axis else old for k, old in enumerate(values))


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
