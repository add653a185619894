"""The predictors of models made by this package, on whatever engine the machine has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spineps.config import ComputeConfig, Precision
from spineps.geometry import FloatArray, Shape, Spacing
from spineps.inference.machine import choose_engine
from spineps.inference.memory import network_need
from spineps.inference.runner import open_runner
from spineps.networks.classes import one_hot_groups
from spineps.zoo.card import ModelCard
from spineps.zoo.store import AnyModel


class NetworkEngine:
    """A model whose network is ready to run."""

    def __init__(self, model: AnyModel, config: ComputeConfig) -> None:
        self.card: ModelCard = model.card
        if model.card.elsewhere is not None and config.precision is Precision.AUTO:
            config = replace(config, precision=Precision.FP32)  # a network made elsewhere gives what it gave there
        self.engine = choose_engine(config)
        self.runner = open_runner(model, self.engine, config)

    @property
    def spacing_mm(self) -> Spacing:
        """Voxel spacing (P, I, R) that the network expects."""
        return self.card.spacing_mm

    @property
    def patch_size(self) -> Shape:
        """Voxels (P, I, R) of what the network sees at once."""
        return self.card.patch_size

    @property
    def shift_mm(self) -> Spacing:
        """From the centre of the vertebral body to the centre of a cutout."""
        return self.card.shift_mm

    @property
    def temperature(self) -> float:
        """What logits are divided by for calibrated probabilities."""
        return self.card.temperature

    def need(self) -> int:
        """Bytes that the network takes for one tile or cutout, beyond its weights."""
        return network_need(self.card, self.engine)

    def release(self) -> None:
        """Give back the memory that the network holds between tiles."""
        self.runner.release()


class SemanticNetwork(NetworkEngine):
    """What the card of a semantic model says, whoever made it."""

    @property
    def step_share(self) -> float:
        """Default step between tiles as a share of a tile."""
        return self.card.step_size

    @property
    def mirror(self) -> bool:
        """Whether the model averages with the left-right mirrored prediction by default."""
        return self.card.mirror

    @property
    def labels(self) -> NDArray[np.uint8]:
        """Semantic id of each output channel, background first."""
        return np.asarray(self.card.labels, dtype=np.uint8)


class InstanceNetwork(NetworkEngine):
    """What the card of an instance model says, whoever made it."""

    @property
    def cutout_size(self) -> Shape:
        """Voxels (P, I, R) of a cutout."""
        return self.card.patch_size


class SemanticEngine(SemanticNetwork):
    """The semantic predictor (see :class:`spineps.inference.protocols.SemanticPredictor`)."""

    def __call__(self, patches: FloatArray) -> FloatArray:
        """Class probabilities, shape (batch, C, P, I, R), of patches of shape (batch, P, I, R)."""
        return self.runner.probabilities(patches[:, None])


class InstanceEngine(InstanceNetwork):
    """The instance predictor (see :class:`spineps.inference.protocols.InstancePredictor`)."""

    @property
    def parts_fused(self) -> bool:
        """Our networks are least sure where the mask fuses bodies (docs/compatibility.md has the numbers)."""
        return False

    def __call__(self, cutouts: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels 0 to 3, shape (batch, P, I, R), of semantic cutouts of the same shape."""
        found = [self._one(cutout) for cutout in cutouts]
        return np.stack(found) if found else np.zeros(cutouts.shape, np.uint8)

    def _one(self, cutout: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """One cutout at a time: on a CPU as fast as a batch, and the same answer whatever the batch is."""
        labels: NDArray[np.uint8] = self.runner.classes(one_hot_groups(cutout)[None])[0]
        return labels
