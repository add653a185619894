"""Random networks in the published formats and what the published package gave with them, read from ``SPINEPS_SHARED/peer``.

Skipped where that folder is absent; ``bench/parity.py`` does the same beside the published package itself.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from spineps.config import ComputeConfig, Device, Precision
from spineps.geometry import PIR, Reorientation
from spineps.inference.load import load_instance, load_semantic
from spineps.io.nifti import read_labels, read_scan
from spineps.stages.published import Numbers, cubic
from spineps.zoo.published import import_folder, import_model
from spineps.zoo.store import load_model

FP32 = ComputeConfig(Device.CPU, Precision.FP32, threads=1)


@pytest.fixture(scope="module")
def peer(repository):
    folder = Path(os.environ.get("SPINEPS_SHARED", repository.parent / "shared")) / "peer"
    if not (folder / "models").is_dir():
        pytest.skip("no published models here: set SPINEPS_SHARED to a folder that holds peer/models")
    return folder


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("SPINEPS_MODELS", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.mark.slow
def test_labels_of_the_published_package(peer):
    """The reference was summed in half precision, which alone changes 0.036 % of the labels."""
    folder = peer / "reference" / "sem_mri_resenc"
    scan, mask = read_scan(folder / "0_preprocessed.nii.gz"), read_labels(folder / "1_seg_modelres.nii.gz")
    turn = Reorientation.between(scan.geometry.axes, PIR)
    grid, engine = turn.apply_geometry(scan.geometry), load_semantic(FP32, peer / "models" / "sem_resenc")
    image, grid = cubic(turn.apply(scan.image), grid, engine.spacing_for(grid.spacing_mm), Numbers.of(scan))
    found = engine.label(image, grid.spacing_mm, step_share=engine.step_share, mirror=engine.mirror)
    theirs = Reorientation.between(mask.geometry.axes, PIR).apply(mask.labels)
    assert (found == theirs).mean() >= 0.999


@pytest.mark.parametrize("name", ["sem_old_3fold", "sem_old_1fold_tta", "sem_resenc", "inst_new"])
def test_folders_as_the_published_package_wrote_them(peer, name):
    card = import_model(peer / "models" / name)
    assert card.name == name
    again = import_model(peer / "models" / name)
    assert again == card


def test_checkpoints_of_the_published_package_run(peer):
    engine = load_instance(FP32, peer / "models" / "inst_new")
    assert (engine.cutout_size, engine.spacing_mm) == ((248, 304, 64), (0.75, 0.75, 1.65))
    cutout = np.zeros((16, 16, 16), np.uint8)
    cutout[4:12, 4:12, 4:12] = 49
    assert np.isfinite(engine.logits(cutout)).all()
    assert len(load_model(import_folder(peer / "models" / "sem_old_3fold")).network.folds) == 3
