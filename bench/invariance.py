"""What must not change a result: a second run, the order of the axes, the position of the patient, the grid.

    python bench/invariance.py [--scan SCAN.nii.gz] [--out DIR] [--only CHECK ...]

``repeat``        the same file twice, each in a process of its own: byte-identical masks
``orientations``  all 48 orders and directions of the array axes: bit-equal label maps after reorienting
``position``      the affine turned by 5, 20 and 30 degrees, the voxels unchanged: the same labels
``grid``          the image resampled to a grid turned by 20 degrees, the masks taken back: Dice of bodies and of discs

Without ``--scan`` on a phantom that it generates. Writes ``invariance.md`` and ``invariance.json``. Ends with 1 if a check
fails.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from real import find_one, find_program
from report import table
from scipy import ndimage
from scipy.spatial.transform import Rotation
from scoring import dice

import spineps
from spineps.geometry import Axes, Reorientation
from spineps.labels import Structure
from spineps.volume import LabelMap, Result

TURNS_DEGREES = (5, 20, 30)
GRID_DEGREES = 20
GRID_DICE = 0.93
ORIENTATIONS: list[Axes] = [
    (a[i], b[j], c[k]) for a, b, c in permutations(("LR", "PA", "IS")) for i, j, k in product((0, 1), repeat=3)
]
WORLD_AXES = {"left-right": (1, 0, 0), "front-back": (0, 1, 0)}
PHANTOM = ("--seed", "48", "--vertebrae", "4", "--contrast", "t2w")

Row = tuple[str, str, bool]


def masks(result: Result) -> tuple[LabelMap, LabelMap]:
    return result.semantic, result.instance


def same(first: Result, second: Result) -> bool:
    """Tell whether both masks of two results are equal voxel by voxel, once their axes run alike."""
    for one, other in zip(masks(first), masks(second), strict=True):
        change = Reorientation.between(other.geometry.axes, one.geometry.axes)
        if not np.array_equal(one.labels, change.apply(other.labels)):
            return False
    return True


def turn(degrees: float, axis: tuple[int, int, int]) -> NDArray[np.float64]:
    """Rotation about a world axis, as an affine."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec(np.deg2rad(degrees) * np.asarray(axis)).as_matrix()
    return affine


def repeat(scan: Path, out: Path) -> Iterator[Row]:
    """Two runs of the program write the same bytes."""
    written = []
    for number in ("first", "second"):
        subprocess.run([find_program(), "sample", "-i", scan, "-o", out / number], check=True, capture_output=True)
        written.append([find_one(out / number, f"*_seg-{kind}*_msk.nii.gz") for kind in ("spine", "vert")])
    for kind, first, second in zip(("semantic", "instance"), *written, strict=True):
        equal = bool(first and second and first.read_bytes() == second.read_bytes())
        yield f"{kind} mask, two runs", "byte-identical" if equal else "DIFFERENT", equal


def orientations(scan: Path, _: Path) -> Iterator[Row]:
    """The order and direction of the axes change nothing."""
    image = nib.load(scan)
    straight = spineps.segment_scan(image)
    differing = []
    for axes in ORIENTATIONS:
        change = nib.orientations.ornt_transform(
            nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes)
        )
        if not same(straight, spineps.segment_scan(image.as_reoriented(change))):
            differing.append("".join(axes))
    verdict = "all bit-equal" if not differing else f"DIFFERENT: {' '.join(differing)}"
    yield f"{len(ORIENTATIONS)} orientations", verdict, not differing


def position(scan: Path, _: Path) -> Iterator[Row]:
    """Where the patient lies in the world changes no label."""
    image = nib.load(scan)
    straight = spineps.segment_scan(image)
    for name, axis in WORLD_AXES.items():
        for degrees in TURNS_DEGREES:
            moved = nib.Nifti1Image(np.asanyarray(image.dataobj), turn(degrees, axis) @ image.affine)
            result = spineps.segment_scan(moved)
            equal = all(np.array_equal(a.labels, b.labels) for a, b in zip(masks(straight), masks(result), strict=True))
            yield f"affine turned by {degrees} degrees about {name}", "same labels" if equal else "DIFFERENT", equal


def grid(scan: Path, _: Path) -> Iterator[Row]:
    """Another grid over the same patient gives nearly the same masks."""
    image = nib.load(scan)
    straight = spineps.segment_scan(image).semantic.labels
    for name, axis in WORLD_AXES.items():
        turned = resampled_to_turned_grid(image, turn(GRID_DEGREES, axis))
        found = spineps.segment_scan(turned).semantic
        back = np.linalg.inv(found.geometry.affine) @ image.affine
        labels = ndimage.affine_transform(found.labels, back, output_shape=image.shape, order=0)
        both = (Structure.CORPUS, Structure.DISC)
        scores = {structure.title: dice(straight == structure, labels == structure) for structure in both}
        shown = ", ".join(f"{title} {score:.3f}" for title, score in scores.items())
        yield f"grid turned by {GRID_DEGREES} degrees about {name}", shown, min(scores.values()) >= GRID_DICE


def resampled_to_turned_grid(image: Any, rotation: NDArray[np.float64]) -> Any:
    """The image on a turned grid of its finest spacing that holds its whole field of view."""
    corners = np.array(list(product(*[(0, n - 1) for n in image.shape])))
    world = corners @ image.affine[:3, :3].T + image.affine[:3, 3]
    step = float(min(image.header.get_zooms()[:3]))
    linear = rotation[:3, :3] * step
    within = world @ np.linalg.inv(linear).T
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = linear, linear @ within.min(axis=0)
    shape = tuple(int(n) for n in np.ceil(np.ptp(within, axis=0)) + 1)
    values = np.asarray(image.dataobj, dtype=np.float32)
    there = np.linalg.inv(image.affine) @ affine
    return nib.Nifti1Image(
        ndimage.affine_transform(values, there, output_shape=shape, order=1, cval=float(values.min())), affine
    )


CHECKS: dict[str, Callable[[Path, Path], Iterator[Row]]] = {
    "repeat": repeat,
    "orientations": orientations,
    "position": position,
    "grid": grid,
}


def make_phantom(folder: Path) -> Path:
    """A small T2w phantom of this bench's own seed."""
    subprocess.run([find_program(), "phantom", folder, *PHANTOM], check=True, capture_output=True)
    scan = find_one(folder, "*_T2w.nii.gz")
    if scan is None:
        raise SystemExit(f"spineps phantom wrote no *_T2w.nii.gz under {folder}")
    return scan


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scan", type=Path, help="a scan of your own instead of a phantom")
    parser.add_argument("--out", type=Path, default=Path("bench/out/invariance"), help="default: %(default)s")
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=list(CHECKS), metavar="CHECK", help=", ".join(CHECKS))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    scan = arguments.scan or make_phantom(arguments.out / "phantom")
    rows: list[Row] = []
    for name in arguments.only:
        for row in CHECKS[name](scan, arguments.out):
            rows.append(row)
            print(f"{'ok  ' if row[2] else 'FAIL'} {row[0]}: {row[1]}", flush=True)
    plain = [{"check": check, "found": found, "ok": ok} for check, found, ok in rows]
    (arguments.out / "invariance.json").write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    cells = [(check, found, "yes" if ok else "NO") for check, found, ok in rows]
    (arguments.out / "invariance.md").write_text(table(["what changes", "result", "holds"], cells) + "\n", encoding="utf-8")
    return 0 if all(ok for _, _, ok in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
