"""Predictors from model folders."""

from __future__ import annotations

from pathlib import Path

from spineps.config import ComputeConfig
from spineps.errors import ErrorCode, ModelError
from spineps.inference.engine import InstanceEngine, SemanticEngine
from spineps.zoo.card import Kind
from spineps.zoo.store import Model, bundled_folder, load_model


def load_semantic(config: ComputeConfig, folder: Path | None = None) -> SemanticEngine:
    """Load a semantic model, the bundled one by default.

    Raises
    ------
    ModelError
        Where it is missing, damaged or of the other phase.
    """
    return SemanticEngine(_load(Kind.SEMANTIC, folder), config)


def load_instance(config: ComputeConfig, folder: Path | None = None) -> InstanceEngine:
    """Load an instance model, the bundled one by default.

    Raises
    ------
    ModelError
        Where it is missing, damaged or of the other phase.
    """
    return InstanceEngine(_load(Kind.INSTANCE, folder), config)


def _load(kind: Kind, folder: Path | None) -> Model:
    model = load_model(folder if folder is not None else bundled_folder(kind))
    if model.card.kind is not kind:
        raise ModelError(
            ErrorCode.MODEL_CORRUPT,
            f"model {model.card.name} is a model of the {model.card.kind.value} phase, not of the {kind.value} phase.",
            remedy="Give the folder of a model of that phase.",
        )
    return model
