"""Samples, task, network and engine of the labeling network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spineps.config import ComputeConfig, Device, Precision
from spineps.inference.load import load_levels
from spineps.labeling.cutouts import LEVELS
from spineps.labels import LEVEL_NAMES, Structure
from spineps.networks.classes import LEVEL_CHANNELS, level_channels
from spineps.networks.levels import REGIONS, LevelNet
from spineps.phantom import anatomy
from spineps.phantom.anatomy import AnatomySpec, build_anatomy
from spineps.phantom.morphometry import L6_INSTANCE, Variant
from spineps.training.labeling_samples import (
    LABELING_PATCH,
    LABELING_SPACING_MM,
    VARIANT_SHARES,
    VERTEBRAE,
    build_labeling_volume,
    draw_labeling_sample,
)
from spineps.training.pool import Volume, volume_of
from spineps.training.tasks import LabelingTask
from spineps.zoo.card import Kind
from spineps.zoo.export import export_model

SEED_WITH_L6 = 1_900_033


@pytest.fixture(scope="module")
def volume() -> Volume:
    spec = AnatomySpec((90, 120, 30), (2.0, 2.0, 2.5), centre_level=19.0)
    return volume_of(build_anatomy(np.random.default_rng(5), spec), seed=1_000_005)


def test_a_sample_names_vertebrae_of_one_phantom(volume: Volume) -> None:
    cutouts, targets = draw_labeling_sample(volume, np.random.default_rng(1), corrupt=False)
    assert 1 < len(cutouts) <= VERTEBRAE
    assert cutouts.shape[1:] == (2, *LABELING_PATCH)
    assert targets.shape == (len(cutouts), 3)
    assert len(set(targets[:, 0].tolist())) == len(targets), "every vertebra once"
    names = {LEVEL_NAMES[number] for number in volume.order}
    for (image, labels), (level, region, whole) in zip(cutouts, targets, strict=True):
        assert LEVELS[level] in names
        assert REGIONS[region][0] == LEVELS[level][0].lower()
        assert whole in (0, 1)
        assert {int(v) for v in np.unique(labels)} <= {int(s) for s in Structure}
        middle = labels[14:30, 16:32, 12:28]
        assert (middle == Structure.CORPUS).any()
        assert image.astype(np.float32).std() > 0


def test_the_same_number_gives_the_same_sample(volume: Volume) -> None:
    one, other = (draw_labeling_sample(volume, np.random.default_rng(7)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_channels_of_the_network() -> None:
    labels = np.array([[[0, 49, 50, 43, 44, 53, 100, 61, 60, 26]]], np.uint8)
    channels = level_channels(np.full(labels.shape, 0.5, np.float32), labels)
    assert channels.shape == (LEVEL_CHANNELS, *labels.shape)
    assert (channels[0] == 0.5).all()
    assert channels[1:].sum(axis=0)[0, 0].tolist() == [0, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    assert np.array_equal(channels[:, 0, 0, 5], channels[:, 0, 0, 6])


def test_the_task_learns_one_sample_by_heart(volume: Volume) -> None:
    torch.manual_seed(0)
    task = LabelingTask()
    inputs, target = task.batch(draw_labeling_sample(volume, np.random.default_rng(2)))
    inputs = inputs[:, :, 8:40, 8:40, 12:28].contiguous()
    network = LevelNet(len(LEVELS), LEVEL_CHANNELS, widths=(8, 16, 16, 16))
    optimizer = torch.optim.AdamW(network.parameters(), 4e-3)
    losses = []
    for _ in range(16):
        loss = task.loss(network(inputs), target)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    hits, sizes = task.counts(network(inputs), target)
    assert hits.sum() == len(target)
    assert sizes.sum() == 2 * len(target)


def test_an_exported_network_is_small_and_gives_probabilities(tmp_path, volume: Volume) -> None:
    task = LabelingTask()
    card = export_model(tmp_path / "model", task.network(), task.card_facts())
    assert card.kind is Kind.LABELING
    assert [LEVEL_NAMES[number] for number in card.labels] == list(LEVELS)
    assert sum(path.stat().st_size for path in (tmp_path / "model").iterdir()) < 5_000_000
    engine = load_levels(ComputeConfig(Device.CPU, Precision.FP32, 1), tmp_path / "model")
    cutouts, _ = draw_labeling_sample(volume, np.random.default_rng(3))
    images, labels = cutouts[:, 0].astype(np.float32), cutouts[:, 1].astype(np.uint8)
    opinions = engine(images, labels)
    assert opinions.shape == (len(cutouts), len(LEVELS))
    assert np.allclose(np.exp(opinions).sum(axis=1), 1, atol=1e-4)
    assert np.allclose(engine(images[:1], labels[:1])[0], opinions[0], atol=1e-5)
    assert engine.patch_size == LABELING_PATCH


def test_rare_levels_do_not_look_improbable() -> None:
    """The same logits cost a rare level more in training, so that its logit rises until it says a likelihood."""
    task = LabelingTask()
    logits = torch.zeros(1, len(LEVELS) + len(REGIONS) + 2)
    common, rare = (torch.tensor([[LEVELS.index(name), 2, 1]]) for name in ("L3", "L6"))
    for _ in range(50):
        task.loss(logits, common)
    assert task.loss(logits, rare) > task.loss(logits, common)


def test_phantoms_for_labeling_show_variants_often() -> None:
    assert sum(VARIANT_SHARES.values()) == pytest.approx(1)
    assert VARIANT_SHARES[Variant.L6] > anatomy.VARIANT_SHARES[Variant.L6]
    volume = build_labeling_volume(SEED_WITH_L6)
    assert volume.spacing_mm == LABELING_SPACING_MM
    assert volume.order[-1] == L6_INSTANCE
