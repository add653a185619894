"""Writing of model folders."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from spineps.io import atomic
from spineps.networks.bundled import BundledNetwork
from spineps.zoo.card import ModelCard
from spineps.zoo.golden import make_golden
from spineps.zoo.store import CARD, WEIGHTS


def export_model(folder: Path, network: BundledNetwork, facts: dict[str, Any]) -> ModelCard:
    """Write a network to a model folder: weights in bf16, and the card with their hash and golden vector.

    Parameters
    ----------
    folder : Path
        Made if it is not there; a model in it is replaced, the card last.
    network : Module
        Its weights are rounded to bf16 first, so that the golden vector is that of what is stored.
    facts : dict
        The fields of :class:`ModelCard` other than the hash and the golden vector.
    """
    rounded = {name: tensor.detach().to(torch.bfloat16).contiguous() for name, tensor in network.state_dict().items()}
    network.load_state_dict({name: tensor.float() for name, tensor in rounded.items()})
    network.eval()
    data = save(rounded)
    card = ModelCard(
        **facts, weights_sha256=hashlib.sha256(data).hexdigest(), golden=make_golden(network, network.input_channels)
    )
    write_model(folder, data, card)
    return card


def write_model(folder: Path, weights: bytes, card: ModelCard) -> None:
    """Write a model folder, the card last; the folder is made if it is not there, a model in it replaced.

    Parameters
    ----------
    weights : bytes
        In the form of safetensors, of the hash that the card names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(folder / WEIGHTS, weights)
    write_card(folder, card)


def write_card(folder: Path, card: ModelCard) -> None:
    """Write the card of a model folder."""
    atomic.write_text(folder / CARD, card.model_dump_json(indent=2) + "\n")
