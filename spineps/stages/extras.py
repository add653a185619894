"""What a run gives beside its masks: probabilities, an image of uncertainty, the mask on the network's own grid.

The uncertainty of a voxel is the entropy of its calibrated class probabilities as a share of the greatest possible one.
Networks are not as sure as they are right; dividing their logits by one temperature, found on labelled data that they were not
trained on, mends most of it (Guo et al. 2017, On Calibration of Modern Neural Networks, ICML). On probabilities p that is
p^(1/T), scaled to sum to one. The temperature stands in the model's card; ``bench/calibration.py`` finds it.
"""

from __future__ import annotations

import numpy as np

from spineps.config import ExtraConfig
from spineps.geometry import PIR, FloatArray, Geometry, Reorientation
from spineps.inference.protocols import ScanPredictor, SemanticPredictor
from spineps.labels import Scheme, Structure
from spineps.stages.preprocess import Prepared
from spineps.volume import Extras, LabelMap, Scan, Softmax


def keep_scores(
    scores: FloatArray, grid: Geometry, prepared: Prepared, predictor: SemanticPredictor | ScanPredictor
) -> Softmax:
    """Probabilities of the semantic stage in half precision, with what is needed to bring them to the grid of the scan.

    Parameters
    ----------
    scores : ndarray of float32, shape (C, P, I, R)
        On ``grid``. Of a network that answers yes or no for each region, background is what no region is sure of.
    """
    labels = predictor.labels
    if labels[0] != Structure.BACKGROUND:
        scores = np.concatenate([1 - scores.max(axis=0, keepdims=True), scores])
        scores /= scores.sum(axis=0)
        labels = np.concatenate([np.zeros(1, np.uint8), labels])
    return Softmax(
        scores=scores.astype(np.float16),
        labels=labels,
        grid=grid,
        seen=prepared.geometry,
        box=prepared.box,
        shape=prepared.full.shape,
        turn=prepared.turn.inverse(),
    )


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
