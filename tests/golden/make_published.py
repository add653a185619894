"""Write published.npz anew: python tests/golden/make_published.py PYTHON (of an environment that has SPINEPS 2.1.3)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path[:0] = [str(REPOSITORY), str(HERE), str(HERE.parent)]

import published_cases as cases  # noqa: E402


def main(python: str, work: Path) -> None:
    asked: dict[str, list[str]] = {}
    for name, numbers in cases.SEMANTIC.items():
        cases.image(numbers).to_filename(work / f"{name}.nii.gz")
        asked[f"semantic_{name}"] = ["semantic", f"{name}.nii.gz", str(cases.semantic_model(work / name, name))]
    write(work / "cutout.nii.gz", cases.cutout(), np.eye(3))
    for name in cases.INSTANCE:
        asked[f"instance_{name}"] = ["instance", "cutout.nii.gz", str(cases.instance_model(work / name, name))]
    spine, labels = cases.damaged()
    axes = spine.semantic.geometry.affine[:3, :3]
    write(work / "mask.nii.gz", labels, axes)
    write(work / "truth.nii.gz", spine.truth, axes)
    perfect = str(cases.perfect_model(work / "perfect"))
    asked["masks"] = ["masks", "mask.nii.gz", perfect, "--truth", "truth.nii.gz", "--peer", str(HERE)]
    command = [python, str(REPOSITORY / "bench" / "published_side.py")]
    for name, (what, source, model, *options) in asked.items():
        command += [what, source, model, f"{name}.npz", *options, "--then"]
    subprocess.run(command, check=True, cwd=work)
    kept = {name: np.load(work / f"{name}.npz") for name in asked}
    answers = {name: kept[name]["labels"] for name in asked if name.startswith("semantic")}
    answers |= {name: kept[name]["logits"][:, ::3, ::3, ::3] for name in asked if name.startswith("instance")}
    answers |= {f"masks_{name}": mask.astype(np.uint16) for name, mask in kept["masks"].items()}
    np.savez_compressed(cases.GOLDEN, **answers)  # type: ignore[arg-type]


def write(path: Path, voxels: np.ndarray, axes: np.ndarray) -> None:
    affine = np.eye(4)
    affine[:3, :3] = axes
    nib.Nifti1Image(voxels, affine).to_filename(path)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(sys.argv[1], Path(folder))
