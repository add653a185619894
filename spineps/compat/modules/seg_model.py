"""Published names for models."""

from __future__ import annotations

from spineps.compat.codes import InputType, OutputType
from spineps.compat.models import Segmentation_Model, SegmentationModel

__all__ = ["InputType", "OutputType", "SegmentationModel", "Segmentation_Model"]
