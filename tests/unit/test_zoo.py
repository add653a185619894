"""Model folders: written, read back, and refused when damaged."""

from __future__ import annotations

import json

import pytest
import torch

from spineps.config import ComputeConfig
from spineps.errors import ErrorCode, ModelError
from spineps.inference.load import load_instance, load_semantic
from spineps.networks.unet import InstanceUNet
from spineps.zoo.card import Kind
from spineps.zoo.export import export_model
from spineps.zoo.store import bundled_folder, load_model, read_card

FACTS = {
    "name": "tiny",
    "kind": "instance",
    "version": "1",
    "network": "InstanceUNet",
    "network_settings": {"channels": 13, "widths": [8, 8, 16]},
    "spacing_mm": (2, 2, 2),
    "patch_size": (16, 24, 8),
    "labels": (0, 1, 2, 3),
}


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    export_model(tmp_path / "tiny", InstanceUNet(13, (8, 8, 16)), FACTS)
    return tmp_path / "tiny"


def _edit(folder, **changes):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | changes))


def test_a_model_comes_back_as_it_was_stored(folder):
    model = load_model(folder)
    assert model.card == read_card(folder)
    assert not model.network.training
    again = load_model(folder).network.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.network.state_dict().items())


def test_exporting_twice_gives_the_same_bytes(folder, tmp_path):
    network = load_model(folder).network
    export_model(tmp_path / "again", network, FACTS)
    for name in ("card.json", "weights.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def _refused(folder, code):
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert caught.value.code is code


def test_missing_weights_or_card(folder):
    (folder / "weights.safetensors").unlink()
    _refused(folder, ErrorCode.MODEL_MISSING)
    (folder / "card.json").unlink()
    _refused(folder, ErrorCode.MODEL_MISSING)


def test_one_flipped_bit_in_the_weights(folder):
    path = folder / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(bytes(data))
    _refused(folder, ErrorCode.MODEL_CORRUPT)


@pytest.mark.parametrize(
    "changes",
    [
        {"network": "os.system"},
        {"network_settings": {"channels": 13, "widths": [8, 16, 16]}},
        {"network_settings": {"hallo": 1}},
        {"labels": "abc"},
        {"unknown": 1},
        {"golden": {"shape": [32, 32, 16], "logits": [9, 9, 9, 9]}},
    ],
)
def test_a_card_that_does_not_fit(folder, changes):
    _edit(folder, **changes)
    _refused(folder, ErrorCode.MODEL_CORRUPT)


def test_weights_that_are_not_finite(tmp_path):
    network = InstanceUNet(13, (8, 8, 16))
    with torch.no_grad():
        network.head.bias[0] = float("nan")
    export_model(tmp_path / "nan", network, FACTS)
    _refused(tmp_path / "nan", ErrorCode.MODEL_CORRUPT)


def test_a_model_of_the_other_phase_is_refused(folder):
    assert load_instance(ComputeConfig(threads=1), folder).cutout_size == (16, 24, 8)
    with pytest.raises(ModelError, match="not of the semantic phase"):
        load_semantic(ComputeConfig(threads=1), folder)


@pytest.mark.parametrize("kind", ["semantic", "instance"])
def test_a_bundled_card_says_what_it_was_trained_on_and_where_it_fails(kind: str):
    card = read_card(bundled_folder(Kind(kind)))
    assert "no patient image" in card.training["data"]
    assert card.training["lineage"]
    assert card.good_for
    assert card.fails_at
