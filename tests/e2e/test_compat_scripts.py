"""Cohort scripts written for the published package, run as their users run them: a process of their own, a BIDS data set.

In the script of the newer generation no published weights are on the machine and none are named, so that the bundled models
take their places; in that of the older one small models lie where the published ones would.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from TPTBox import POI

NEWER = """
import sys
from pathlib import Path
from spineps import (
    ErrCode, InstanceConfig, SpinepsPipeline, process_dataset,
)

root = Path(sys.argv[1])
default = SpinepsPipeline(use_cpu=True)
models = dict(
    model_semantic=[default.model_semantic],
    model_instance=default.model_instance,
    model_labeling=default.model_labeling,
)
options = dict(rawdata_name="rawdata", derivative_name="derivatives_seg", snapshot_copy_folder=True)
extras = dict(save_debug_data=True, save_softmax_logits=True, save_modelres_mask=True)
first = process_dataset(root, **models, **options, **extras)
assert first == {"seen": 1, "processed": 1, "already_done": 0, "failed": 0, "failures": []}, first
second = process_dataset(root, **models, **options)
assert second["already_done"] == 1 and second["processed"] == 0, second

scan = next(root.glob("rawdata/*/*/*_T2w.nii.gz"))
copy = root / "alone" / scan.name
copy.parent.mkdir()
copy.symlink_to(scan)
pipeline = SpinepsPipeline(model_labeling=None, use_cpu=True)

# The masks of the two networks are kept: only what follows them is run again.
derivatives = root / "alone" / "derivatives_seg"
derivatives.mkdir()
raw = next(root.glob("derivatives_seg/**/output_raw_T2w"))
(derivatives / raw.name).symlink_to(raw)
result = pipeline.segment(copy, output_in_memory=True, instance=InstanceConfig(labeling_offset=1))
assert result.success and result.errcode == "OK" and result.errcode == ErrCode.OK
assert result.output_paths is None
labels = [label for label in result.vertebra.unique() if label < 100 and label != 26]
assert labels == list(range(1, len(labels) + 1)), labels
assert result.semantic.shape == result.vertebra.shape
assert [v for v, part in result.centroids.keys() if part == 50 and v != 26] == labels
assert sorted(path.name for path in derivatives.iterdir()) == [raw.name]
"""

OLDER = """
import sys
from pathlib import Path
from TPTBox import NII, to_nii
from TPTBox.segmentation import get_outpaths_spineps, run_spineps
from TPTBox.segmentation.spineps import _run_spineps_internal, _run_spineps_vert

scan, root = Path(sys.argv[1]), Path(sys.argv[2])
paths = run_spineps(scan, root, model_labeling=None, use_cpu=True, save_raw=True)
foretold = get_outpaths_spineps(scan, root, derivative_name="derivatives")
assert all(paths[key] == foretold[key] for key in foretold)
assert paths["out_spine"].exists() and paths["out_vert"].exists() and paths["out_ctd"].exists() and paths["out_snap"].exists()
assert run_spineps(scan, root, model_labeling=None, use_cpu=True)["out_vert"] == paths["out_vert"]

image, spine, vert = to_nii(scan, False), to_nii(paths["out_spine"], True), to_nii(paths["out_vert"], True)
clean, vertebrae, raw = _run_spineps_vert(image, spine, use_cpu=True)
assert isinstance(vertebrae, NII) and raw.shape == image.shape
found, expected = ({int(v) for v in mask.unique() if v < 100} for mask in (vertebrae, vert))
assert found == expected, (found, expected)

semantic = _run_spineps_internal(scan, sys.argv[3], step_size=0.5)
assert semantic.shape == image.shape and semantic.orientation == image.orientation
assert 49 in semantic.unique()
"""


@pytest.fixture
def data_set(phantom, tmp_path: Path) -> Path:
    folder = tmp_path / "dataset-phantom"
    anat = folder / "rawdata" / "sub-CANARY" / "anat"
    anat.mkdir(parents=True)
    shutil.copy(phantom.scan, anat)
    return folder


def run(script: str, *arguments: Path, home: Path) -> str:
    """Run a script that knows nothing of us, with an empty cache of models."""
    environment = {**os.environ, "SPINEPS_MODELS": str(home / "models"), "NO_COLOR": "1"}
    environment.pop("SPINEPS_SEGMENTOR_MODELS", None)
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=home)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def voxels(path: Path) -> np.ndarray:
    image = nib.load(path)
    assert image.get_data_dtype() == np.uint16
    return np.asarray(image.dataobj)


def test_newer_generation(data_set: Path, phantom, sample_run, tmp_path: Path) -> None:
    said = run(NEWER, data_set, home=tmp_path)
    assert "spineps models fetch t2w" in said
    folder = data_set / "derivatives_seg" / "sub-CANARY" / "anat"
    prefix = "sub-CANARY_mod-T2w"
    published = {
        f"{prefix}_seg-spine_msk.nii.gz",
        f"{prefix}_seg-vert_msk.nii.gz",
        f"{prefix}_seg-spine_ctd.json",
        f"{prefix}_seg-spine_snp.png",
        f"output_raw_T2w/{prefix}_seg-spine-raw_msk.nii.gz",
        f"output_raw_T2w/{prefix}_seg-vert-raw_msk.nii.gz",
        f"output_raw_T2w/{prefix}_seg-spine_logit.npz",
        f"output_raw_T2w/{prefix}_seg-spine_unc.nii.gz",
        "debug_T2w/sem_raw_T2w.nii.gz",
    }
    assert not [name for name in published if not (folder / name).is_file()]
    assert (data_set / "snaps_seg" / f"{prefix}_seg-spine_snp.png").is_file()
    for kind in ("spine", "vert"):  # the published names lead to the same pipeline as the command
        name = f"{prefix}_seg-{kind}_msk.nii.gz"
        assert np.array_equal(voxels(folder / name), voxels(sample_run.folder / name))
    points = POI.load(folder / f"{prefix}_seg-spine_ctd.json")
    assert points.shape == nib.load(phantom.scan).shape
    record = json.loads((folder / f"{prefix}_run.json").read_text(encoding="utf-8"))
    assert {"MODEL_BUNDLED"} <= {finding["code"] for finding in record["findings"]}
    _check_extras(folder / "output_raw_T2w", prefix, voxels(folder / f"{prefix}_seg-spine_msk.nii.gz").shape)


def _check_extras(raw: Path, prefix: str, shape: tuple[int, ...]) -> None:
    """Flags that did nothing, or crashed, in the published package."""
    scores = np.load(raw / f"{prefix}_seg-spine_logit.npz")["softmax"]
    assert scores.shape[1:] == shape
    assert np.abs(scores.astype(np.float32).sum(axis=0) - 1).max() < 0.02
    mask = nib.load(raw / f"{prefix}_seg-spine-modelres_msk.nii.gz")
    assert np.allclose(mask.header.get_zooms(), (1, 1, 2), atol=0.01)  # the bundled model's spacing, P I R
    assert mask.shape != shape


def test_older_generation_and_tptbox(data_set: Path, repository: Path, tmp_path: Path) -> None:
    scan = data_set / "rawdata" / "sub-CANARY" / "anat" / "sub-CANARY_T2w.nii.gz"
    before = scan.read_bytes()
    for folder, kind in (("t2w-v1.0.9", "semantic"), ("instance-v1.2.0", "instance")):
        shutil.copytree(repository / "tests" / "data" / "models" / kind, tmp_path / "models" / folder)
    said = run(OLDER, scan, data_set, tmp_path / "models" / "t2w-v1.0.9", home=tmp_path)
    assert "spineps models fetch" not in said
    assert scan.read_bytes() == before
    assert (data_set / "derivatives" / "sub-CANARY" / "anat" / "output_raw_T2w").is_dir()
