"""One's own scans as an nnU-Net v2 dataset, prepared as in appendix A of the SPINEPS paper.

Images are turned to one orientation (PIR, which nnU-Net reads as R, I, P), cropped a little on each side, corrected by N4 and
sampled at 0.75 x 0.75 x 1.65 mm. Classes are numbered one after the other, as nnU-Net wants them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.errors import ErrorCode, InputError
from spineps.geometry import PIR, Box, Geometry, Reorientation, Spacing, resample
from spineps.io import atomic
from spineps.labels import SACRUM_INSTANCE, Structure
from spineps.networks.classes import SEMANTIC_CLASSES, SEMANTIC_TABLE
from spineps.stages.preprocess import correct_bias_field
from spineps.training.own_cases import Case, CaseFiles, read_case

DATASET: Final = "Dataset801_Spine"
PAPER_SPACING_MM: Final[Spacing] = (0.75, 0.75, 1.65)
"""Along (P, I, R)."""
CROPPED_SHARE: Final = 0.03
"""Of each side of each axis: the paper says "slightly", without a number."""


def write_dataset(
    cases: Sequence[CaseFiles], raw: Path, *, baseline: bool, spacing_mm: Spacing = PAPER_SPACING_MM, n4: bool = True
) -> dict[int, int]:
    """Write images, labels and ``dataset.json`` of a dataset.

    Parameters
    ----------
    cases : sequence of CaseFiles
        Scans with semantic masks, or with instance masks for the baseline.
    raw : Path
        nnU-Net's folder of raw datasets.
    baseline : bool
        Take the instance labels, not the semantic ones (the paper's baseline).
    spacing_mm : tuple of 3 float
        Along (P, I, R).
    n4 : bool
        Correct the bias field, as the paper does.

    Returns
    -------
    dict of int to int
        nnU-Net's class to our id, without the background.

    Raises
    ------
    InputError
        INPUT_LABELS where a mask is missing.
    """
    folder = raw / DATASET
    ids = _ids(cases, baseline=baseline)
    classes = np.zeros(256, np.uint8)
    classes[ids] = np.arange(1, len(ids) + 1)
    if not baseline:
        classes = classes[np.array([int(s) for s in SEMANTIC_CLASSES])[SEMANTIC_TABLE]]
    for files in cases:
        case = read_case(files)
        image, labels, grid = _prepared(case, case.instance if baseline else case.semantic, spacing_mm, n4=n4)
        atomic.write_nifti(folder / "imagesTr" / f"{files.name}_0000.nii.gz", image, grid)
        atomic.write_nifti(folder / "labelsTr" / f"{files.name}.nii.gz", classes[labels], grid)
    names = {_class_name(i, baseline=baseline): number for number, i in enumerate(ids, start=1)}
    facts = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, **names}, "numTraining": len(cases)}
    atomic.write_json(folder / "dataset.json", facts | {"file_ending": ".nii.gz"})
    return dict(enumerate(ids, start=1))


def _ids(cases: Sequence[CaseFiles], *, baseline: bool) -> list[int]:
    """All ids of the masks, smallest first."""
    found: set[int] = set()
    for files in cases:
        case = read_case(files)
        labels = case.instance if baseline else np.array([int(s) for s in SEMANTIC_CLASSES])[SEMANTIC_TABLE[case.semantic]]
        here = {int(i) for i in np.unique(labels)} - {0}
        if not here:
            raise InputError(
                ErrorCode.INPUT_LABELS,
                f"{files.name!r} has no {'instance' if baseline else 'semantic'} mask, or an empty one.",
                remedy="Give every scan of --recipe paper that mask; to fine-tune on partial masks, leave the recipe out.",
            )
        found |= here
    return sorted(found)


def _prepared(
    case: Case, labels: NDArray[np.uint8], spacing_mm: Spacing, *, n4: bool
) -> tuple[NDArray[np.float32], NDArray[np.uint8], Geometry]:
    """Image and labels, cropped and sampled."""
    straight = case.scan.geometry.straightened()
    turn = Reorientation.between(straight.axes, PIR)
    full = turn.apply_geometry(straight)
    a, b, c = (int(n * CROPPED_SHARE) for n in full.shape)
    box = Box((a, b, c), (full.shape[0] - a, full.shape[1] - b, full.shape[2] - c))
    part = full.cropped(box)
    image = np.ascontiguousarray(turn.apply(case.scan.image)[box.slices])
    if n4:
        image = correct_bias_field(image, part)
    grid = part.resampled(spacing_mm)
    sampled: NDArray[np.float32] = resample(image, part, grid, order=3)
    classes: NDArray[np.uint8] = resample(np.ascontiguousarray(labels[box.slices]), part, grid, order=0)
    return sampled, classes, grid


def _class_name(label: int, *, baseline: bool) -> str:
    if not baseline:
        return Structure(label).title.replace(", ", " ").replace(" ", "_")
    return "sacrum" if label == SACRUM_INSTANCE else f"instance_{label}"
