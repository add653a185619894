"""Published names for models that name the levels."""

from __future__ import annotations

from spineps.compat.models import VertLabelingClassifier

__all__ = ["VertLabelingClassifier"]
