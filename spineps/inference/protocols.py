"""What the stages ask of a network, whatever engine runs it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import FloatArray, Shape, Spacing


class SemanticPredictor(Protocol):
    """A semantic network: image patches in, a probability for each structure out."""

    @property
    def spacing_mm(self) -> Spacing:
        """Voxel spacing (P, I, R) that the network expects."""

    @property
    def patch_size(self) -> Shape:
        """Voxels (P, I, R) of a tile."""

    @property
    def step_share(self) -> float:
        """Default step between tiles as a share of a tile."""

    @property
    def mirror(self) -> bool:
        """Whether the model averages with the left-right mirrored prediction by default."""

    @property
    def labels(self) -> NDArray[np.uint8]:
        """Semantic id of each output channel, shape (C,), background first."""

    def __call__(self, patches: FloatArray) -> FloatArray:
        """Class probabilities, shape (batch, C, P, I, R), of normalised patches of shape (batch, P, I, R)."""


class InstancePredictor(Protocol):
    """An instance network: semantic cutouts in, the three vertebrae around their centre out."""

    @property
    def spacing_mm(self) -> Spacing:
        """Voxel spacing (P, I, R) that the network expects."""

    @property
    def cutout_size(self) -> Shape:
        """Voxels (P, I, R) of a cutout."""

    @property
    def shift_mm(self) -> Spacing:
        """From the centre of the vertebral body to the centre of the cutout, along (P, I, R)."""

    def __call__(self, cutouts: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels 0 none, 1 vertebra above, 2 centre, 3 below for semantic cutouts; both of shape (batch, P, I, R)."""
