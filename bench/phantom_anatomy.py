"""Where the parts of lumbar vertebrae lie and how large they are: labelled scans beside phantoms.

    python bench/phantom_anatomy.py [--data DIR] [--phantoms N]

For each structure: volume, centre and 3rd to 97th percentile of its voxels, in mm from the centre of its body, in the body's
own frame (behind, below, beside). Rows of labelled scans are left out where the data folder is absent.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from pathlib import Path

import nibabel as nib
import numpy as np

from spineps.geometry import PIR, Geometry, Reorientation
from spineps.labels import LEFT_RIGHT_PAIRS, POSTERIOR, Structure
from spineps.phantom.anatomy import AnatomySpec, build_anatomy

LUMBAR = (21, 22, 23)
Rows = dict[Structure, list[np.ndarray]]


def measure(semantic: np.ndarray, instance: np.ndarray, spacing_mm: tuple[float, ...], wanted: tuple[int, ...]) -> Rows:
    """Volume, centre and extent of each structure of the wanted vertebrae; left and right are pooled."""
    rows: Rows = defaultdict(list)
    right_to_left = {right: left for left, right in LEFT_RIGHT_PAIRS}
    for vertebra in wanted:
        body = np.argwhere((instance == vertebra) & (semantic == Structure.CORPUS)) * spacing_mm
        if len(body) < 500 or not _inside(instance == vertebra):
            continue
        turn = _frame(body)
        for structure in (Structure.CORPUS, *POSTERIOR):
            part = (np.argwhere((instance == vertebra) & (semantic == structure)) * spacing_mm - body.mean(axis=0)) @ turn
            if len(part) == 0:
                continue
            if structure in dict(LEFT_RIGHT_PAIRS):
                part = part * (1, 1, -1)
            low, high = np.percentile(part, (3, 97), axis=0)
            volume = len(part) * float(np.prod(spacing_mm)) / 1000
            rows[right_to_left.get(structure, structure)].append(np.array([volume, *part.mean(axis=0), *low, *high]))
    return rows


def _inside(mask: np.ndarray) -> bool:
    """Whether a vertebra is not cut above or below, in front or behind."""
    return not any(mask.take(end, axis).any() for axis in (0, 1) for end in (0, -1))


def _frame(body: np.ndarray) -> np.ndarray:
    """Rotation from grid axes to those of a body in the sagittal plane (its longer axis runs backwards)."""
    axis = np.linalg.eigh(np.cov((body - body.mean(axis=0))[:, :2].T))[1][:, 1]
    axis = axis * np.sign(axis[0])
    return np.array([[axis[0], -axis[1], 0], [axis[1], axis[0], 0], [0, 0, 1]])


def load(path: Path) -> tuple[np.ndarray, tuple[float, ...]]:
    """A label map in PIR and its spacing."""
    image = nib.load(path)
    geometry = Geometry(image.shape, image.affine)
    change = Reorientation.between(geometry.axes, PIR)
    return change.apply(np.rint(np.asanyarray(image.dataobj)).astype(np.int16)), change.apply_geometry(geometry).spacing_mm


def show(title: str, rows: Rows) -> None:
    """Print one table."""
    print(
        f"\n{title}\n{'structure':34} {'n':>3} {'ml':>6}   behind  below beside   {'behind':^14} {'below':^14} {'beside':^14}"
    )
    for structure, values in rows.items():
        volume, p, i, r, *ends = np.mean(values, axis=0)
        spans = " ".join(f"{ends[k]:6.1f}..{ends[k + 3]:6.1f}" for k in range(3))
        print(
            f"{structure.title.replace(', left', ''):34} {len(values):3} {volume:6.2f}   {p:6.1f} {i:6.1f} {r:6.1f}   {spans}"
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = Path(os.environ.get("SPINEPS_SHARED", Path(__file__).parents[2] / "shared"))
    parser.add_argument("--data", type=Path, default=shared / "data")
    parser.add_argument("--phantoms", type=int, default=10)
    args = parser.parse_args()
    crop, pair = args.data / "tptbox_crop", args.data / "panoptica_pair"
    real = (
        ("labelled crop", crop / "sub-mri_seg-subreg_label-6_msk.nii.gz", crop / "sub-mri_seg-vert_label-6_msk.nii.gz", (6,)),
        ("labelled scan (cut at the sides)", pair / "semantic/ref.nii.gz", pair / "matched_instance/ref.nii.gz", (4, 5, 6, 7)),
    )
    for title, semantic, instance, wanted in real:
        if semantic.is_file() and instance.is_file():
            labels, spacing_mm = load(semantic)
            show(title, measure(labels, load(instance)[0], spacing_mm, wanted))
        else:
            print(f"{title}: not at {semantic}")
    pooled: Rows = defaultdict(list)
    spec = AnatomySpec(shape=(112, 150, 64), spacing_mm=(1.4, 1.4, 1.7), centre_level=21, pathology=0.5)
    for seed in range(args.phantoms):
        anatomy = build_anatomy(np.random.default_rng(seed), spec)
        for structure, values in measure(anatomy.semantic, anatomy.instance, spec.spacing_mm, LUMBAR).items():
            pooled[structure].extend(values)
    show(f"{args.phantoms} phantoms, L2 to L4", pooled)


if __name__ == "__main__":
    main()
