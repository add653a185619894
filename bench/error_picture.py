"""Where a mask is wrong, drawn without the image: what agrees, what is missed, what is too much, what has another label.

    python bench/error_picture.py REFERENCE MASK --out docs/images/worst-real-case.png

Two semantic masks on one grid; sagittal slices from left to right, anterior on the left. Superior and inferior endplates count
as one structure, as in the scores, and cord as canal.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from scoring import merged, upright

from spineps.geometry import Spacing
from spineps.labels import Structure

SLICES = 7
KINDS = (
    ("background", (1.0, 1.0, 1.0)),
    ("agrees", (0.80, 0.80, 0.80)),
    ("missed", (0.12, 0.47, 0.71)),
    ("too much", (0.89, 0.29, 0.20)),
    ("another structure", (0.95, 0.77, 0.06)),
)


def labels(path: Path) -> tuple[NDArray[Any], Spacing]:
    """A semantic mask to posterior, inferior and right, with structures joined that count as one, and its spacing (mm)."""
    found, spacing_mm = upright(path)
    out = merged(found)
    out[out == Structure.CORD] = Structure.CANAL
    return out, spacing_mm


def kinds(reference: NDArray[Any], mask: NDArray[Any]) -> NDArray[np.intp]:
    """Index into :data:`KINDS` of each voxel."""
    return np.select([(reference == 0) & (mask == 0), reference == mask, mask == 0, reference == 0], [0, 1, 2, 3], default=4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("mask", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    reference, spacing = labels(options.reference)
    wrong = kinds(reference, labels(options.mask)[0])
    shown = np.flatnonzero(reference.any(axis=(0, 1)))
    picked = shown[(np.linspace(0.3, 0.7, SLICES) * (len(shown) - 1)).round().astype(int)]
    palette = np.array([colour for _, colour in KINDS])
    figure, axes = plt.subplots(1, SLICES, figsize=(2 * SLICES, 2.2), layout="constrained")
    for axis, index in zip(axes, picked, strict=True):
        axis.imshow(palette[wrong[:, :, index].T], aspect=spacing[1] / spacing[0], interpolation="nearest")
        axis.set_title(f"{(index - shown[0]) * spacing[2]:.0f} mm", fontsize=9)
        axis.axis("off")
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for _, colour in KINDS[1:]]
    figure.legend(handles, [name for name, _ in KINDS[1:]], loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.savefig(options.out, dpi=110)


if __name__ == "__main__":
    main()
