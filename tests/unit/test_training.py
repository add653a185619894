"""Losses and checkpoints."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import torch

from spineps.config import ComputeConfig
from spineps.errors import ModelError
from spineps.networks.unet import InstanceUNet
from spineps.training import loop
from spineps.training.checkpoint import read_checkpoint, write_checkpoint
from spineps.training.loop import TrainConfig, train
from spineps.training.losses import IGNORE, cross_entropy_and_dice, dice_counts
from spineps.zoo.card import Kind
from spineps.zoo.store import load_model


def test_the_loss_falls_towards_the_truth_and_ignores_what_it_must():
    torch.manual_seed(0)
    target = torch.randint(0, 3, (1, 8, 8, 8))
    target[:, :2] = IGNORE
    truth = torch.nn.functional.one_hot(torch.where(target == IGNORE, 0, target), 3).movedim(-1, 1).float()
    right, wrong = cross_entropy_and_dice(20 * truth, target), cross_entropy_and_dice(-20 * truth, target)
    assert right < 0.1 < wrong
    changed = 20 * truth.clone()
    changed[:, :, :2] = torch.randn(1, 3, 2, 8, 8)
    torch.testing.assert_close(cross_entropy_and_dice(changed, target), right)


def test_a_patch_of_background_alone_has_a_finite_loss():
    loss = cross_entropy_and_dice(torch.zeros(1, 3, 4, 4, 4), torch.zeros(1, 4, 4, 4, dtype=torch.int64))
    assert torch.isfinite(loss)


def test_dice_counts_give_dice():
    target = torch.tensor([0, 1, 1, 2]).reshape(1, 4, 1, 1)
    logits = torch.nn.functional.one_hot(torch.tensor([0, 1, 2, 2]), 3).reshape(1, 4, 1, 1, 3).movedim(-1, 1).float()
    both, sizes = dice_counts(logits, target)
    assert (2 * both / sizes).tolist() == [1.0, pytest.approx(2 / 3), pytest.approx(2 / 3)]


def _steps(network, optimizer, count):
    for _ in range(count):
        x = torch.randn(1, 13, 8, 8, 8)
        network(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_a_resumed_training_goes_on_as_if_it_had_not_stopped(tmp_path):
    torch.manual_seed(0)
    network = InstanceUNet(13, (4, 4, 8))
    average = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    _steps(network, optimizer, 3)
    path = tmp_path / "checkpoint.safetensors"
    write_checkpoint(path, network=network, average=average, optimizer=optimizer, facts={"step": 3})
    _steps(network, optimizer, 2)

    torch.manual_seed(99)
    again = InstanceUNet(13, (4, 4, 8))
    again_average = copy.deepcopy(again)
    again_optimizer = torch.optim.AdamW(again.parameters(), 1e-3)
    facts = read_checkpoint(path, network=again, average=again_average, optimizer=again_optimizer)
    _steps(again, again_optimizer, 2)
    assert facts == {"step": 3}
    for a, b in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(average.parameters(), again_average.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
def test_a_damaged_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(content)
    network = InstanceUNet(13, (4, 4, 8))
    with pytest.raises(ModelError, match="not a checkpoint"):
        read_checkpoint(
            path, network=network, average=copy.deepcopy(network), optimizer=torch.optim.AdamW(network.parameters())
        )


def test_a_training_ends_with_a_model_and_one_resumed_after_its_end_still_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "VALIDATION_VOLUMES", 1)
    config = TrainConfig(Kind.INSTANCE, tmp_path, hours=1 / 3600, compute=ComputeConfig(threads=1))
    lines = []
    card = train(config, lines.append)
    again = train(replace(config, resume=True), lines.append)
    assert card == again
    assert card.training["steps"] >= 1
    assert load_model(tmp_path / "model").card == card
    assert any(line.startswith("resumed at step") for line in lines)
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert entries[0]["dice"] == entries[-1]["dice"]


def test_a_card_names_the_trainings_that_the_weights_come_from(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "VALIDATION_VOLUMES", 1)
    one = ComputeConfig(threads=1)
    config = TrainConfig(Kind.INSTANCE, tmp_path / "a", hours=1 / 3600, compute=one, pool=tmp_path / "pool")
    first = train(replace(config, command="first"), str)
    second = train(replace(config, out=tmp_path / "b", warm_start=tmp_path / "a" / "model"), str)
    again = train(replace(config, out=tmp_path / "b", resume=True, hours=1.5 / 3600), str)
    assert first.training["lineage"] == []
    for card in (second, again):
        assert [step["command"] for step in card.training["lineage"]] == ["first"]
        assert card.training["warm_start"] == "model"
