"""The phase that a model serves; apart from the cards, so that a list of models needs no validation library."""

from __future__ import annotations

from enum import Enum


class Kind(str, Enum):
    """The phase that a model serves."""

    SEMANTIC = "semantic"
    INSTANCE = "instance"
    LABELING = "labeling"
