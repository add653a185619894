"""The labeling network on its device."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from spineps.geometry import FloatArray
from spineps.inference.engine import NetworkEngine
from spineps.networks.classes import level_channels


class LevelEngine(NetworkEngine):
    """The bundled labeling network (see :class:`spineps.inference.protocols.LevelPredictor`)."""

    def __call__(self, images: FloatArray, labels: NDArray[np.uint8]) -> FloatArray:
        """Log-probability of each level, shape (n, levels), for images and labels of shape (n, P, I, R)."""
        count = len(self.card.labels)
        found = []
        for image, label in zip(images, labels, strict=True):  # one at a time: the same answer whatever the batch is
            found.append(log_softmax(self.runner.logits(level_channels(image, label)[None])[0, :count]))
        return np.stack(found) if found else np.zeros((0, count), np.float32)
