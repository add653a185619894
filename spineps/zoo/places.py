"""Where models lie: in the package, in the user's cache, and in folders of the published tool."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from spineps.errors import ErrorCode, ModelError
from spineps.zoo.kind import Kind

CARD: Final = "card.json"
"""By this file a model folder of ours is known."""
MODELS_VARIABLE: Final = "SPINEPS_MODELS"
"""Environment variable that names another folder for fetched and imported models."""
ENGINES_VARIABLE: Final = "SPINEPS_ENGINES"
"""Environment variable that names another folder for networks that were converted for an engine."""
PUBLISHED_VARIABLE: Final = "SPINEPS_SEGMENTOR_MODELS"
"""Environment variable of the published tool: a folder of its model folders, as it unpacked them."""


def models_cache() -> Path:
    """Folder of fetched and imported models, each a folder in it; not made by asking.

    :data:`MODELS_VARIABLE` where it is set, else ``spineps/models`` in the user's cache: ``$XDG_CACHE_HOME`` or ``~/.cache``
    (XDG Base Directory Specification 0.8), ``~/Library/Caches`` on macOS, ``%LOCALAPPDATA%`` on Windows.
    """
    named = os.environ.get(MODELS_VARIABLE)
    return Path(named).expanduser() if named else _user_cache() / "spineps" / "models"


def engines_cache() -> Path:
    """Folder of networks that were converted for an engine: :data:`ENGINES_VARIABLE` where it is set, else
    ``spineps/engines`` in the user's cache.
    """
    named = os.environ.get(ENGINES_VARIABLE)
    return Path(named).expanduser() if named else _user_cache() / "spineps" / "engines"


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


def published_folder() -> Path | None:
    """Folder of published model folders that :data:`PUBLISHED_VARIABLE` names, or None where it is not set.

    Raises
    ------
    ModelError
        MODEL_MISSING where it names a folder that is not there.
    """
    named = os.environ.get(PUBLISHED_VARIABLE)
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise ModelError(
            ErrorCode.MODEL_MISSING,
            f"{PUBLISHED_VARIABLE} names a folder that does not exist.",
            remedy="Correct it or unset it.",
        )
    return folder


def _user_cache() -> Path:
    if sys.platform == "darwin":
        return _home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or _home() / "AppData" / "Local")
    named = os.environ.get("XDG_CACHE_HOME", "")
    return Path(named) if Path(named).is_absolute() else _home() / ".cache"


def _home() -> Path:
    """The user's home; a user without one gets a folder that cannot be made, which says so when it is written to."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/nonexistent")
