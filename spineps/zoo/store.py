"""Model folders: a ``card.json`` and a ``weights.safetensors``, read with their hash, names and values checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from spineps.errors import ErrorCode, ModelError
from spineps.zoo.card import Kind, ModelCard
from spineps.zoo.places import CARD, bundled_folder

if TYPE_CHECKING:
    import torch

    from spineps.networks.bundled import BundledNetwork
    from spineps.networks.published import PublishedNetwork

__all__ = [
    "CARD",
    "WEIGHTS",
    "AnyModel",
    "Model",
    "StoredModel",
    "bundled_folder",
    "is_bundled",
    "load_model",
    "open_model",
    "read_card",
]

WEIGHTS: Final = "weights.safetensors"
_REINSTALL: Final = "Reinstall spineps, or give another model folder."


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A network with its card, in fp32 on the CPU, ready for an engine."""

    card: ModelCard
    network: BundledNetwork | PublishedNetwork


@dataclass(frozen=True, eq=False)
class StoredModel:
    """A model folder whose weights have the hash on its card; its network is made where it is asked for.

    Parameters
    ----------
    card : ModelCard
        Of the model.
    folder : Path
        Where it lies.
    """

    card: ModelCard
    folder: Path

    @cached_property
    def network(self) -> BundledNetwork | PublishedNetwork:
        """The network in fp32 on the CPU; errors are those of :func:`load_model`."""
        return load_model(self.folder).network


AnyModel = Model | StoredModel


def is_bundled(kind: Kind) -> bool:
    """Tell whether a model of that kind travels with the package."""
    try:
        return bundled_folder(kind).is_dir()
    except ModelError:
        return False


def read_card(folder: Path) -> ModelCard:
    """Read and validate the card of a model folder.

    Raises
    ------
    ModelError
        MODEL_MISSING without a card, MODEL_CORRUPT where it is not one.
    """
    try:
        data = (folder / CARD).read_bytes()
    except OSError as error:
        raise ModelError(
            ErrorCode.MODEL_MISSING, f"the model folder {folder.name} has no readable {CARD}.", remedy=_REINSTALL
        ) from error
    try:
        return ModelCard.model_validate(json.loads(data))
    except (ValueError, RecursionError) as error:  # no text, no JSON, no card; or nested deeper than any card
        raise ModelError(
            ErrorCode.MODEL_CORRUPT, f"the card of model {folder.name} is not a valid model card.", remedy=_REINSTALL
        ) from error


def open_model(folder: Path) -> StoredModel:
    """Open a model folder: its card is valid and its weights have the recorded hash.

    Raises
    ------
    ModelError
        MODEL_MISSING or MODEL_CORRUPT.
    """
    card = read_card(folder)
    _read_bytes(card, folder)
    return StoredModel(card, folder)


def load_model(folder: Path) -> Model:
    """Load a model folder: weights of the recorded hash, exactly the network's tensors, finite, and golden.

    Raises
    ------
    ModelError
        MODEL_MISSING or MODEL_CORRUPT.
    """
    from spineps.zoo.golden import holds

    card = read_card(folder)
    network = _network(card, _read_weights(card, folder))
    if not holds(network, network.input_channels, card.golden):
        raise _corrupt(card, "its output for the golden input is not the one on its card")
    return Model(card, network)


def _read_weights(card: ModelCard, folder: Path) -> dict[str, torch.Tensor]:
    """Tensors of the recorded hash, in fp32 and finite."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = _read_bytes(card, folder)
    try:
        tensors = {name: tensor.float() for name, tensor in load(data).items()}
    except (SafetensorError, ValueError, KeyError) as error:
        raise _corrupt(card, "its weights are no safetensors") from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise _corrupt(card, "its weights hold values that are not finite")
    return tensors


def _read_bytes(card: ModelCard, folder: Path) -> bytes:
    """The weights' file, of the recorded hash."""
    try:
        data = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise ModelError(ErrorCode.MODEL_MISSING, f"model {card.name} has no readable {WEIGHTS}.", remedy=_REINSTALL) from error
    if hashlib.sha256(data).hexdigest() != card.weights_sha256:
        raise _corrupt(card, "its weights do not have the hash on its card")
    return data


def _network(card: ModelCard, tensors: dict[str, torch.Tensor]) -> BundledNetwork | PublishedNetwork:
    """The network that a card names, with exactly the tensors that it has."""
    from spineps.networks.tensors import tensor_names

    network_class = _network_class(card)
    if network_class is None:
        raise _corrupt(card, f"its network {card.network!r} is not one that this version knows")
    try:
        network = network_class(**card.network_settings)
        if tensor_names(network) != set(tensors):
            raise _corrupt(card, "its weights are not those of its network")
        network.load_state_dict(tensors, strict=False)  # nnU-Net's modules know a tensor by several names; it is stored once
    except (RuntimeError, TypeError, ValueError, KeyError, AttributeError, AssertionError) as error:
        raise _corrupt(card, "its weights do not fit its network") from error
    network.eval()
    return network


def _network_class(card: ModelCard) -> Callable[..., BundledNetwork | PublishedNetwork] | None:
    from spineps.networks.bundled import BUNDLED_NETWORKS

    if card.elsewhere is None:
        return BUNDLED_NETWORKS.get(card.network)
    from spineps.networks.published import PUBLISHED_NETWORKS

    return PUBLISHED_NETWORKS.get(card.network)


def _corrupt(card: ModelCard, why: str) -> ModelError:
    return ModelError(ErrorCode.MODEL_CORRUPT, f"model {card.name} is damaged: {why}.", remedy=_REINSTALL)
