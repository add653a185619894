"""What differs between training the semantic and the instance network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from spineps.geometry import Shape, Spacing
from spineps.networks.classes import INSTANCE_CHANNELS, SEMANTIC_CLASSES, one_hot_groups
from spineps.networks.unet import InstanceUNet, SemanticUNet
from spineps.training.stream import (
    INSTANCE_CUTOUT,
    INSTANCE_SHIFT_MM,
    INSTANCE_SPACING_MM,
    SEMANTIC_PATCH,
    SEMANTIC_SPACING_MM,
    Stream,
    Volume,
    draw_instance_sample,
    draw_semantic_sample,
    instance_stream,
    semantic_stream,
)
from spineps.zoo.card import Kind

Sample = tuple[NDArray[Any], NDArray[np.uint8]]
VERSION: Final = "1"


class Task(ABC):
    """One of the two trainings."""

    kind: Kind
    spacing_mm: Spacing
    patch_size: Shape
    shift_mm: Spacing = (0.0, 0.0, 0.0)
    learning_rate: float

    @abstractmethod
    def network(self) -> SemanticUNet | InstanceUNet:
        """Make the network with fresh weights."""

    @abstractmethod
    def stream(self, pool: Path, *, seed: int, workers: int, state: dict[str, Any] | None = None) -> Stream:
        """Open the stream of training samples."""

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
    """Three vertebrae from corrupted label cutouts."""

    kind = Kind.INSTANCE
    spacing_mm = INSTANCE_SPACING_MM
    patch_size = INSTANCE_CUTOUT
    shift_mm = INSTANCE_SHIFT_MM
    learning_rate = 1e-3

    def network(self) -> InstanceUNet:
        """Make the network with fresh weights."""
        return InstanceUNet(INSTANCE_CHANNELS)

    def stream(self, pool: Path, *, seed: int, workers: int, state: dict[str, Any] | None = None) -> Stream:
        """Open the stream of corrupted cutouts."""
        return instance_stream(pool, seed=seed, workers=workers, state=state)

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


TASKS: Final[dict[Kind, type[Task]]] = {Kind.SEMANTIC: SemanticTask, Kind.INSTANCE: InstanceTask}
