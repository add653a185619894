"""Published names for the segmentation of scans and data sets."""

from __future__ import annotations

from spineps.compat.dataset import process_dataset
from spineps.compat.image import process_img_nii, segment_image
from spineps.compat.places import output_paths_from_input

__all__ = ["output_paths_from_input", "process_dataset", "process_img_nii", "segment_image"]
