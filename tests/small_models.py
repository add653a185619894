"""Trains the small models of the cohort tests: ``python tests/small_models.py FOLDER --minutes 3``.

Tiny networks for phantoms of two to four vertebrae at 2 mm, made by the package's own training step, so that a scan takes about
a second. ``tests/data/models`` holds what came out; nothing but phantoms was shown to them.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.ndimage import gaussian_filter

from spineps.cli.console import say
from spineps.config import ComputeConfig, Device, Precision
from spineps.geometry import Shape, Spacing
from spineps.networks.classes import INSTANCE_CHANNELS, SEMANTIC_CLASSES, SEMANTIC_TABLE
from spineps.networks.unet import InstanceUNet, SemanticUNet
from spineps.phantom.anatomy import build_anatomy, spec_for_vertebrae
from spineps.phantom.phantom import make_phantom
from spineps.stages.preprocess import normalise
from spineps.training.loop import TrainConfig, Trainer
from spineps.training.pool import Volume, volume_of
from spineps.training.tasks import InstanceTask, Sample, SemanticTask, Task
from spineps.zoo.card import Kind
from spineps.zoo.store import load_model

SPACING_MM: Final[Spacing] = (2.0, 2.0, 2.0)
FIRST_SEED: Final = 2_000_000
VOLUMES: Final = 18
HELD_OUT: Final = 3
NOTHING_SHARE: Final = 0.25
SEMANTIC_SETTINGS: Final[dict[str, Any]] = {"fine_width": 6, "widths": (8, 16, 32)}
INSTANCE_SETTINGS: Final[dict[str, Any]] = {"widths": (6, 12, 24)}


class SmallSemanticTask(SemanticTask):
    """The semantic task at 2 mm with a small network."""

    spacing_mm = SPACING_MM
    patch_size: Shape = (48, 40, 32)
    learning_rate = 4e-3

    def network(self) -> SemanticUNet:
        return SemanticUNet(len(SEMANTIC_CLASSES), **SEMANTIC_SETTINGS)

    def draw(self, volume: Volume, rng: np.random.Generator) -> Sample:
        """A patch of the phantom as ``spineps phantom`` paints it: the tests' scans look no other way. Or something else."""
        if rng.random() < NOTHING_SHARE:
            return nothing(rng, self.patch_size), np.zeros(self.patch_size, np.uint8)
        image, labels = painted(volume.seed)
        corner = [int(rng.integers(0, n - m + 1)) for n, m in zip(image.shape, self.patch_size, strict=True)]
        box = tuple(slice(a, a + m) for a, m in zip(corner, self.patch_size, strict=True))
        return image[box].astype(np.float16), SEMANTIC_TABLE[labels[box]]

    def card_facts(self) -> dict[str, Any]:
        settings = {"classes": len(SEMANTIC_CLASSES), **SEMANTIC_SETTINGS}
        return super().card_facts() | {"name": "test-semantic", "network_settings": settings}


class SmallInstanceTask(InstanceTask):
    """The instance task on a smaller cutout with a small network."""

    patch_size: Shape = (48, 48, 40)
    learning_rate = 4e-3

    def network(self) -> InstanceUNet:
        return InstanceUNet(INSTANCE_CHANNELS, **INSTANCE_SETTINGS)

    def draw(self, volume: Volume, rng: np.random.Generator) -> Sample:
        return _middle(super().draw(volume, rng), self.patch_size)

    def card_facts(self) -> dict[str, Any]:
        settings = {"channels": INSTANCE_CHANNELS, **INSTANCE_SETTINGS}
        return super().card_facts() | {"name": "test-instance", "network_settings": settings}


class SmallTrainer(Trainer):
    """The package's trainer with another task, fed with samples drawn in this process."""

    def __init__(self, task: Task, volumes: Sequence[Volume], config: TrainConfig, first: Path | None = None) -> None:
        self._small_task, self._volumes = task, volumes
        super().__init__(config, say)
        self.task = task
        self.network = task.network()
        if first is not None:
            self.network.load_state_dict(load_model(first).network.state_dict())
        self.average = task.network()
        self.average.load_state_dict(self.network.state_dict())
        self.optimizer = type(self.optimizer)(self.network.parameters(), task.learning_rate, weight_decay=1e-4)

    def _validation_samples(self) -> list[Sample]:
        rng = np.random.default_rng(FIRST_SEED)
        return [self._small_task.draw(volume, rng) for volume in self._volumes[:HELD_OUT] for _ in range(4)]

    def fit(self) -> None:
        """Train until the time is used up, then export."""
        rng = np.random.default_rng(self.config.seed)
        began, losses = time.process_time(), []
        while self.seconds < self.config.hours * 3600:
            volume = self._volumes[int(rng.integers(HELD_OUT, len(self._volumes)))]
            losses.append(self.train_step(self.task.draw(volume, rng)))
            self.seconds = time.process_time() - began
            if self.step % 200 == 0:
                self.report(f"{self.task.kind.value} {self.seconds:.0f} s, step {self.step}, loss {np.mean(losses):.3f}")
                losses = []
        self.export_if_better([volume.seed for volume in self._volumes[HELD_OUT:]])


def _middle(sample: Sample, size: Shape) -> Sample:
    starts = [(n - m) // 2 for n, m in zip(sample[0].shape, size, strict=True)]
    box = tuple(slice(a, a + m) for a, m in zip(starts, size, strict=True))
    return np.ascontiguousarray(sample[0][box]), np.ascontiguousarray(sample[1][box])


def nothing(rng: np.random.Generator, shape: Shape) -> Any:
    """A patch without a spine: noise, some of it smoothed, or a ramp."""
    image = rng.normal(size=shape)
    if rng.random() < 0.5:
        image = gaussian_filter(image, rng.uniform(0.5, 4))
    if rng.random() < 0.3:
        image = image + rng.uniform(1, 5) * np.indices(shape)[rng.integers(3)] / max(shape)
    return normalise(image.astype(np.float32)).astype(np.float16)


@cache
def painted(seed: int) -> tuple[Any, Any]:
    """Normalised image and labels of a phantom, at least as large as a patch."""
    phantom = make_phantom(seed, vertebrae=2 + seed % 3, spacing_mm=SPACING_MM, pathology=0.0)
    image, labels = normalise(phantom.scan.image), phantom.semantic.labels
    width = [(0, max(0, m - n)) for n, m in zip(image.shape, SmallSemanticTask.patch_size, strict=True)]
    return np.pad(image, width, mode="edge"), np.pad(labels, width, mode="edge")


def phantoms() -> list[Volume]:
    """Healthy spines of two to four vertebrae at 2 mm."""
    volumes = []
    for seed in range(FIRST_SEED, FIRST_SEED + VOLUMES):
        rng = np.random.default_rng(seed)
        spec = spec_for_vertebrae(rng, 2 + seed % 3, SPACING_MM)
        volumes.append(volume_of(build_anatomy(rng, spec), seed=seed))
    return [volume for volume in volumes if volume.centres_vox]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=3.0, help="of processor time for each of the two networks")
    parser.add_argument("--only", choices=[kind.value for kind in Kind], help="one of the two networks")
    parser.add_argument("--from", dest="first", type=Path, help="folder of small models to take the first weights from")
    args = parser.parse_args()
    volumes = phantoms()
    for task in (task for task in (SmallSemanticTask(), SmallInstanceTask()) if args.only in (None, task.kind.value)):
        with tempfile.TemporaryDirectory() as scratch:
            config = TrainConfig(
                kind=Kind(task.kind),
                out=Path(scratch),
                hours=args.minutes / 60,
                command=shlex.join(["python", "tests/small_models.py", *sys.argv[1:]]),
                compute=ComputeConfig(Device.CPU, Precision.FP32, 1),
            )
            trainer = SmallTrainer(task, volumes, config, args.first and args.first / task.kind.value)
            trainer.fit()
            for file in trainer.model_folder.iterdir():
                place = args.folder / task.kind.value / file.name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(file.read_bytes())


if __name__ == "__main__":
    main()
