"""Predictors from model folders."""

from __future__ import annotations

from pathlib import Path

from spineps.config import ComputeConfig
from spineps.errors import ErrorCode, ModelError
from spineps.inference.engine import InstanceEngine, SemanticEngine
from spineps.inference.levels import LevelEngine
from spineps.inference.published import LabelingEngine, NnunetEngine, PublishedInstanceEngine
from spineps.zoo.card import Kind
from spineps.zoo.elsewhere import InstanceModel, LabelingModel, NnunetModel
from spineps.zoo.published import import_folder, is_published
from spineps.zoo.store import StoredModel, bundled_folder, open_model


def load_semantic(config: ComputeConfig, folder: Path | None = None) -> SemanticEngine | NnunetEngine:
    """Load a semantic model, the bundled one by default; a model made elsewhere is imported at first use.

    Raises
    ------
    ModelError
        Where it is missing, damaged or of the other phase.
    """
    model = _load(Kind.SEMANTIC, folder)
    made_elsewhere = isinstance(model.card.elsewhere, NnunetModel)
    return NnunetEngine(model, config) if made_elsewhere else SemanticEngine(model, config)


def load_instance(config: ComputeConfig, folder: Path | None = None) -> InstanceEngine | PublishedInstanceEngine:
    """Load an instance model, the bundled one by default; a model made elsewhere is imported at first use.

    Raises
    ------
    ModelError
        Where it is missing, damaged or of the other phase.
    """
    model = _load(Kind.INSTANCE, folder)
    made_elsewhere = isinstance(model.card.elsewhere, InstanceModel)
    return PublishedInstanceEngine(model, config) if made_elsewhere else InstanceEngine(model, config)


def load_labeling(config: ComputeConfig, folder: Path | None = None) -> LevelEngine | LabelingEngine:
    """Load a labeling model, the bundled one by default; a model made elsewhere is imported at first use.

    Raises
    ------
    ModelError
        Where it is missing, damaged or of another phase.
    """
    model = _load(Kind.LABELING, folder)
    made_elsewhere = isinstance(model.card.elsewhere, LabelingModel)
    return LabelingEngine(model, config) if made_elsewhere else LevelEngine(model, config)


def load_levels(config: ComputeConfig, folder: Path | None = None) -> LevelEngine:
    """Load a labeling network made by this package, the bundled one by default.

    Raises
    ------
    ModelError
        Where it is missing, damaged or of another phase.
    """
    return LevelEngine(_load(Kind.LABELING, folder), config)


def _load(kind: Kind, folder: Path | None) -> StoredModel:
    folder = bundled_folder(kind) if folder is None else folder
    model = open_model(import_folder(folder) if is_published(folder) else folder)
    if model.card.kind is not kind:
        raise ModelError(
            ErrorCode.MODEL_CORRUPT,
            f"model {model.card.name} is a model of the {model.card.kind.value} phase, not of the {kind.value} phase.",
            remedy="Give the folder of a model of that phase.",
        )
    return model
