"""Published names for models."""

from __future__ import annotations

from spineps.compat.find import (
    get_actual_model,
    get_instance_model,
    get_labeling_model,
    get_semantic_model,
    looks_like_model_path,
)
from spineps.compat.models import SegmentationModel, VertLabelingClassifier

__all__ = [
    "SegmentationModel",
    "VertLabelingClassifier",
    "get_actual_model",
    "get_instance_model",
    "get_labeling_model",
    "get_semantic_model",
    "looks_like_model_path",
]
