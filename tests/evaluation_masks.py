"""Spines of boxes, small enough to work out every number by hand, for the tests of the evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spineps.evaluation.masks import Masks
from spineps.geometry import Geometry
from spineps.io.atomic import write_nifti
from spineps.labels import Scheme
from spineps.volume import LabelMap

SPACING_MM = (1.0, 2.0, 3.0)
HEIGHT = 6
"""Voxels from one vertebra to the next: 4 of vertebra, 2 of disc."""


def box_spine(
    levels: Sequence[int] = (20, 21, 22),
    *,
    shift: int = 0,
    left_out: Sequence[int] = (),
    spacing_mm: Sequence[float] = SPACING_MM,
) -> Masks:
    """Vertebrae of a body (6x4x4 voxels) and an arch (4x4x4), discs below all but the last, canal and cord.

    ``shift`` moves everything to posterior by that many voxels; vertebrae ``left_out`` leave a gap.
    """
    shape = (22, HEIGHT * len(levels) + 2, 8)
    semantic, instance = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    p = 2 + shift
    semantic[p + 6 : p + 10, :, 2:6] = 61
    semantic[p + 7 : p + 9, :, 3:5] = 60
    for row, level in enumerate(levels):
        top = 1 + row * HEIGHT
        if level not in left_out:
            semantic[p : p + 6, top : top + 4, 2:6] = 49
            semantic[p + 10 : p + 14, top : top + 4, 2:6] = 41
            instance[p : p + 6, top : top + 4, 2:6] = level
            instance[p + 10 : p + 14, top : top + 4, 2:6] = level
        if row + 1 < len(levels):
            semantic[p : p + 6, top + 4 : top + 6, 2:6] = 100
            instance[p : p + 6, top + 4 : top + 6, 2:6] = 100 + level
    geometry = Geometry.from_spacing(shape, spacing_mm)
    return Masks(LabelMap(semantic, geometry, Scheme.SEMANTIC), LabelMap(instance, geometry, Scheme.INSTANCE))


def write_masks(masks: Masks, folder: Path, case: str) -> None:
    """Write both masks under their published names."""
    for mask, kind in ((masks.semantic, "spine"), (masks.instance, "vert")):
        if mask is not None:
            write_nifti(folder / f"sub-{case}_mod-T2w_seg-{kind}_msk.nii.gz", mask.labels, mask.geometry)
