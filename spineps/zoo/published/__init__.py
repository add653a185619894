"""Import of models made elsewhere: published SPINEPS folders and plain nnU-Net v2 result folders.

A folder (or a zip of one) becomes a card and safetensors in the cache, under a name that follows from its content, so that a
second import costs only a hash. Nothing of it is executed; see :mod:`spineps.zoo.published.checkpoint`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from spineps.zoo.card import ModelCard
from spineps.zoo.published.convert import PlainNnunet, convert, import_folder, is_published
from spineps.zoo.store import read_card

__all__ = ["PlainNnunet", "convert", "import_folder", "import_model", "is_published"]


def import_model(
    path: Path, *, label_map: Mapping[int, int] | None = None, orientation: str = "PIR", cache: Path | None = None
) -> ModelCard:
    """Convert a model to a card and safetensors in the cache.

    Parameters
    ----------
    path : Path
        A folder with one ``inference_config.json`` in it or below it, a plain nnU-Net v2 result folder, or a zip of either.
    label_map : mapping of int to int, optional
        For a plain nnU-Net folder: from its labels to ids of :class:`spineps.labels.Structure` (0 leaves one out).
    orientation : str
        For a plain nnU-Net folder: axis codes of the images that it was trained on.
    cache : Path, optional
        Folder of imported models; by default that of the user.

    Returns
    -------
    ModelCard
        Of the imported model; :func:`import_folder` gives the folder.

    Raises
    ------
    ModelError
        MODEL_MISSING without a model there, MODEL_UNSAFE for names in a checkpoint or plan that are no settings of a model,
        MODEL_ARCHIVE for a zip that is not safe to unpack, MODEL_CORRUPT for anything else that does not fit.
    UsageError
        For a plain nnU-Net folder without a label map.
    """
    plain = PlainNnunet(label_map, orientation) if label_map is not None else None
    return read_card(import_folder(path, plain, cache=cache))
