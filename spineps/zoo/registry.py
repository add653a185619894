"""The models that can be asked for by name, and where each of them lies: bundled, published, imported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from spineps.errors import ErrorCode, ModelError, UsageError
from spineps.io.shown import shown_name
from spineps.zoo.kind import Kind
from spineps.zoo.places import CARD, bundled_folder, models_cache, published_folder

RELEASES: Final = "https://github.com/Hendrik-code/spineps/releases/download"
"""Where the published weights lie. Nothing in the package asks there but ``spineps models fetch``."""
BUNDLED: Final = "bundled"
"""The id of the models inside the package, one for each phase."""
PUBLISHED_CARD: Final = "inference_config.json"
"""By this file a folder of the published tool is known."""
_PLANS: Final = "nnUNetPlans"
_REMEDY_LIST: Final = "See 'spineps models list'."


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A model of the published tool.

    Parameters
    ----------
    id : str
        The name by which both the published tool and this one know it.
    kind : Kind
        The phase that it serves.
    version : str
        Of the release that it was published in.
    archive : str
        Its file in that release.
    folder : str
        The folder that the published tool unpacks it to.
    suits : tuple of str
        The kinds of scan that it was made for: ``T2w``, ``T1w``, ``vibe``, ``ct``; empty for one that sees label maps alone.
    """

    id: str
    kind: Kind
    version: str
    archive: str
    folder: str
    suits: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """Where it is published."""
        return f"{RELEASES}/{self.version}/{self.archive}"

    @property
    def names(self) -> frozenset[str]:
        """Every id by which the published tool finds it, in lower case."""
        longer = f"{self.id}_{self.kind.value}"
        return frozenset({self.id, self.folder.lower(), *([longer] if self.kind is Kind.SEMANTIC else [])})

    @property
    def place(self) -> Path:
        """Where it lies once it is fetched."""
        return models_cache() / f"{self.id}-{self.version}"


PUBLISHED: Final = (
    PublishedModel("t2w", Kind.SEMANTIC, "v1.0.9", "t2w.zip", "T2w_semantic_v1.0.9", ("T2w",)),
    PublishedModel("t1w", Kind.SEMANTIC, "v1.0.9", "t1w.zip", "T1w_semantic_v1.0.9", ("T1w",)),
    PublishedModel("vibe", Kind.SEMANTIC, "v1.0.9", "vibe.zip", "Vibe_semantic_v1.0.9", ("vibe",)),
    PublishedModel("ct", Kind.SEMANTIC, "v2.0.0", "ct.zip", "CT_semantic_v2.0.0", ("ct",)),
    PublishedModel("instance", Kind.INSTANCE, "v1.2.0", "instance.zip", "instance_sagittal_v1.2.0"),
    PublishedModel("ct_instance", Kind.INSTANCE, "v2.0.0", "CT_instance.zip", "CT_instance_v2.0.0", ("ct",)),
    PublishedModel("t2w_labeling", Kind.LABELING, "v1.4.0", "labeling.zip", "T2w_labeling_v1.4.0", ("T2w", "T1w", "vibe")),
    PublishedModel("ct_labeling", Kind.LABELING, "v1.4.0", "ct_labeling.zip", "CT_labeling_v1.4.0", ("ct",)),
)


class Where(str, Enum):
    """How a model came to be here."""

    BUNDLED = "bundled"
    FETCHED = "fetched"
    IMPORTED = "imported"
    FOLDER = "folder"
    ABSENT = "not fetched"


@dataclass(frozen=True, slots=True)
class Listed:
    """A model that can be asked for.

    Parameters
    ----------
    id : str
        By which it is asked for.
    kind : Kind or None
        The phase that it serves; None where only importing it would tell.
    version : str
        Of the model.
    where : Where
        How it came to be here, or that it is not.
    folder : Path or None
        Where it lies.
    """

    id: str
    kind: Kind | None
    version: str
    where: Where
    folder: Path | None


def published(name: str) -> PublishedModel | None:
    """The published model of a name, in any case, or None."""
    return next((model for model in PUBLISHED if name.lower() in model.names), None)


def published_for(kind: Kind, suits: str) -> PublishedModel | None:
    """The published model of a phase for a kind of scan (``T2w``, ``T1w``, ``vibe``, ``ct``), or None."""
    fitting = [model for model in PUBLISHED if model.kind is kind]
    named = [model for model in fitting if suits.lower() in map(str.lower, model.suits)]
    return next(iter(named or [model for model in fitting if not model.suits]), None)


def installed(model: PublishedModel) -> Path | None:
    """Folder of a published model on this machine, fetched or in ``SPINEPS_SEGMENTOR_MODELS``, or None."""
    if (model.place / CARD).is_file():
        return model.place
    return next((folder for name, folder in offline_models() if name in model.names), None)


def folder_of(name: str) -> Path:
    """Folder of the model of a name: one of ours, or one of the published tool that is yet to be imported.

    Parameters
    ----------
    name : str
        An id, in any case; see :func:`listed`.

    Raises
    ------
    ModelError
        MODEL_MISSING for a published model that was not fetched, with the command that fetches it.
    UsageError
        For a name that no model has.
    """
    name = name.lower()
    model = published(name)
    folder = installed(model) if model is not None else None
    if folder is not None:
        return folder
    if model is not None:
        raise ModelError(
            ErrorCode.MODEL_MISSING,
            f"the published model {model.id} {model.version} is not on this machine.",
            remedy=f"Fetch it with 'spineps models fetch {model.id}', or leave the option out.",
        )
    found = {**dict(offline_models()), **{folder.name.lower(): folder for folder in _in_cache()}}.get(name)
    if found is None:
        raise UsageError(ErrorCode.USAGE, f"no model is called {shown_name(name)}.", remedy=_REMEDY_LIST)
    return found


def offline_models() -> Iterator[tuple[str, Path]]:
    """Ids and folders of the models in ``SPINEPS_SEGMENTOR_MODELS``, named as the published tool names them.

    Raises
    ------
    ModelError
        MODEL_MISSING where the variable names a folder that is not there.
    """
    root = published_folder()
    if root is None:
        return
    for card in sorted(root.rglob(PUBLISHED_CARD)):
        folder = card.parent
        yield (folder.parent if _PLANS in folder.name else folder).name.lower(), folder


def listed() -> list[Listed]:
    """Every model that can be asked for: bundled, published, in ``SPINEPS_SEGMENTOR_MODELS``, imported."""
    rows = [_bundled(kind) for kind in Kind]
    rows += [_published(model) for model in PUBLISHED]
    ours = {model.place for model in PUBLISHED}
    rows += [_cached(folder) for folder in _in_cache() if folder not in ours]
    known = {name for model in PUBLISHED for name in model.names}
    rows += [Listed(name, None, "", Where.FOLDER, folder) for name, folder in offline_models() if name not in known]
    return [row for row in rows if row is not None]


def _bundled(kind: Kind) -> Listed | None:
    try:
        folder = bundled_folder(kind)
    except ModelError:
        return None
    return Listed(BUNDLED, kind, _facts(folder)[1], Where.BUNDLED, folder)


def _published(model: PublishedModel) -> Listed:
    folder = installed(model)
    where = Where.ABSENT if folder is None else Where.FETCHED if folder == model.place else Where.FOLDER
    return Listed(model.id, model.kind, model.version, where, folder)


def _cached(folder: Path) -> Listed:
    return Listed(folder.name, *_facts(folder), Where.IMPORTED, folder)


def _facts(folder: Path) -> tuple[Kind | None, str]:
    """Phase and version on a card. A damaged one is listed all the same, so that the model can be verified and removed."""
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        return Kind(card["kind"]), str(card["version"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None, "damaged"


def _in_cache() -> list[Path]:
    """Folders of models in the cache; names that begin with a dot are work in progress."""
    cache = models_cache()
    if not cache.is_dir():
        return []
    return sorted(folder for folder in cache.iterdir() if not folder.name.startswith(".") and (folder / CARD).exists())
