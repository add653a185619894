"""How sure a network should be: one temperature for its logits, found on labelled voxels, and what it is worth.

The method is temperature scaling (Guo et al. 2017, On Calibration of Modern Neural Networks, ICML): the one number by which
logits are divided so that the likelihood of the true labels is greatest. It changes no label, only how sure each one is.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import FloatArray

LEAST_PROBABILITY: Final = 1e-7
"""Below, half precision has lost a probability."""
BINS: Final = 15
"""Bins of confidence in the calibration error, as in the paper."""
_LOWEST: Final = 0.25
_HIGHEST: Final = 4.0
_STEPS: Final = 40
_GOLDEN: Final = (np.sqrt(5) - 1) / 2


def tempered(probabilities: FloatArray, temperature: float) -> FloatArray:
    """Class probabilities after their logits are divided by a temperature.

    Parameters
    ----------
    probabilities : ndarray, shape (N, C)
        Sum to one over the classes.
    temperature : float
        Above 1 less sure, below 1 surer.
    """
    logits = np.log(np.clip(probabilities, LEAST_PROBABILITY, 1)) / temperature
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    scaled: FloatArray = raised / raised.sum(axis=1, keepdims=True)
    return scaled


def negative_log_likelihood(probabilities: FloatArray, truth: NDArray[np.integer]) -> float:
    """Mean of minus the logarithm of the probability of the true class, ``truth`` of shape (N,)."""
    own = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.clip(own, LEAST_PROBABILITY, 1)).mean())


def calibration_error(probabilities: FloatArray, truth: NDArray[np.integer]) -> float:
    """Expected calibration error: by how much confidence and share of right labels differ, over bins of confidence."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    gaps = np.abs(np.bincount(bins, confidence, BINS) - np.bincount(bins, right, BINS))
    return float(gaps.sum() / counts.sum())


def fit_temperature(probabilities: FloatArray, truth: NDArray[np.integer]) -> float:
    """The temperature at which the true classes are likeliest, by golden-section search over its logarithm.

    The negative log-likelihood is convex in 1 / T, so that there is one minimum.

    Parameters
    ----------
    probabilities : ndarray, shape (N, C)
        Of voxels that the network was not trained on.
    truth : ndarray of int, shape (N,)
        True class of each.
    """
    low, high = float(np.log(_LOWEST)), float(np.log(_HIGHEST))

    def loss(logarithm: float) -> float:
        return negative_log_likelihood(tempered(probabilities, float(np.exp(logarithm))), truth)

    inner = [high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)]
    values = [loss(inner[0]), loss(inner[1])]
    for _ in range(_STEPS):
        if values[0] <= values[1]:
            high, inner[1], values[1] = inner[1], inner[0], values[0]
            inner[0] = high - _GOLDEN * (high - low)
            values[0] = loss(inner[0])
        else:
            low, inner[0], values[0] = inner[0], inner[1], values[1]
            inner[1] = low + _GOLDEN * (high - low)
            values[1] = loss(inner[1])
    return float(np.exp((low + high) / 2))
