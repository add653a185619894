"""What the labeling network is shown of a vertebra, and what it says, as evidence."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import Box, FloatArray, Geometry, Matrix, Shape, extract, resample
from spineps.inference.protocols import LevelPredictor
from spineps.labeling.landmarks import Column
from spineps.labeling.sequence import INDEX, NAMES
from spineps.labels import BODY, lookup
from spineps.volume import LabelMap

LEVELS: Final = tuple(name for name in NAMES if name not in ("C1", "S1"))
"""Output classes of the network."""
REGION_WEIGHT: Final = 1.0
"""Power of what the network says of the region: ribs are seen at each vertebra anew, and no mask shows them."""
LEVEL_WEIGHT: Final = 0.2
"""Power of what it says of the level within its region: that follows sizes, which the masks' evidence knows already."""
LEAST_BODY: Final = 0.7
"""Share of the place of a body that is body: where less of it is shown, as beyond the edge of the field of view, the network
has seen nothing alike, and its opinion does not count."""
BODY_PLACE: Final[Shape] = (8, 6, 8)
"""Voxels (P, I, R) in the middle of a body: 16 x 12 x 16 mm, which the smallest fills."""
LEAST_LOG: Final = -6.0
"""No opinion on either counts for less."""
QUANTILES: Final = (0.005, 0.995)
"""Intensities are clipped to these quantiles before they are standardised, in training and inference alike."""

_IS_BODY: Final = lookup(BODY)


def standardised(image: FloatArray) -> FloatArray:
    """Clip an image to its quantiles and bring it to zero mean and unit variance."""
    sample = image.reshape(-1)[::7]
    low, high = np.quantile(sample, QUANTILES)
    clipped = np.clip(sample, low, high)
    out: FloatArray = ((np.clip(image, low, high) - clipped.mean()) / (clipped.std() + 1e-4)).astype(np.float32)
    return out


def boxes_around(centres_vox: Matrix, size: Shape) -> list[Box]:
    """Boxes of a size around (fractional) centres; they may reach beyond the grid."""
    starts = np.rint(centres_vox - (np.asarray(size) - 1) / 2).astype(int)
    return [Box((int(a), int(b), int(c)), (int(a) + size[0], int(b) + size[1], int(c) + size[2])) for a, b, c in starts]


def network_scores(network: LevelPredictor, image: FloatArray, semantic: LabelMap, column: Column) -> Matrix:
    """Log-likelihood of each name for each vertebra of a column, shape (n, len(NAMES)).

    Parameters
    ----------
    network : LevelPredictor
        The network.
    image : ndarray of float32, shape (P, I, R)
        Intensities in the grid of ``semantic``.
    semantic : LabelMap
        In PIR orientation.
    column : Column
        Its vertebrae.
    """
    source = semantic.geometry
    grid = source.resampled(network.spacing_mm)
    coarse = standardised(resample(image.astype(np.float32), source, grid, order=1))
    labels = resample(semantic.labels.astype(np.uint8), source, grid, order=0)
    centres = _in_grid(column.centres_mm, source, grid)
    shown = [_IS_BODY[extract(labels, box)].mean() >= LEAST_BODY for box in boxes_around(centres, BODY_PLACE)]
    boxes = boxes_around(centres + np.asarray(network.shift_mm) / np.asarray(grid.spacing_mm), network.patch_size)
    images = np.stack([extract(coarse, box) for box in boxes])
    cutouts: NDArray[np.uint8] = np.stack([extract(labels, box) for box in boxes])
    scores = np.full((len(boxes), len(NAMES)), LEAST_LOG)
    scores[:, [INDEX[name] for name in LEVELS]] = weighed(network(images, cutouts))
    scores[~np.array(shown)] = 0
    return scores


def weighed(opinions: FloatArray) -> Matrix:
    """Log-likelihoods from the network's log-probabilities of :data:`LEVELS`, shape (n, len(LEVELS)).

    Region and level within it are weighed apart: :data:`REGION_WEIGHT`, :data:`LEVEL_WEIGHT`.
    """
    regions = np.array([name[0] for name in LEVELS])
    scores = np.empty(opinions.shape)
    for region in np.unique(regions):
        own = opinions[:, regions == region]
        of_region = np.logaddexp.reduce(own, axis=1, keepdims=True)
        within = np.maximum(own - of_region, LEAST_LOG)
        scores[:, regions == region] = REGION_WEIGHT * np.maximum(of_region, LEAST_LOG) + LEVEL_WEIGHT * within
    return scores


def _in_grid(centres_mm: Matrix, source: Geometry, grid: Geometry) -> Matrix:
    """Centres in mm along the axes of ``source`` to voxels of ``grid``."""
    return grid.to_vox(source.to_mm(centres_mm / np.asarray(source.spacing_mm)))
