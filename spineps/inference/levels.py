"""The labeling network on its device."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from spineps.geometry import FloatArray, Shape, Spacing
from spineps.inference.engine import TorchNetwork
from spineps.networks.classes import level_channels


class LevelEngine(TorchNetwork):
    """The bundled labeling network (see :class:`spineps.inference.protocols.LevelPredictor`)."""

    @property
    def patch_size(self) -> Shape:
        """Voxels (P, I, R) of a cutout."""
        return self.card.patch_size

    @property
    def shift_mm(self) -> Spacing:
        """From the centre of the vertebral body to the centre of the cutout."""
        return self.card.shift_mm

    def __call__(self, images: FloatArray, labels: NDArray[np.uint8]) -> FloatArray:
        """Log-probability of each level, shape (n, levels), for images and labels of shape (n, P, I, R)."""
        count = len(self.card.labels)
        found = []
        for image, label in zip(images, labels, strict=True):  # one at a time: the same answer whatever the batch is
            channels = torch.from_numpy(level_channels(image, label))
            found.append(torch.log_softmax(self.forward(channels[None])[0, :count].float(), dim=0).cpu().numpy())
        return np.stack(found) if found else np.zeros((0, count), np.float32)
