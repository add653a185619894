"""The training loop: streams samples, averages weights, saves often, exports whenever the model got better."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from spineps.config import ComputeConfig, EngineName
from spineps.errors import ErrorCode, ModelError
from spineps.inference.machine import choose_engine, thread_count
from spineps.io import atomic
from spineps.training.checkpoint import read_checkpoint, write_checkpoint
from spineps.training.source import SampleStream, Source
from spineps.training.stream import load_volume
from spineps.training.tasks import TASKS, InstanceTask, Sample, Task
from spineps.zoo.card import Kind, ModelCard
from spineps.zoo.export import export_model
from spineps.zoo.store import load_model, open_model, read_card

VALIDATION_SEED: Final = 50_000
"""First seed of the held-out phantoms; training seeds begin far above."""
VALIDATION_VOLUMES: Final = 6
VALIDATION_SAMPLES: Final = 4
"""Samples drawn from each held-out phantom."""
WARM_UP_STEPS: Final = 60
FINAL_RATE: Final = 0.02
"""The learning rate ends at this share of its peak."""
AVERAGE_DECAY: Final = 0.998
GRADIENT_NORM: Final = 3.0

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Settings of a training.

    Parameters
    ----------
    kind : Kind
        Which network.
    out : Path
        Folder for the pool of phantoms, checkpoint, log and ``model/``.
    hours : float
        Time to train in all, resumed parts included; the learning rate follows a cosine over it.
    resume : bool
        Go on from the checkpoint in ``out``.
    warm_start : Path or None
        Model folder whose weights are taken to begin with.
    half_share : float
        First share of the time spent at half the in-plane resolution (semantic network only).
    source : Source or None
        Where samples come from; phantoms by default.
    on_predictions : Path or None
        Semantic model whose output on phantoms an instance network learns from (:mod:`spineps.training.predictions`).
    """

    kind: Kind
    out: Path
    hours: float
    resume: bool = False
    warm_start: Path | None = None
    half_share: float = 0.0
    seed: int = 0
    workers: int = 1
    pool: Path | None = None
    rate: float | None = None
    command: str = ""
    report_seconds: float = 60.0
    save_seconds: float = 240.0
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    source: Source | None = None
    on_predictions: Path | None = None


def train(config: TrainConfig, report: Report) -> ModelCard:
    """Train a network for a given time.

    Returns
    -------
    ModelCard
        Of the model in ``config.out / "model"``: the best averaged weights by Dice on held-out phantoms, or on held-out
        patients of one's own data, where the model that a training starts from is the first to beat.

    Raises
    ------
    ModelError
        Where the checkpoint or the model to start from does not fit.
    """
    config.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, report)
    stream = trainer.source.stream(trainer.stream_state)
    try:
        if config.source is not None and trainer.step == 0:
            trainer.export_if_better(stream.seeds())
        trainer.run(stream)
    finally:
        stream.close()
    return read_card(trainer.model_folder)


_OWN_FACTS: Final = ("lineage", "validation_dice", "validation_seeds", "warm_start")
"""What a card says of the last training only."""


class PhantomSource(Source):
    """Samples from phantoms that worker processes make."""

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self.task = InstanceTask(config.on_predictions) if config.on_predictions else TASKS[config.kind]()

    def stream(self, state: dict[str, Any] | None) -> SampleStream:
        """Start the worker processes."""
        config = self._config
        return self.task.stream(config.pool or config.out / "pool", seed=config.seed, workers=config.workers, state=state)

    def validation(self) -> list[Sample]:
        """Samples of phantoms of held-out seeds."""
        paths = self.task.phantoms(self._config.out / "validation", VALIDATION_SEED, VALIDATION_VOLUMES)
        rng = np.random.default_rng(VALIDATION_SEED)
        volumes = [load_volume(path) for path in paths]
        return [self.task.draw(volume, rng) for volume in volumes for _ in range(VALIDATION_SAMPLES)]

    def origin(self, seeds: Sequence[int]) -> dict[str, Any]:
        """For the card."""
        seen = self._config.on_predictions
        return {
            **({"predictions_of": open_model(seen).card.weights_sha256} if seen else {}),
            "data": "digital phantoms made by spineps.phantom; no patient image",
            "phantom_seeds": list(seeds),
            "validation_seeds": [VALIDATION_SEED, VALIDATION_SEED + VALIDATION_VOLUMES - 1],
        }


class Trainer:
    """State of one training: network, averaged network, optimizer, step and seconds."""

    def __init__(self, config: TrainConfig, report: Report) -> None:
        self.config, self.report = config, report
        self.source: Source = config.source or PhantomSource(config)
        self.task: Task = self.source.task
        self.engine = choose_engine(replace(config.compute, engine=EngineName.TORCH))
        threads = config.compute.threads or max(1, thread_count(config.compute) - config.workers)
        torch.set_num_threads(threads)
        torch.manual_seed(config.seed)
        self.network = self.task.network()
        self.lineage: list[dict[str, Any]] = []
        self.started_from = config.warm_start.name if config.warm_start else None
        if config.warm_start is not None:
            self._take_weights(config.warm_start)
        self.network.to(self.engine.device).to(memory_format=torch.channels_last_3d)
        self.average = copy.deepcopy(self.network)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), config.rate or self.task.learning_rate, weight_decay=1e-4)
        self.step, self.seconds, self.best = 0, 0.0, -1.0
        self.first_step = 0
        self.stream_state: dict[str, Any] | None = None
        self.validation = self._validation_samples()
        if config.resume and self.checkpoint.is_file():
            self._resume()

    @property
    def checkpoint(self) -> Path:
        """The checkpoint file."""
        return self.config.out / "checkpoint.safetensors"

    @property
    def model_folder(self) -> Path:
        """Where the best model goes."""
        return self.config.out / "model"

    def run(self, stream: SampleStream) -> None:
        """Train until the time is used up."""
        began = time.monotonic() - self.seconds
        reported = saved = self.seconds
        losses: list[float] = []
        while self.seconds < self.config.hours * 3600:
            losses.append(self.train_step(stream.next()))
            self.seconds = time.monotonic() - began
            if self.seconds - reported >= self.config.report_seconds:
                self._progress(losses, self.seconds - reported, stream)
                reported, losses = self.seconds, []
            if self.seconds - saved >= self.config.save_seconds:
                self.save(stream)
                saved = self.seconds
        self.save(stream)

    def train_step(self, sample: Sample) -> float:
        """Learn from one sample; returns its loss."""
        done = self.seconds / (self.config.hours * 3600)
        for group in self.optimizer.param_groups:
            group["lr"] = (self.config.rate or self.task.learning_rate) * self._rate(done)
        image, target = (t.to(self.engine.device) for t in self.task.batch(sample))
        image = image.contiguous(memory_format=torch.channels_last_3d)
        self.network.train()
        with torch.autocast(self.engine.device.type, torch.bfloat16, enabled=self.engine.dtype == torch.bfloat16):
            if done < self.config.half_share:
                logits, target = self.task.loss_at_half(self.network, image, target, self.step % 2)
            else:
                logits = self.network(image)
        loss = self.task.loss(logits, target)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_NORM)
        self.optimizer.step()
        self.step += 1
        self._average_weights()
        return float(loss.detach())

    @torch.inference_mode()
    def validate(self) -> tuple[float, ...]:
        """Dice of each class but the background over the held-out samples, of the averaged network; NaN where absent."""
        counts: torch.Tensor | None = None
        for sample in self.validation:
            image, target = (t.to(self.engine.device) for t in self.task.batch(sample))
            with torch.autocast(self.engine.device.type, torch.bfloat16, enabled=self.engine.dtype == torch.bfloat16):
                logits = self.average(image.contiguous(memory_format=torch.channels_last_3d))
            found = self.task.counts(logits.float(), target)
            counts = found if counts is None else counts + found
        if counts is None:
            return ()
        return tuple((2 * counts[0, 1:] / counts[1, 1:]).tolist())

    def save(self, stream: SampleStream) -> None:
        """Validate, export the model if it got better, and write the checkpoint, which knows the best so far."""
        self.export_if_better(stream.seeds())
        facts: dict[str, Any] = {"step": self.step, "seconds": self.seconds, "best": self.best}
        facts |= {"stream": stream.state(), "lineage": self.lineage, "warm_start": self.started_from}
        write_checkpoint(self.checkpoint, network=self.network, average=self.average, optimizer=self.optimizer, facts=facts)

    def export_if_better(self, seeds: Sequence[int]) -> None:
        """Export the averaged network to ``model/`` if its validation Dice is the best so far."""
        dice = self.validate()
        mean = float(np.nanmean(dice)) if dice else 0.0
        self.report(f"validation Dice {mean:.4f} (best {max(self.best, mean):.4f}) at step {self.step}")
        self._log({"step": self.step, "seconds": round(self.seconds), "dice": mean, "classes": [round(d, 4) for d in dice]})
        if mean > self.best:
            self.best = mean
            network = copy.deepcopy(self.average).to("cpu")
            export_model(self.model_folder, network, self.task.card_facts() | {"training": self._origin(dice, seeds)})

    def _take_weights(self, folder: Path) -> None:
        """The first weights from a model folder.

        Raises
        ------
        ModelError
            MODEL_CORRUPT where they are those of another network.
        """
        model = load_model(folder)
        try:
            self.network.load_state_dict(model.network.state_dict())
        except RuntimeError as error:
            raise ModelError(
                ErrorCode.MODEL_CORRUPT,
                f"model {model.card.name} ({model.card.network}) does not fit the network that is trained.",
                remedy="Give --warm-start a model of the same kind that spineps train made.",
            ) from error
        self.lineage = lineage_of(model.card)

    def _resume(self) -> None:
        facts = read_checkpoint(self.checkpoint, network=self.network, average=self.average, optimizer=self.optimizer)
        self.step, self.seconds, self.best = int(facts["step"]), float(facts["seconds"]), float(facts["best"])
        self.first_step, self.stream_state = self.step, facts["stream"]
        self.lineage = facts.get("lineage", self.lineage)
        self.started_from = facts.get("warm_start", self.started_from)
        self.report(f"resumed at step {self.step}, {self.seconds / 3600:.2f} h")

    def _validation_samples(self) -> list[Sample]:
        return self.source.validation()

    def _rate(self, done: float) -> float:
        """Warm-up, then half a cosine from 1 to FINAL_RATE."""
        warm_up = min(1.0, (self.step - self.first_step + 1) / WARM_UP_STEPS)
        return warm_up * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))

    @torch.no_grad()
    def _average_weights(self) -> None:
        decay = min(AVERAGE_DECAY, (self.step + 1) / (self.step + 20))
        for mean, new in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(new, 1 - decay)

    def _progress(self, losses: list[float], seconds: float, stream: SampleStream) -> None:
        rate = len(losses) / seconds
        self.report(
            f"{self.seconds / 3600:.2f} h  step {self.step}  {rate:.2f} it/s  loss {np.mean(losses):.4f}  "
            f"fresh samples {stream.fresh}"
        )

    def _log(self, facts: dict[str, Any]) -> None:
        path = self.config.out / "log.jsonl"
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        atomic.write_text(path, before + json.dumps(facts) + "\n")

    def _origin(self, dice: tuple[float, ...], seeds: Sequence[int]) -> dict[str, Any]:
        """What the card says of the making of the model."""
        return {
            "command": self.config.command,
            "commit": source_commit(),
            **self.source.origin(seeds),
            "hours": round(self.seconds / 3600, 3),
            "steps": self.step,
            "engine": self.engine.name,
            "warm_start": self.started_from,
            "validation_dice": {
                self.source.name_of(label): round(d, 4)
                for label, d in zip(self.task.scored(), dice, strict=True)
                if not math.isnan(d)
            },
            "lineage": self.lineage,
        }


def lineage_of(card: ModelCard) -> list[dict[str, Any]]:
    """The trainings that a model comes from, the first of them first, in the words of its card."""
    return [*card.training.get("lineage", []), {k: v for k, v in card.training.items() if k not in _OWN_FACTS}]


def source_commit() -> str | None:
    """Commit of the checkout that this package runs from; None where it is installed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    found = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or None
