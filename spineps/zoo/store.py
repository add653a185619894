"""Model folders: a ``card.json`` and a ``weights.safetensors``, read with their hash, names and values checked."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from spineps.errors import ErrorCode, ModelError
from spineps.zoo.card import Kind, ModelCard

if TYPE_CHECKING:
    from spineps.networks import BundledNetwork

CARD: Final = "card.json"
WEIGHTS: Final = "weights.safetensors"
_REINSTALL: Final = "Reinstall spineps, or give another model folder."


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A network with its card, in fp32 on the CPU, ready for an engine."""

    card: ModelCard
    network: BundledNetwork


def bundled_folder(kind: Kind) -> Path:
    """Folder of the model of that kind that travels with the package.

    Raises
    ------
    ModelError
        MODEL_MISSING where the installation lacks it.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "models" / kind.value, package.parent / "models" / kind.value):
        if (folder / CARD).is_file():
            return folder
    raise ModelError(
        ErrorCode.MODEL_MISSING, f"the bundled {kind.value} model is not in this installation.", remedy="Reinstall spineps."
    )


def read_card(folder: Path) -> ModelCard:
    """Read and validate the card of a model folder.

    Raises
    ------
    ModelError
        MODEL_MISSING without a card, MODEL_CORRUPT where it is not one.
    """
    try:
        text = (folder / CARD).read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(
            ErrorCode.MODEL_MISSING, f"the model folder {folder.name} has no readable {CARD}.", remedy=_REINSTALL
        ) from error
    try:
        return ModelCard.model_validate(json.loads(text))
    except (json.JSONDecodeError, ValidationError) as error:
        raise ModelError(
            ErrorCode.MODEL_CORRUPT, f"the card of model {folder.name} is not a valid model card.", remedy=_REINSTALL
        ) from error


def load_model(folder: Path) -> Model:
    """Load a model folder: weights of the recorded hash, exactly the network's tensors, finite, and golden.

    Raises
    ------
    ModelError
        MODEL_MISSING or MODEL_CORRUPT.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    from spineps.networks import BUNDLED_NETWORKS
    from spineps.zoo.golden import holds

    card = read_card(folder)
    try:
        data = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise ModelError(ErrorCode.MODEL_MISSING, f"model {card.name} has no readable {WEIGHTS}.", remedy=_REINSTALL) from error
    if hashlib.sha256(data).hexdigest() != card.weights_sha256:
        raise _corrupt(card, "its weights do not have the hash on its card")
    network_class = BUNDLED_NETWORKS.get(card.network)
    if network_class is None:
        raise _corrupt(card, f"its network {card.network!r} is not one of {sorted(BUNDLED_NETWORKS)}")
    try:
        network = network_class(**card.network_settings)
        tensors = {name: tensor.float() for name, tensor in load(data).items()}
        network.load_state_dict(tensors)
    except (SafetensorError, RuntimeError, TypeError) as error:
        raise _corrupt(card, "its weights do not fit its network") from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise _corrupt(card, "its weights hold values that are not finite")
    network.eval()
    if not holds(network, network.input_channels, card.golden):
        raise _corrupt(card, "its output for the golden input is not the one on its card")
    return Model(card, network)


def _corrupt(card: ModelCard, why: str) -> ModelError:
    return ModelError(ErrorCode.MODEL_CORRUPT, f"model {card.name} is damaged: {why}.", remedy=_REINSTALL)
