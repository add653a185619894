"""Where the surfaces of predicted masks lie, against those of references: how far outward, in mm, in each direction.

    python bench/real.py --data DIR --out OUT       # first: makes the masks
    python bench/boundaries.py --data DIR --out OUT

Bodies and discs one by one, canal with cord as a whole. A line of voxels counts where both masks meet it; the mean over all
lines is positive where the prediction reaches farther than the reference. A constant shift says that both follow another
convention, not that the prediction is coarse.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from cases import Case, Kind, find_cases
from numpy.typing import NDArray
from real import find_one
from scoring import merged, upright

from spineps.geometry import Spacing
from spineps.labels import CANAL_AND_CORD, DISC_OFFSET, Structure, lookup

DIRECTIONS = ("front", "rear", "top", "bottom", "left", "right")
LEAST_VOXELS = 50
Mask = NDArray[np.bool_]


def outward_mm(reference: Mask, found: Mask, spacing_mm: Spacing) -> list[float]:
    """How much farther ``found`` reaches than ``reference`` in each of :data:`DIRECTIONS`."""
    out = []
    for axis, step in enumerate(spacing_mm):
        both = reference.any(axis) & found.any(axis)
        for flipped in (False, True):
            first, other = (np.argmax(np.flip(m, axis) if flipped else m, axis=axis)[both] for m in (reference, found))
            out.append(float((first - other).mean() * step))
    return out


def pairs(case: Case, out: Path) -> Iterator[tuple[str, Mask, Mask, Spacing]]:
    """Name, reference and prediction of each piece of a case that both show, and the spacing (mm)."""
    folder = out / case.kind.value / case.name
    semantic, instance = find_one(folder, "*_seg-spine*_msk.nii.gz"), find_one(folder, "*_seg-vert*_msk.nii.gz")
    if not (case.references and semantic and instance):
        return
    truth, spacing_mm = upright(case.references[-1 if case.kind is Kind.CROP else 0])
    found, owner = merged(upright(semantic)[0]), upright(instance)[0]
    if case.kind is Kind.CROP:
        parts = merged(upright(case.references[0])[0])
        yield "canal with cord", lookup(CANAL_AND_CORD)[parts], lookup(CANAL_AND_CORD)[found], spacing_mm
        truth = np.where(parts == Structure.CORPUS, truth, 0)
    name, structure = ("disc", Structure.DISC) if case.kind is Kind.DISCS else ("body", Structure.CORPUS)
    owner = np.where(found == structure, owner, 0)
    for number in (int(n) for n in np.unique(truth) if 0 < n < DISC_OFFSET):
        piece = truth == number
        rivals = np.bincount(owner[piece])
        rivals[:1] = 0
        if rivals.sum() >= LEAST_VOXELS:
            yield name, piece, owner == rivals.argmax(), spacing_mm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real scans")
    parser.add_argument("--out", type=Path, default=Path("bench/out/real"), help="what bench/real.py wrote")
    options = parser.parse_args()
    print(f"{'scan':34} {'piece':16} {'n':>3} " + " ".join(f"{name:>7}" for name in DIRECTIONS))
    for case in find_cases(options.data)[0]:
        if case.kind not in {Kind.BODIES, Kind.DISCS, Kind.CROP}:
            continue
        rows = defaultdict(list)
        for name, reference, found, spacing_mm in pairs(case, options.out):
            rows[name].append(outward_mm(reference, found, spacing_mm))
        for name, shifts in rows.items():
            means = np.mean(shifts, axis=0)
            print(f"{case.name[:34]:34} {name:16} {len(shifts):3} " + " ".join(f"{mean:+7.2f}" for mean in means))


if __name__ == "__main__":
    main()
