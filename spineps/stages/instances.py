"""The instance phase: from a semantic mask in the scan's grid to raw vertebra instances in the same grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.config import InstanceConfig, Step
from spineps.errors import Finding
from spineps.geometry import Box, Geometry, resample
from spineps.inference.protocols import InstancePredictor, SpacedInstancePredictor
from spineps.stages.components import around
from spineps.stages.corpora import Corpus, find_corpora
from spineps.stages.cutouts import Progress, instance_grid, predict_cutouts
from spineps.stages.merge import merge_votes
from spineps.stages.recover import with_every_corpus
from spineps.volume import LabelMap

MARGIN_MM: Final = 3.75
"""Empty margin around the labelled voxels at the network's spacing (published SPINEPS)."""


@dataclass(frozen=True, slots=True, eq=False)
class RawInstances:
    """Vertebrae before post-processing.

    Parameters
    ----------
    labels : ndarray of uint8
        Vertebrae 1 to n in no particular order, in the grid of the semantic mask.
    agreement : Mapping of int to float
        For each vertebra the mean Dice between the predictions that it was merged from.
    corpora : tuple of Corpus
        The bodies, from top to bottom, in the grid of the network (cropped).
    findings : tuple of Finding
        Of the search for bodies.
    """

    labels: NDArray[np.uint8]
    agreement: Mapping[int, float]
    corpora: tuple[Corpus, ...]
    findings: tuple[Finding, ...] = ()


def find_instances(
    semantic: LabelMap,
    predictor: InstancePredictor,
    config: InstanceConfig | None = None,
    *,
    progress: Progress | None = None,
) -> RawInstances:
    """Tell the vertebrae of a semantic mask apart (SPINEPS paper, section 2.3).

    Parameters
    ----------
    semantic : LabelMap
        In PIR orientation.
    predictor : InstancePredictor
        The network; the mask is sampled at its spacing, the result sampled back.
    """
    config = config or InstanceConfig()
    if isinstance(predictor, SpacedInstancePredictor):
        predictor = predictor.adapted(semantic.geometry.spacing_mm)
    labels = np.zeros(semantic.geometry.shape, np.uint8)
    box = Box.around(semantic.labels > 0)
    if box is None:
        return RawInstances(labels, {}, ())
    margin = max(MARGIN_MM, 2 * max(predictor.spacing_mm))
    region = around(box, margin, semantic.geometry.spacing_mm, labels.shape)
    there = semantic.geometry.cropped(region)
    grid = _grid_over(there, semantic.geometry, predictor)
    classes = resample(semantic.labels[region.slices].astype(np.uint8), there, grid, order=0)
    corpora, findings = find_corpora(
        classes,
        grid.spacing_mm,
        split_merged=config.split_merged,
        erode=Step.BODY_EROSION not in config.without,
        cuts_are_final=not predictor.parts_fused,
    )
    if not corpora:
        return RawInstances(labels, {}, (), findings)
    votes = predict_cutouts(classes, corpora, predictor, batch_size=config.batch_size, progress=progress)
    merged = merge_votes(votes, grid.shape, grid.spacing_mm, without=config.without)
    if merged.agreement:
        merged = with_every_corpus(merged, corpora, votes, grid.spacing_mm)
    labels[region.slices] = resample(merged.labels, grid, there, order=0)
    return RawInstances(labels, merged.agreement, corpora, findings)


def _grid_over(part: Geometry, full: Geometry, predictor: InstancePredictor) -> Geometry:
    """The part of the network's grid over ``full`` that lies within ``part``."""
    whole = instance_grid(full, predictor.spacing_mm)
    corners = whole.to_vox(part.to_mm([(0, 0, 0), np.asarray(part.shape) - 1]))
    low = np.maximum(0, np.floor(corners[0] + 1e-6)).astype(int)
    high = np.minimum(whole.shape, np.ceil(corners[1] - 1e-6).astype(int) + 1)
    a, b, c = (int(v) for v in low)
    d, e, f = (int(max(lo + 1, v)) for lo, v in zip(low, high, strict=True))
    return whole.cropped(Box((a, b, c), (d, e, f)))
