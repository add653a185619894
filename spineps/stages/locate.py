"""Where the spine lies in a wide field of view: the network looks once at half its resolution, then only there."""

from __future__ import annotations

from typing import Final

import numpy as np

from spineps.geometry import Box, FloatArray, Geometry, resample
from spineps.inference.protocols import SemanticPredictor
from spineps.inference.sliding import probability_slabs
from spineps.labels import Scheme
from spineps.stages.clean import clean_semantic
from spineps.volume import LabelMap

WIDE_MM: Final = 220.0
"""A field of view that is narrower from front to back is seen whole: a spine with its margins fills most of it."""
COARSER: Final = 2
"""Voxels of the network's grid along each axis that are one in the first look."""
MARGIN_MM: Final = 50.0
"""What is seen in front of and behind the spine of the first look, whose outline may be wrong by 30 mm."""
LEAST_ML: Final = 10.0
"""Less than this (a vertebral body) in the first look is no spine."""
FACE_MM: Final = 10.0
"""A spine that comes this near to where the view was cut may go on beyond."""
WORTH: Final = 0.85
"""A part that is a larger share of the field than this spares too little."""


def spine_part(image: FloatArray, grid: Geometry, predictor: SemanticPredictor) -> Box:
    """Part of the field of view, cut from front to back, that holds the spine with a margin; the whole where in doubt.

    Parameters
    ----------
    image : ndarray of float32, shape (P, I, R)
        Normalised.
    grid : Geometry
        Of ``image``, at the predictor's spacing.
    predictor : SemanticPredictor
        The network that is to see the part. It looks at the whole at half its resolution, as trainings begin.
    """
    whole = Box.whole(grid.shape)
    step_mm = grid.spacing_mm[0]
    if grid.shape[0] * step_mm < WIDE_MM:
        return whole
    coarse = grid.resampled([COARSER * s for s in grid.spacing_mm])
    labels = np.zeros(coarse.shape, np.uint8)
    seen = resample(image, grid, coarse, order=1)
    for slab in probability_slabs(seen, predictor, step_share=predictor.step_share, mirror=False):
        labels[slab.box.slices] = predictor.labels[slab.scores.argmax(axis=0)]
    spine = clean_semantic(LabelMap(labels, coarse, Scheme.SEMANTIC), fill=False)[0].labels > 0
    box = Box.around(spine)
    if box is None or np.count_nonzero(spine) * coarse.voxel_volume_mm3 < LEAST_ML * 1000:
        return whole
    scale = coarse.spacing_mm[0] / step_mm
    first = max(0, int(box.start[0] * scale - MARGIN_MM / step_mm))
    last = min(grid.shape[0], int(np.ceil(box.stop[0] * scale + MARGIN_MM / step_mm)))
    return whole if last - first > WORTH * grid.shape[0] else Box((first, 0, 0), (last, *grid.shape[1:]))


def goes_on(labels: LabelMap, part: Box, grid: Geometry) -> bool:
    """Whether the spine of a mask comes near to where the view was cut, so that the whole must be seen."""
    return _near_a_cut(labels, part, grid) and _near_a_cut(clean_semantic(labels, fill=False)[0], part, grid)


def _near_a_cut(labels: LabelMap, part: Box, grid: Geometry) -> bool:
    places = 2.0 * np.argwhere(labels.labels[::2, ::2, ::2])
    if len(places) == 0:
        return True  # a part that shows nothing was the wrong one
    along = grid.to_vox(labels.geometry.to_mm(places))[:, 0]
    reach = FACE_MM / grid.spacing_mm[0]
    in_front = part.start[0] > 0 and along.min() < part.start[0] + reach
    behind = part.stop[0] < grid.shape[0] and along.max() > part.stop[0] - reach
    return bool(in_front or behind)
