"""Fine-tuning on scans of one's own: tasks and samples for the network of a model that is already there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch.nn import functional

from spineps.errors import ErrorCode, InputError, UsageError
from spineps.labels import Structure
from spineps.networks.classes import SEMANTIC_CLASSES
from spineps.networks.unet import InstanceUNet, SemanticUNet
from spineps.training.instance_samples import INSTANCE_SPACING_MM, draw_instance_sample
from spineps.training.marginal import marginal_counts, marginal_loss, set_name, sets_without_background
from spineps.training.own_cases import CaseFiles, labelled_in, read_case
from spineps.training.own_samples import OwnVolume, draw_own_patch, load_own, own_volume, save_own
from spineps.training.source import Source
from spineps.training.tasks import InstanceTask, Sample, SemanticTask
from spineps.zoo.card import ModelCard
from spineps.zoo.store import read_card

VALIDATION_SAMPLES: Final = 6
"""Samples drawn from each held-out scan."""
FINE_TUNING_RATE: Final = 3e-4
_VALIDATION_SEED: Final = 7
_KEPT: Final = 48
"""Prepared scans that are kept in memory."""


class _FromCard:
    """The parts of a task that follow from the model that is trained further."""

    card: ModelCard

    def card_facts(self) -> dict[str, Any]:
        """Fields of the new model's card."""
        card = self.card
        kept = {"kind", "version", "network", "network_settings", "spacing_mm", "patch_size", "shift_mm", "labels"}
        name = card.name if card.name.endswith("-own") else f"{card.name}-own"
        return card.model_dump(include=kept | {"step_size", "mirror"}) | {"name": name}


class OwnSemanticTask(_FromCard, SemanticTask):
    """Structures from scans whose masks need not name all of them."""

    learning_rate = FINE_TUNING_RATE

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.spacing_mm, self.patch_size = card.spacing_mm, card.patch_size
        self.groups: tuple[int, ...] = ()

    def network(self) -> SemanticUNet:
        """Make the network with fresh weights."""
        return SemanticUNet(**self.card.network_settings)

    def batch(self, sample: Sample) -> tuple[torch.Tensor, torch.Tensor]:
        """Image and sets of classes."""
        image, sets = sample
        return torch.from_numpy(image.astype(np.float32))[None, None], torch.from_numpy(sets.astype(np.int64))[None]

    def loss(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The marginal loss."""
        return marginal_loss(logits, target)

    def counts(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Hits and sizes of what the masks are certain of, under an empty background class."""
        return functional.pad(marginal_counts(logits, target, self.groups), (1, 0))

    def scored(self) -> tuple[int, ...]:
        """Those sets of classes."""
        return self.groups


class OwnInstanceTask(_FromCard, InstanceTask):
    """Three vertebrae from cutouts of one's own masks."""

    learning_rate = FINE_TUNING_RATE

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.patch_size = card.patch_size

    def network(self) -> InstanceUNet:
        """Make the network with fresh weights."""
        return InstanceUNet(**self.card.network_settings)


class OwnStream:
    """Samples drawn one after the other in this process; sample ``n`` depends on seed and ``n`` alone.

    Parameters
    ----------
    draw : callable
        Makes a sample with a generator.
    seed : int
        Of all samples.
    state : dict or None
        What :meth:`state` returned in an earlier run.
    """

    def __init__(self, draw: Callable[[np.random.Generator], Sample], seed: int, state: dict[str, Any] | None) -> None:
        self._draw, self._seed = draw, seed
        self.fresh = int(state["fresh"]) if state else 0

    def next(self) -> Sample:
        """The next sample."""
        rng = np.random.default_rng([self._seed, self.fresh])
        self.fresh += 1
        return self._draw(rng)

    def state(self) -> dict[str, Any]:
        """How many samples were drawn."""
        return {"fresh": self.fresh}

    def seeds(self) -> list[int]:
        """First sample, and the one after the last."""
        return [0, self.fresh]

    def close(self) -> None:
        """Nothing to end."""


class OwnSource(Source):
    """Scans of one's own, split by patient.

    Parameters
    ----------
    training, validation : sequence of CaseFiles
        No patient is on both sides.
    folder : Path
        Where scans at the network's spacing are kept.
    start : Path
        Model folder that says which network is trained, at which spacing.
    labelled : frozenset of Structure or None
        Structures that the masks name; by default all that occur in any of them.

    Raises
    ------
    UsageError
        Where the model is not one that ``spineps train`` can make.
    InputError
        Where a scan or a mask cannot be used.
    """

    def __init__(
        self,
        training: Sequence[CaseFiles],
        validation: Sequence[CaseFiles],
        folder: Path,
        start: Path,
        *,
        labelled: frozenset[Structure] | None = None,
        seed: int = 0,
    ) -> None:
        self.task: OwnSemanticTask | OwnInstanceTask = _task_for(read_card(start))
        self._sides = {"training": len(training), "validation": len(validation)}
        self._folder, self._seed = folder, seed
        everything = [*training, *validation]
        self.labelled = labelled if labelled is not None else labelled_in([read_case(files) for files in everything])
        self._facts = {files.name: self._facts_of(files, number) for number, files in enumerate(everything)}
        self._load = lru_cache(maxsize=_KEPT)(self._read)
        self._training = self._usable(training)
        self._validation = self._usable(validation)
        if isinstance(self.task, OwnSemanticTask):
            groups = {group for name in self._validation for group in sets_without_background(self._load(name).sets)}
            self.task.groups = tuple(sorted(groups))

    def stream(self, state: dict[str, Any] | None) -> OwnStream:
        """Samples of the training side."""
        return OwnStream(lambda rng: self._draw(self._training, rng, augment=True), self._seed, state)

    def validation(self) -> list[Sample]:
        """Samples of the other side, as they are."""
        rng = np.random.default_rng(_VALIDATION_SEED)
        return [self._draw([name], rng, augment=False) for name in self._validation for _ in range(VALIDATION_SAMPLES)]

    def origin(self, seeds: Sequence[int]) -> dict[str, Any]:
        """What the card says: own data, how much of it, and which structures it names; no names of files or patients."""
        return {
            "data": "the user's own scans and masks",
            "scans": self._sides,
            "labelled": sorted(int(s) for s in self.labelled),
            "samples": seeds[1],
        }

    def name_of(self, scored: int) -> str:
        """Semantic ids; joined by ``+`` where the masks do not tell them apart."""
        return set_name(scored) if isinstance(self.task, OwnSemanticTask) else str(scored)

    def _draw(self, names: Sequence[str], rng: np.random.Generator, *, augment: bool) -> Sample:
        volume = self._load(names[int(rng.integers(len(names)))])
        if isinstance(self.task, OwnSemanticTask):
            image, sets = draw_own_patch(volume, rng, self.task.patch_size, augment=augment)
            return image, sets  # type: ignore[return-value]
        return draw_instance_sample(volume.masks, rng, corrupt=augment, size=self.task.patch_size)

    def _usable(self, side: Sequence[CaseFiles]) -> list[str]:
        """Names of the prepared cases that samples can be drawn from."""
        names = []
        for files in side:
            path, facts = self._path(files.name), self._facts[files.name]
            volume = load_own(path, facts)
            if volume is None:
                volume = own_volume(read_case(files), self.labelled, self.task.spacing_mm, facts["number"])
                save_own(path, volume, facts)
            if isinstance(self.task, OwnSemanticTask) or volume.masks.centres_vox:
                names.append(files.name)
        if not names:
            raise InputError(
                ErrorCode.INPUT_LABELS,
                "No scan of one side of the split has both a semantic mask with vertebral bodies (49) and an instance mask.",
                remedy="Give such masks, or more patients.",
            )
        return names

    def _read(self, name: str) -> OwnVolume:
        volume = load_own(self._path(name), self._facts[name])
        if volume is None:
            raise InputError(ErrorCode.INPUT_CHANGED, f"The prepared scan {name!r} has gone.", remedy="Resume the training.")
        return volume

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.safetensors"

    def _facts_of(self, files: CaseFiles, number: int) -> dict[str, Any]:
        stats = [path.stat() for path in (files.image, files.semantic, files.instance) if path is not None]
        return {
            "files": [[s.st_size, s.st_mtime_ns] for s in stats],
            "spacing_mm": list(self.task.spacing_mm),
            "labelled": sorted(int(s) for s in self.labelled),
            "number": number,
        }


def _task_for(card: ModelCard) -> OwnSemanticTask | OwnInstanceTask:
    if card.network == SemanticUNet.__name__ and card.labels == tuple(int(s) for s in SEMANTIC_CLASSES):
        return OwnSemanticTask(card)
    if card.network == InstanceUNet.__name__ and card.spacing_mm == INSTANCE_SPACING_MM:
        return OwnInstanceTask(card)
    raise UsageError(
        ErrorCode.USAGE,
        f"The model {card.name} ({card.kind.value}) cannot be trained further on scans of one's own.",
        remedy="Give --warm-start a semantic or instance model that spineps train made, or use --recipe paper.",
    )
