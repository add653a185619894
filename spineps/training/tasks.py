"""What differs between the trainings of the networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from spineps.geometry import Shape, Spacing
from spineps.labeling.cutouts import LEVELS
from spineps.labeling.naming import INSTANCE_OF
from spineps.networks.bundled import BundledNetwork
from spineps.networks.classes import INSTANCE_CHANNELS, LEVEL_CHANNELS, SEMANTIC_CLASSES, level_channels, one_hot_groups
from spineps.networks.levels import LevelNet
from spineps.networks.unet import InstanceUNet, SemanticUNet
from spineps.training.losses import cross_entropy_and_dice, dice_counts
from spineps.training.pool import fill_pool
from spineps.training.predictions import predictions_build, predictions_pool
from spineps.training.stream import (
    INSTANCE_CUTOUT,
    INSTANCE_SHIFT_MM,
    INSTANCE_SPACING_MM,
    LABELING_PATCH,
    LABELING_SHIFT_MM,
    LABELING_SPACING_MM,
    SEMANTIC_PATCH,
    SEMANTIC_SPACING_MM,
    Stream,
    Volume,
    draw_instance_sample,
    draw_labeling_sample,
    draw_semantic_sample,
    instance_stream,
    labeling_stream,
    semantic_stream,
)
from spineps.zoo.card import Kind

Sample = tuple[NDArray[Any], NDArray[np.uint8]]
VERSION: Final = "1"
REGION_WEIGHT: Final = 0.3
"""Weight of the labeling network's opinions on region and visibility beside that on the level."""
FIRST_SEEN: Final = 4.0
"""Vertebrae that the labeling task takes as seen of each level before it has counted any."""


class Task(ABC):
    """One of the trainings."""

    kind: Kind
    spacing_mm: Spacing
    patch_size: Shape
    shift_mm: Spacing = (0.0, 0.0, 0.0)
    learning_rate: float

    @abstractmethod
    def network(self) -> BundledNetwork:
        """Make the network with fresh weights."""

    @abstractmethod
    def stream(self, pool: Path, *, seed: int, workers: int, state: dict[str, Any] | None = None) -> Stream:
        """Open the stream of training samples."""

    def phantoms(self, pool: Path, first_seed: int, count: int) -> list[Path]:
        """Phantoms of the seeds, made where the pool does not hold them."""
        return fill_pool(pool, first_seed, count)

    @abstractmethod
    def draw(self, volume: Volume, rng: np.random.Generator) -> Sample:
        """Draw a sample for validation."""

    @abstractmethod
    def batch(self, sample: Sample) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn a sample into network input (1, C, P, I, R) in fp32 and target (1, P, I, R)."""

    @abstractmethod
    def loss_at_half(self, network: nn.Module, image: torch.Tensor, target: torch.Tensor, offset: int) -> tuple[Any, Any]:
        """Return logits and target at half the in-plane resolution, for the first part of a training."""

    @abstractmethod
    def labels(self) -> tuple[int, ...]:
        """Ids of the output channels, for the card."""

    def scored(self) -> tuple[int, ...]:
        """Ids of the classes that the validation scores: all but the background."""
        return self.labels()[1:]

    def loss(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """What a step makes smaller."""
        return cross_entropy_and_dice(logits, target)

    def counts(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Hits and sizes of each class, shape (2, C), for the Dice (the F1 score) of the validation."""
        return dice_counts(logits, target)

    def card_facts(self) -> dict[str, Any]:
        """Fields of the model card that follow from the task."""
        return {
            "name": f"spineps-{self.kind.value}",
            "kind": self.kind,
            "version": VERSION,
            "network": type(self.network()).__name__,
            "spacing_mm": self.spacing_mm,
            "patch_size": self.patch_size,
            "shift_mm": self.shift_mm,
            "labels": self.labels(),
        }


class SemanticTask(Task):
    """Fourteen structures from painted patches."""

    kind = Kind.SEMANTIC
    spacing_mm = SEMANTIC_SPACING_MM
    patch_size = SEMANTIC_PATCH
    learning_rate = 1.5e-3

    def network(self) -> SemanticUNet:
        """Make the network with fresh weights."""
        return SemanticUNet(len(SEMANTIC_CLASSES))

    def stream(self, pool: Path, *, seed: int, workers: int, state: dict[str, Any] | None = None) -> Stream:
        """Open the stream of painted patches."""
        return semantic_stream(pool, seed=seed, workers=workers, patch_size=self.patch_size, state=state)

    def draw(self, volume: Volume, rng: np.random.Generator) -> Sample:
        """Draw a painted patch."""
        return draw_semantic_sample(volume, rng, self.patch_size)

    def batch(self, sample: Sample) -> tuple[torch.Tensor, torch.Tensor]:
        """Image and class indices."""
        image, target = sample
        return torch.from_numpy(image.astype(np.float32))[None, None], torch.from_numpy(target.astype(np.int64))[None]

    def loss_at_half(self, network: nn.Module, image: torch.Tensor, target: torch.Tensor, offset: int) -> tuple[Any, Any]:
        """Logits of the trunk alone against every second voxel in plane."""
        return network.forward_half(image), target[:, offset::2, offset::2].contiguous()  # type: ignore[operator]

    def labels(self) -> tuple[int, ...]:
        """Semantic ids, background first."""
        return tuple(int(v) for v in SEMANTIC_CLASSES)


class InstanceTask(Task):
    """Three vertebrae from label cutouts with errors.

    Parameters
    ----------
    predictions_of : Path or None
        Semantic model whose output on phantoms every second phantom shows; see :mod:`spineps.training.predictions`.
    """

    kind = Kind.INSTANCE
    spacing_mm = INSTANCE_SPACING_MM
    patch_size = INSTANCE_CUTOUT
    shift_mm = INSTANCE_SHIFT_MM
    learning_rate = 1e-3

    def __init__(self, predictions_of: Path | None = None) -> None:
        self.predictions_of = predictions_of

    def network(self) -> InstanceUNet:
        """Make the network with fresh weights."""
        return InstanceUNet(INSTANCE_CHANNELS)

    def stream(self, pool: Path, *, seed: int, workers: int, state: dict[str, Any] | None = None) -> Stream:
        """Open the stream of cutouts."""
        if self.predictions_of is None:
            return instance_stream(pool, seed=seed, workers=workers, state=state)
        build = predictions_build(pool, self.predictions_of)
        folder = predictions_pool(pool, self.predictions_of)
        return instance_stream(folder, seed=seed, workers=workers, state=state, build=build)

    def phantoms(self, pool: Path, first_seed: int, count: int) -> list[Path]:
        """Phantoms of the seeds, made where the pool does not hold them."""
        if self.predictions_of is None:
            return super().phantoms(pool, first_seed, count)
        build = predictions_build(pool, self.predictions_of)
        return fill_pool(predictions_pool(pool, self.predictions_of), first_seed, count, build)

    def draw(self, volume: Volume, rng: np.random.Generator) -> Sample:
        """Draw a corrupted cutout."""
        return draw_instance_sample(volume, rng)

    def batch(self, sample: Sample) -> tuple[torch.Tensor, torch.Tensor]:
        """One-hot groups of structures and labels 0 to 3."""
        labels, target = sample
        return torch.from_numpy(one_hot_groups(labels))[None], torch.from_numpy(target.astype(np.int64))[None]

    def loss_at_half(self, network: nn.Module, image: torch.Tensor, target: torch.Tensor, offset: int) -> tuple[Any, Any]:
        """Logits at full resolution: this network has no coarse head."""
        del offset
        return network(image), target

    def labels(self) -> tuple[int, ...]:
        """None, above, centre, below."""
        return 0, 1, 2, 3


class LabelingTask(Task):
    """Levels from cutouts of painted and corrupted phantoms."""

    kind = Kind.LABELING
    spacing_mm = LABELING_SPACING_MM
    patch_size = LABELING_PATCH
    shift_mm = LABELING_SHIFT_MM
    learning_rate = 1e-3

    def __init__(self) -> None:
        self._seen = torch.full((len(LEVELS),), FIRST_SEEN)

    def network(self) -> LevelNet:
        """Make the network with fresh weights."""
        return LevelNet(len(LEVELS), LEVEL_CHANNELS)

    def stream(self, pool: Path, *, seed: int, workers: int, state: dict[str, Any] | None = None) -> Stream:
        """Open the stream of cutouts."""
        return labeling_stream(pool, seed=seed, workers=workers, state=state)

    def draw(self, volume: Volume, rng: np.random.Generator) -> Sample:
        """Draw cutouts of one phantom."""
        return draw_labeling_sample(volume, rng)

    def batch(self, sample: Sample) -> tuple[torch.Tensor, torch.Tensor]:
        """Channels (N, C, P, I, R) of the vertebrae of a sample; target (N, 3): level, region, whole."""
        cutouts, target = sample
        channels = [level_channels(c[0].astype(np.float32), c[1].astype(np.uint8)) for c in cutouts]
        return torch.from_numpy(np.stack(channels)), torch.from_numpy(target.astype(np.int64))

    def loss_at_half(self, network: nn.Module, image: torch.Tensor, target: torch.Tensor, offset: int) -> tuple[Any, Any]:
        """Logits at full resolution: this network has no coarse head."""
        del offset
        return network(image), target

    def loss(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of the level, of the region and of being whole.

        Rare levels must not look improbable: the log of how often each was seen is added to the logits in training alone, so
        that they come to say likelihoods (logit adjustment; Menon et al., ICLR 2021).
        """
        levels, regions, whole = self._parts(logits.float())
        self._seen += functional.one_hot(target[:, 0], len(LEVELS)).sum(dim=0).cpu()
        prior = torch.log(self._seen / self._seen.sum()).to(levels.device)
        others = functional.cross_entropy(regions, target[:, 1]) + functional.cross_entropy(whole, target[:, 2])
        return functional.cross_entropy(levels + prior, target[:, 0]) + REGION_WEIGHT * others

    def counts(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Hits and sizes of each level, under an empty background class."""
        levels = self._parts(logits.float())[0]
        ahead = functional.pad(levels, (1, 0), value=float("-inf"))
        return dice_counts(ahead, target[:, 0] + 1)

    def labels(self) -> tuple[int, ...]:
        """Instance ids of the levels."""
        return tuple(INSTANCE_OF[name] for name in LEVELS)

    def scored(self) -> tuple[int, ...]:
        """All of them: none is background."""
        return self.labels()

    def _parts(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        count = len(LEVELS)
        return logits[:, :count], logits[:, count:-2], logits[:, -2:]


TASKS: Final[dict[Kind, type[Task]]] = {
    Kind.SEMANTIC: SemanticTask,
    Kind.INSTANCE: InstanceTask,
    Kind.LABELING: LabelingTask,
}
