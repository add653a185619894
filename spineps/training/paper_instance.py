"""``--recipe paper`` for the instance model: the published network on cutouts of one's own masks (SPINEPS paper, appendix A).

Batch 2, learning rate 1e-4 that falls linearly each epoch to 1e-6, 300 epochs; scaling by up to a fifth, erosion, down- and
upsampling and a dropped label in one sample of ten each, a vertical crop in one of four, left and right exchanged in every
second. An epoch shows each vertebra once. The paper names no loss: cross-entropy and Dice, as everywhere here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from scipy import ndimage

from spineps.config import ComputeConfig
from spineps.errors import ErrorCode, InputError, UsageError
from spineps.geometry import PIR, Shape, Spacing
from spineps.inference.machine import choose_engine, thread_count
from spineps.labels import VERTEBRA, left_right_table, lookup
from spineps.networks.published.unet3d import Unet3D
from spineps.training.checkpoint import read_checkpoint, write_checkpoint
from spineps.training.instance_samples import instance_target, label_dropped, vertically_cropped
from spineps.training.losses import cross_entropy_and_dice, dice_counts
from spineps.training.own_cases import CaseFiles, read_case
from spineps.training.own_samples import OwnVolume, own_volume
from spineps.training.paper_dataset import PAPER_SPACING_MM
from spineps.training.placement import Placement, nearest_voxels, sample_grid
from spineps.zoo.card import Kind, ModelCard
from spineps.zoo.elsewhere import InstanceModel
from spineps.zoo.export import write_model
from spineps.zoo.golden import make_golden
from spineps.zoo.published.config import DEFAULT_MAPPING
from spineps.zoo.store import read_card

PAPER_CUTOUT: Final[Shape] = (248, 304, 64)
PAPER_EPOCHS: Final = 300
FIRST_RATE: Final = 1e-4
LAST_RATE: Final = 1e-6
BATCH: Final = 2
PUBLISHED_WIDTH: Final = 8
CHANNELS: Final = 10
"""One a class of the cutout (:data:`spineps.zoo.published.config.DEFAULT_MAPPING`), background included."""

_SELDOM: Final = 0.1
_VERTICAL_CROP: Final = 0.25
_SCALE: Final = 0.2
_LEAST_CORPUS_VOX: Final = 100
_LEAST_VERTEBRA_VOX: Final = 250
"""The published model's thresholds, in voxels of its grid."""
_IS_VERTEBRA: Final = lookup(VERTEBRA)

Report = Callable[[str], None]
Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class PaperInstance:
    """Settings of the recipe; the defaults are the paper's.

    Parameters
    ----------
    out : Path
        Folder for checkpoint, log and model.
    cutout, spacing_mm
        Along (P, I, R).
    width : int
        Channels of the network at full resolution.
    """

    out: Path
    epochs: int = PAPER_EPOCHS
    cutout: Shape = PAPER_CUTOUT
    spacing_mm: Spacing = PAPER_SPACING_MM
    width: int = PUBLISHED_WIDTH
    seed: int = 0
    compute: ComputeConfig = field(default_factory=ComputeConfig)


def rate_of(epoch: int, epochs: int) -> float:
    """Learning rate of an epoch, counted from 0: linear from :data:`FIRST_RATE` to :data:`LAST_RATE`."""
    return FIRST_RATE + (LAST_RATE - FIRST_RATE) * epoch / max(1, epochs - 1)


def train_paper_instance(
    training: Sequence[CaseFiles],
    validation: Sequence[CaseFiles],
    config: PaperInstance,
    report: Report,
    facts: dict[str, Any],
) -> ModelCard:
    """Train for all epochs, from the checkpoint on where there is one, and export the best network by validation Dice.

    Raises
    ------
    InputError
        Where a side of the split shows no vertebra.
    UsageError
        Where the folder holds a training with other settings.
    """
    engine = choose_engine(config.compute)
    torch.set_num_threads(config.compute.threads or thread_count(config.compute))
    torch.manual_seed(config.seed)
    network = Unet3D(config.width, CHANNELS).to(engine.device)
    optimizer = torch.optim.Adam(network.parameters(), FIRST_RATE)
    checkpoint = config.out / "checkpoint.safetensors"
    epoch, best = 0, -1.0
    if checkpoint.is_file():
        known = read_checkpoint(checkpoint, network=network, average=network, optimizer=optimizer)
        _require_same(known, config)
        epoch, best = int(known["epoch"]), float(known["best"])
    seen, held_out = _vertebrae(training, config), _vertebrae(validation, config)
    for now in range(epoch, config.epochs):
        for group in optimizer.param_groups:
            group["lr"] = rate_of(now, config.epochs)
        loss = _epoch(network, optimizer, seen, np.random.default_rng([config.seed, now]), config)
        dice = _validated(network, held_out, config)
        report(f"epoch {now + 1} of {config.epochs}: loss {loss:.4f}, validation Dice {dice:.4f}")
        if dice > best:
            best = dice
            _export(network, config, facts | {"epochs": now + 1, "validation_dice": round(dice, 4)})
        state = {"epoch": now + 1, "best": best, **_kept(config)}
        write_checkpoint(checkpoint, network=network, average=network, optimizer=optimizer, facts=state)
    return read_card(config.out / "model")


def _kept(config: PaperInstance) -> dict[str, Any]:
    """Settings that a training keeps to its end."""
    return {"cutout": list(config.cutout), "spacing_mm": list(config.spacing_mm), "seed": config.seed}


def _require_same(known: dict[str, Any], config: PaperInstance) -> None:
    other = [name for name, value in _kept(config).items() if known.get(name) != value]
    if other:
        raise UsageError(
            ErrorCode.USAGE,
            f"The folder holds a training with another setting of: {', '.join(other)}.",
            remedy="Give another --out folder, or the settings that it began with.",
        )


def paper_cutout(
    volume: OwnVolume, vertebra: int, config: PaperInstance, rng: np.random.Generator, *, augment: bool = True
) -> Pair:
    """Labels of a cutout around a vertebra and the target in it, with the paper's augmentations.

    Returns
    -------
    labels, target : ndarray of uint8, shape ``config.cutout``
        Semantic ids; 0 none, 1 above, 2 centre, 3 below.
    """
    masks = volume.masks
    scale = 1 + rng.uniform(-_SCALE, _SCALE) if augment and rng.random() < _SELDOM else 1.0
    mirrored = augment and bool(rng.random() < 0.5)
    matrix = np.diag([scale, scale, -scale if mirrored else scale])
    centre_mm = np.asarray(masks.centres_vox[vertebra]) * masks.spacing_mm
    grid = sample_grid(config.cutout, config.spacing_mm)
    index, outside = nearest_voxels(grid, Placement(centre_mm, matrix, mirrored), masks.shape, masks.spacing_mm)
    labels = np.where(outside, np.uint8(0), masks.semantic.reshape(-1)[index])
    target = instance_target(labels, masks.instance.reshape(-1)[index], masks.order, vertebra)
    if mirrored:
        labels = left_right_table()[labels]
    if not augment:
        return labels, target
    if rng.random() < _SELDOM:
        labels, target = _eroded(labels, target)
    if rng.random() < _SELDOM:
        labels, target = _down_and_up(labels, target, rng)
    if rng.random() < _SELDOM:
        labels, target = label_dropped(labels, target, rng)
    if rng.random() < _VERTICAL_CROP:
        labels, target = vertically_cropped(labels, target, rng)
    return labels, target


def _eroded(labels: NDArray[np.uint8], target: NDArray[np.uint8]) -> Pair:
    """A voxel of every vertebra's skin is missing."""
    bone = _IS_VERTEBRA[labels]
    skin = bone & ~ndimage.binary_erosion(bone)
    return np.where(skin, np.uint8(0), labels), np.where(skin, np.uint8(0), target)


def _down_and_up(labels: NDArray[np.uint8], target: NDArray[np.uint8], rng: np.random.Generator) -> Pair:
    """Both sampled at every second to third voxel and repeated."""
    step = rng.uniform(1.2, 3.0)
    indices = np.ix_(*[np.minimum((np.arange(n) // step * step + step / 2).astype(int), n - 1) for n in labels.shape])
    return labels[indices], target[indices]


def _vertebrae(files: Sequence[CaseFiles], config: PaperInstance) -> list[tuple[OwnVolume, int]]:
    found = []
    for number, one in enumerate(files):
        case = read_case(one)
        volume = own_volume(case, case.labelled(), config.spacing_mm, number)
        found += [(volume, vertebra) for vertebra in sorted(volume.masks.centres_vox)]
    if not found:
        raise InputError(
            ErrorCode.INPUT_LABELS,
            "No scan of one side of the split has both a semantic mask with vertebral bodies (49) and an instance mask.",
            remedy="Give such masks, or more patients.",
        )
    return found


def _encoded(pairs: Sequence[Pair], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """One-hot classes of the cutouts, shape (N, 10, P, I, R), and targets."""
    classes = torch.from_numpy(np.stack([_CLASSES[labels] for labels, _ in pairs]).astype(np.int64))
    one_hot = torch.nn.functional.one_hot(classes, CHANNELS).movedim(-1, 1).float()
    return one_hot.to(device), torch.from_numpy(np.stack([target for _, target in pairs]).astype(np.int64)).to(device)


def _epoch(
    network: Unet3D,
    optimizer: torch.optim.Optimizer,
    seen: Sequence[tuple[OwnVolume, int]],
    rng: np.random.Generator,
    config: PaperInstance,
) -> float:
    """Every vertebra once; the mean loss."""
    network.train()
    order, losses = rng.permutation(len(seen)), []
    device = next(network.parameters()).device
    for first in range(0, len(order), BATCH):
        pairs = [paper_cutout(*seen[int(k)], config, rng) for k in order[first : first + BATCH]]
        cutouts, targets = _encoded(pairs, device)
        loss = cross_entropy_and_dice(network(cutouts), targets)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses))


@torch.inference_mode()
def _validated(network: Unet3D, held_out: Sequence[tuple[OwnVolume, int]], config: PaperInstance) -> float:
    """Mean Dice of above, centre and below over the held-out vertebrae, as they are."""
    network.eval()
    device = next(network.parameters()).device
    counts = torch.zeros(2, 4, dtype=torch.float64)
    for one in held_out:
        cutouts, targets = _encoded([paper_cutout(*one, config, np.random.default_rng(0), augment=False)], device)
        counts += dice_counts(network(cutouts), targets)
    return float(np.nanmean((2 * counts[0, 1:] / counts[1, 1:]).numpy()))


def _export(network: Unet3D, config: PaperInstance, training: dict[str, Any]) -> None:
    """A model folder that runs as the published instance model does."""
    plain = Unet3D(config.width, CHANNELS)
    plain.load_state_dict({name: tensor.detach().cpu().float() for name, tensor in network.state_dict().items()})
    plain.eval()
    data = save({name: tensor.contiguous() for name, tensor in plain.state_dict().items()})
    digest = hashlib.sha256(data).hexdigest()
    voxel = float(np.prod(config.spacing_mm))
    card = ModelCard(
        name="spineps-instance-paper-own",
        kind=Kind.INSTANCE,
        version="1",
        network="Unet3D",
        network_settings={"width": config.width, "channels": CHANNELS},
        spacing_mm=config.spacing_mm,
        patch_size=config.cutout,
        labels=(0, 1, 2, 3),
        weights_sha256=digest,
        golden=make_golden(plain, CHANNELS, plain.golden_shape),
        training=training,
        elsewhere=InstanceModel(
            orientation=PIR,
            zoom_low=config.spacing_mm,
            zoom_high=config.spacing_mm,
            source_sha256=digest,
            mapping=dict(DEFAULT_MAPPING),
            least_corpus_mm3=_LEAST_CORPUS_VOX * voxel,
            least_vertebra_mm3=_LEAST_VERTEBRA_VOX * voxel,
        ),
    )
    write_model(config.out / "model", data, card)


def _classes() -> NDArray[np.uint8]:
    table = np.zeros(256, np.uint8)
    for ours, theirs in DEFAULT_MAPPING.items():
        table[ours] = theirs
    return table


_CLASSES: Final = _classes()
