"""What a run gives beside its masks: probabilities, an image of uncertainty, the mask on the network's own grid.

The uncertainty of a voxel is the entropy of its calibrated class probabilities as a share of the greatest possible one.
Networks are not as sure as they are right; dividing their logits by one temperature, found on labelled data that they were not
trained on, mends most of it (Guo et al. 2017, On Calibration of Modern Neural Networks, ICML). On probabilities p that is
p^(1/T), scaled to sum to one. The temperature stands in the model's card; ``bench/calibration.py`` finds it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spineps.config import ExtraConfig
from spineps.geometry import PIR, FloatArray, Geometry, Reorientation
from spineps.inference.protocols import ScanPredictor, SemanticPredictor
from spineps.inference.sliding import Slab
from spineps.labels import Scheme, Structure
from spineps.stages.confidence import certainty_map
from spineps.stages.preprocess import Prepared
from spineps.volume import Extras, LabelMap, Scan, Softmax


class ScoreKeeper:
    """Keeps of the probabilities of the semantic stage, as they arrive, how sure it is of each voxel and, where that is wanted,
    all of them in half precision (see :data:`spineps.stages.semantic.ScoreObserver`).
    """

    def __init__(
        self, prepared: Prepared, predictor: SemanticPredictor | ScanPredictor, *, certainty: bool = True, softmax: bool = False
    ) -> None:
        self._prepared, self._labels = prepared, predictor.labels
        self._wanted = certainty, softmax
        self._grid: Geometry | None = None
        self._best: FloatArray = np.zeros((0, 0, 0), np.float32)
        self._scores: NDArray[np.float16] = np.zeros((0, 0, 0, 0), np.float16)

    def __call__(self, slab: Slab, grid: Geometry) -> None:
        """Take in a part."""
        certainty, softmax = self._wanted
        if self._grid is not grid:
            self._grid = grid
            self._best = np.zeros(grid.shape if certainty else (0, 0, 0), np.float32)
            classes = len(self._labels) + (self._labels[0] != Structure.BACKGROUND)
            self._scores = np.zeros((classes, *(grid.shape if softmax else (0, 0, 0))), np.float16)
        if certainty:
            self._best[slab.box.slices] = slab.scores.max(axis=0)
        if softmax:
            p, i, r = slab.box.slices
            self._scores[:, p, i, r] = _with_background(slab.scores, self._labels)

    @property
    def certainty(self) -> NDArray[np.uint8] | None:
        """How sure the network is of each voxel of the scan; see :func:`spineps.stages.confidence.certainty_map`."""
        if self._grid is None or not self._wanted[0]:
            return None
        return certainty_map(self._best, self._grid, self._prepared)

    @property
    def softmax(self) -> Softmax | None:
        """The probabilities, with what is needed to bring them to the grid of the scan."""
        if self._grid is None or not self._wanted[1]:
            return None
        prepared, labels = self._prepared, self._labels
        if labels[0] != Structure.BACKGROUND:
            labels = np.concatenate([np.zeros(1, np.uint8), labels])
        return Softmax(
            scores=self._scores,
            labels=labels,
            grid=self._grid,
            seen=prepared.geometry,
            box=prepared.box,
            shape=prepared.full.shape,
            turn=prepared.turn.inverse(),
        )


def _with_background(scores: FloatArray, labels: NDArray[np.uint8]) -> FloatArray:
    """Probabilities that sum to one; where a network answers yes or no for each region, background is what none is sure of."""
    if labels[0] == Structure.BACKGROUND:
        return scores
    whole = np.concatenate([1 - scores.max(axis=0, keepdims=True), scores])
    shares: FloatArray = whole / whole.sum(axis=0)
    return shares


def gather_extras(softmax: Softmax, scan: Scan, predictor: SemanticPredictor | ScanPredictor, config: ExtraConfig) -> Extras:
    """What was asked for, from the probabilities of a run."""
    return Extras(
        softmax=softmax if config.softmax else None,
        uncertainty=uncertainty(softmax, predictor.temperature) if config.uncertainty else None,
        model_mask=model_mask(softmax, scan) if config.model_mask else None,
    )


def uncertainty(softmax: Softmax, temperature: float = 1.0) -> FloatArray:
    """Entropy of the calibrated probabilities of each voxel, as a share of the greatest possible one.

    One class is in memory at a time: with s = p^(1/T), Z the sum of s and A that of s log s over the classes, the entropy is
    log Z - A / Z.

    Returns
    -------
    ndarray of float32
        In the grid of the scan, 0 to 1.
    """
    total, weighted = _sums(softmax, temperature)
    entropy = np.log(total) - weighted / total
    share: FloatArray = np.clip(entropy / np.log(len(softmax.labels)), 0, 1).astype(np.float32)
    return share


def _sums(softmax: Softmax, temperature: float) -> tuple[FloatArray, FloatArray]:
    first = _tempered(softmax.channel(0), temperature)
    total, weighted = first, _times_log(first)
    for index in range(1, len(softmax.labels)):
        values = _tempered(softmax.channel(index), temperature)
        total += values
        weighted += _times_log(values)
    return total, weighted


def _tempered(probability: FloatArray, temperature: float) -> FloatArray:
    values: FloatArray = np.clip(probability, 0, 1)
    return values if temperature == 1 else np.power(values, np.float32(1 / temperature), out=values)


def _times_log(values: FloatArray) -> FloatArray:
    logarithms: FloatArray = np.zeros_like(values)
    np.log(values, out=logarithms, where=values > 0)
    return np.multiply(values, logarithms, out=logarithms)


def model_mask(softmax: Softmax, scan: Scan) -> LabelMap:
    """The most probable structure on the network's own grid, in PIR orientation, where the scan lies in the world."""
    labels = softmax.labels[softmax.scores.argmax(axis=0)]
    turn = Reorientation.between(scan.geometry.axes, PIR)
    placed = turn.apply_geometry(scan.geometry).cropped(softmax.box)
    to_seen = np.linalg.inv(softmax.seen.affine) @ softmax.grid.affine  # voxels of the network's grid to those of the scan
    return LabelMap(labels, Geometry(softmax.grid.shape, placed.affine @ to_seen), Scheme.SEMANTIC, scan.source)
