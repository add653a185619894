"""The SPIDER data set as a folder that ``spineps train --data`` reads.

SPIDER (van der Graaf et al. 2024, Scientific Data 11:264) keeps ``images/1_t2.mha`` beside ``masks/1_t2.mha``. Its masks count
vertebrae from the bottom (1 is L5, 101 one that the image cuts), their discs from 201 (L5/S1), and the canal is 100. Whole
vertebrae become instances, of which no mask names the parts; sacrum, cord and endplates stay unlabelled.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.errors import ErrorCode, InputError
from spineps.geometry import Geometry
from spineps.io import atomic
from spineps.io.metaimage import read_metaimage
from spineps.labels import DISC_OFFSET, Structure

_NAME: Final = re.compile(r"(?P<patient>[a-zA-Z0-9]+)_(?P<kind>t1|t2_space|t2)", re.IGNORECASE)
_BIDS: Final = {"t1": ("", "T1w"), "t2": ("", "T2w"), "t2_space": ("_acq-space", "T2w")}
_CANAL: Final = 100
_CUT: Final = 100
"""Added to a vertebra that the image cuts."""
_DISC: Final = 200
_BELOW: Final = 25
"""Their vertebra ``k``, counted from L5 = 1 upwards, is our ``25 - k``, counted from C1 = 1 downwards."""


@dataclass(frozen=True, slots=True)
class Converted:
    """What a scan became.

    Parameters
    ----------
    name : str
        Of the scan, as in BIDS.
    vertebrae, discs : int
        How many its mask holds.
    """

    name: str
    vertebrae: int
    discs: int


def convert_spider(folder: Path, out: Path, report: Callable[[Converted], None]) -> int:
    """Write every scan that has a mask, with its masks, under BIDS names.

    Parameters
    ----------
    folder : Path
        With ``images`` and ``masks``.
    out : Path
        Becomes a BIDS folder; what it holds of the same scans is replaced.
    report : callable
        Told of each scan.

    Returns
    -------
    int
        Scans written.

    Raises
    ------
    InputError
        INPUT_NOT_FOUND where no scan has a mask; INPUT_AFFINE, INPUT_LABELS or the reader's code for a bad file.
    """
    images = sorted((folder / "images").glob("*.mha"))
    named = [(found, image) for image in images if (found := _NAME.fullmatch(image.stem))]
    scans = [(found, image, folder / "masks" / image.name) for found, image in named]
    scans = [scan for scan in scans if scan[-1].is_file()]
    if not scans:
        raise InputError(
            ErrorCode.INPUT_NOT_FOUND,
            f"{folder.name!r} holds {len(images)} scans in 'images', none named as in SPIDER and with a mask.",
            remedy="Give the folder that holds images/1_t2.mha and masks/1_t2.mha.",
        )
    for found, image, mask in scans:
        report(_convert(found, image, mask, out))
    return len(scans)


def spider_tables() -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
    """Their labels to our semantic ids, to our instance ids, and which of theirs are known; each of 256 entries."""
    semantic, instance = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
    for k in range(1, _BELOW):
        instance[k] = instance[_CUT + k] = _BELOW - k
        instance[_DISC + k] = DISC_OFFSET + _BELOW - k
        semantic[_DISC + k] = Structure.DISC
    semantic[_CANAL] = Structure.CANAL
    known = (semantic > 0) | (instance > 0)
    known[0] = True
    return semantic, instance, known


def _convert(found: re.Match[str], image: Path, mask: Path, out: Path) -> Converted:
    numbers, geometry = read_metaimage(image)
    labels = _labels(mask, image.name, geometry)
    semantic, instance, _ = spider_tables()
    acquisition, suffix = _BIDS[found["kind"].lower()]
    patient = f"sub-{found['patient']}"
    beside = out / "derivatives" / patient / f"{patient}{acquisition}_mod-{suffix}"
    name = f"{patient}{acquisition}_{suffix}"
    atomic.write_nifti(beside.with_name(f"{beside.name}_seg-spine_msk.nii.gz"), semantic[labels], geometry)
    atomic.write_nifti(beside.with_name(f"{beside.name}_seg-vert_msk.nii.gz"), instance[labels], geometry)
    atomic.write_nifti(out / patient / f"{name}.nii.gz", numbers.astype(np.float32), geometry)
    ids = np.unique(instance[labels])
    return Converted(name, int(((ids > 0) & (ids < DISC_OFFSET)).sum()), int((ids > DISC_OFFSET).sum()))


def _labels(mask: Path, scan: str, geometry: Geometry) -> NDArray[np.uint8]:
    """Their labels on the scan's grid.

    Raises
    ------
    InputError
        INPUT_AFFINE where the mask lies on another grid, INPUT_LABELS where it holds anything else than SPIDER's labels.
    """
    numbers, grid = read_metaimage(mask)
    if not grid.matches(geometry, tolerance_mm=0.1):
        raise InputError(
            ErrorCode.INPUT_AFFINE,
            f"The mask of {scan!r} does not lie on its grid.",
            remedy="Resample the mask, or take the scan out of 'images'.",
        )
    known = spider_tables()[2]
    labels: NDArray[np.uint8] = np.clip(numbers, 0, 255).astype(np.uint8)
    wrong = (labels != numbers) | ~known[labels]
    if wrong.any():
        raise InputError(
            ErrorCode.INPUT_LABELS,
            f"The mask of {scan!r} holds {numbers[wrong].flat[0]:g}, which is no label of SPIDER.",
            remedy="Labels are 1 to 24 (101 to 124 where cut), 100 and 201 to 224; take the scan out of 'images'.",
        )
    return labels
