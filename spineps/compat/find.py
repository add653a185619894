"""Models by id or folder, as published scripts ask for them.

Nothing is downloaded. A published id whose weights are on this machine (fetched, imported, or in ``SPINEPS_SEGMENTOR_MODELS``)
gives those weights; without them it is an error that names the remedy, as on the command line. Only where the caller named no
model does the bundled one take the place of the published default, and says so in the findings of each run.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

from spineps.compat.codes import SpinepsPhase
from spineps.compat.models import BundledModel, SegmentationModel, VertLabelingClassifier, describe
from spineps.errors import ModelError, UsageError
from spineps.zoo.card import Kind
from spineps.zoo.registry import BUNDLED, folder_of
from spineps.zoo.registry import published as published_model


class ByDefault(str):
    """An id that a signature names and its caller did not: a bundled model may take its place."""

    __slots__ = ()


SEMANTIC_BY_DEFAULT: Final = ByDefault("t2w")
INSTANCE_BY_DEFAULT: Final = ByDefault("instance")
LABELING_BY_DEFAULT: Final = ByDefault("t2w_labeling")
_log = logging.getLogger("spineps")


def looks_like_model_path(model: str | Path) -> bool:
    """Tell a path (a Path, or text with a separator) from a model's id."""
    return isinstance(model, Path) or "/" in model or "\\" in model


def get_semantic_model(model_name: str | Path, **kwargs: Any) -> SegmentationModel:
    """A semantic model by its id (``t2w``, ``t1w``, ``vibe``, ``ct``, ``bundled``, ...) or folder.

    Parameters
    ----------
    model_name : str
        Id, in any case, or path.
    **kwargs
        ``use_cpu``, ``default_verbose``, ``default_allow_tqdm``.

    Raises
    ------
    KeyError
        For an unknown id.
    FileNotFoundError
        For a path without a model.
    ModelError
        MODEL_MISSING, with the command that fetches it, where the weights are not on this machine.
    """
    return _by_name(Kind.SEMANTIC, model_name, kwargs)


def get_instance_model(model_name: str | Path, **kwargs: Any) -> SegmentationModel:
    """An instance model by its id (``instance``, ``ct_instance``, ``bundled``) or folder; see :func:`get_semantic_model`."""
    return _by_name(Kind.INSTANCE, model_name, kwargs)


def get_labeling_model(model_name: str | Path, **kwargs: Any) -> SegmentationModel:
    """A labeling model by its id (``t2w_labeling``, ``ct_labeling``) or folder; see :func:`get_semantic_model`."""
    return _by_name(Kind.LABELING, model_name, kwargs)


def get_actual_model(in_config: str | Path, use_cpu: bool = False, **kwargs: Any) -> SegmentationModel:
    """A model of whatever phase from its folder, or from the path of its ``inference_config.json``.

    Raises
    ------
    FileNotFoundError
        If there is not exactly one model there.
    """
    folder = model_folder(Path(in_config))
    phase, config = describe(folder)
    made = VertLabelingClassifier if phase is SpinepsPhase.LABELING else SegmentationModel
    return made(folder, config, use_cpu, **kwargs)


def model_folder(path: Path) -> Path:
    """Folder of the only model at a path.

    Raises
    ------
    FileNotFoundError
        If there is none, or more than one.
    """
    from spineps.zoo.published.config import CONFIG
    from spineps.zoo.store import CARD

    if path.name == CONFIG and path.is_file():
        return path.parent
    if (path / CARD).is_file():
        return path
    found = sorted(path.rglob(CONFIG)) if path.is_dir() else []
    if len(found) != 1:
        raise FileNotFoundError(f"expected one {CONFIG} in {path.name or path}, found {len(found)}")
    return found[0].parent


def _by_name(kind: Kind, name: str | Path, options: dict[str, Any]) -> SegmentationModel:
    if looks_like_model_path(name):
        return _checked(get_actual_model(name, **options), kind, str(name))
    wanted = str(name).lower()
    if wanted == BUNDLED:
        return BundledModel(kind, **options)
    try:
        folder = folder_of(wanted)
    except UsageError as error:
        raise KeyError(wanted) from error
    except ModelError:
        published = published_model(wanted)
        if published is None or not isinstance(name, ByDefault):
            raise
        model = BundledModel(kind, published, **options)
        _log.warning("%s", model.findings()[0].message)
        return model
    return _checked(get_actual_model(folder, **options), kind, wanted)


def _checked(model: SegmentationModel, kind: Kind, name: str) -> SegmentationModel:
    if model.kind is not kind:
        raise KeyError(f"{name} is a model of the {model.kind.value} phase, not of the {kind.value} phase")
    return model
