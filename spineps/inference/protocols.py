"""What the stages ask of a network, whatever engine runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

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

    @property
    def temperature(self) -> float:
        """What logits are divided by for calibrated probabilities."""

    def __call__(self, patches: FloatArray) -> FloatArray:
        """Class probabilities, shape (batch, C, P, I, R), of normalised patches of shape (batch, P, I, R)."""


@dataclass(frozen=True, slots=True)
class ScanModel:
    """How a scan is prepared for a model that labels whole images.

    Parameters
    ----------
    normalise : bool
        Intensities are shifted to begin at 0 and scaled down to at most 1500; CT keeps its numbers.
    n4 : bool
        The model was trained on images with the bias field corrected.
    """

    normalise: bool
    n4: bool


@runtime_checkable
class ScanPredictor(Protocol):
    """A semantic network that was made elsewhere: a whole image in, its labels at the same spacing out.

    Tiles, their weights and the normalisation of intensities are the model's own affair.
    """

    @property
    def step_share(self) -> float:
        """Default step between tiles as a share of a tile."""

    @property
    def mirror(self) -> bool:
        """Whether the model averages over mirrored tiles by default."""

    @property
    def labels(self) -> NDArray[np.uint8]:
        """Semantic id of each output channel, shape (C,), background first."""

    @property
    def temperature(self) -> float:
        """What logits are divided by for calibrated probabilities."""

    @property
    def scan_model(self) -> ScanModel:
        """How scans are prepared for it."""

    def spacing_for(self, spacing_mm: Spacing) -> Spacing:
        """Spacing (P, I, R) that an image of a given spacing is brought to."""

    def label(
        self,
        image: FloatArray,
        spacing_mm: Spacing,
        *,
        step_share: float,
        mirror: bool,
        progress: Callable[[int, int], None] | None = None,
        on_scores: Callable[[FloatArray], None] | None = None,
    ) -> NDArray[np.uint8]:
        """Semantic ids of an image, both of shape (P, I, R), at the spacing of :meth:`spacing_for`.

        ``on_scores`` is told the probabilities, shape (C, P, I, R).
        """


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

    @property
    def parts_fused(self) -> bool:
        """Whether its answers tell where bodies end that the mask fuses; otherwise they are cut where they are thinnest."""

    def __call__(self, cutouts: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels 0 none, 1 vertebra above, 2 centre, 3 below for semantic cutouts; both of shape (batch, P, I, R)."""


@runtime_checkable
class SpacedInstancePredictor(Protocol):
    """An instance network that works at a range of spacings."""

    def adapted(self, spacing_mm: Spacing) -> InstancePredictor:
        """The predictor for a mask of a given spacing (P, I, R)."""


@runtime_checkable
class LabelingPredictor(Protocol):
    """A published classifier of vertebral levels: an image patch around a vertebral body in, opinions on its level out."""

    @property
    def patch_size(self) -> Shape:
        """Voxels (P, I, R) of a patch."""

    @property
    def rotated(self) -> bool:
        """Whether patches are turned so that the spine runs straight down."""

    @property
    def heads(self) -> Mapping[str, int]:
        """Name of each head and how many classes it tells apart."""

    def spacing_for(self, spacing_mm: Spacing) -> Spacing:
        """Spacing (P, I, R) that an image of a given spacing is brought to."""

    def __call__(self, patch: FloatArray) -> Mapping[str, FloatArray]:
        """Probability of each class of each head for a patch of shape (P, I, R)."""


class LevelPredictor(Protocol):
    """The bundled labeling network: cutouts around vertebral bodies in, opinions on their levels out."""

    @property
    def spacing_mm(self) -> Spacing:
        """Voxel spacing (P, I, R) that the network expects."""

    @property
    def patch_size(self) -> Shape:
        """Voxels (P, I, R) of a cutout."""

    @property
    def shift_mm(self) -> Spacing:
        """From the centre of the vertebral body to the centre of the cutout, along (P, I, R)."""

    def __call__(self, images: FloatArray, labels: NDArray[np.uint8]) -> FloatArray:
        """Log-probability of each level (:data:`spineps.labeling.cutouts.LEVELS`), shape (n, levels), for standardised images
        and semantic labels, both of shape (n, P, I, R).
        """
