"""Random networks in the published formats, and what the published package gave with them.

Its answers for small models that are made here lie in ``published.npz`` (``make_published.py`` writes it); those for larger
ones are read from ``SPINEPS_SHARED/peer`` and skipped where that folder is absent. ``bench/parity.py`` does the same beside
the published package itself.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from spineps.config import ComputeConfig, Device, PipelineConfig, Precision, PreprocessConfig
from spineps.geometry import PIR, Reorientation
from spineps.inference.load import load_instance, load_semantic
from spineps.io.nifti import read_labels, read_scan
from spineps.stages.published import Numbers, cubic, label_scan
from spineps.volume import Scan
from spineps.zoo.published import import_folder, import_model
from spineps.zoo.store import load_model
from tests.golden import published_cases as cases

FP32 = ComputeConfig(Device.CPU, Precision.FP32, threads=1)


@pytest.fixture(scope="module")
def golden():
    with np.load(cases.GOLDEN) as kept:
        return dict(kept)


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


@pytest.mark.parametrize("name", cases.SEMANTIC)
def test_labels_of_small_networks(golden, tmp_path, name):
    """Three folds, mirroring and the newer plans, in three kinds of numbers; sums in half precision change some labels."""
    cases.image(cases.SEMANTIC[name]).to_filename(tmp_path / "image.nii.gz")
    scan = read_scan(tmp_path / "image.nii.gz")
    turn = Reorientation.between(scan.geometry.axes, PIR)
    upright = Scan(turn.apply(scan.image), turn.apply_geometry(scan.geometry), scan.source)
    engine = load_semantic(FP32, cases.semantic_model(tmp_path / name, name))
    found = label_scan(upright, engine, PipelineConfig(preprocess=PreprocessConfig(n4=False))).labels
    theirs = golden[f"semantic_{name}"]
    assert found.shape == theirs.shape
    assert len(np.unique(theirs)) > 3
    assert (found == theirs).mean() >= 0.999


@pytest.mark.parametrize("name", cases.INSTANCE)
def test_logits_of_both_generations(golden, tmp_path, name):
    logits = load_instance(FP32, cases.instance_model(tmp_path / name, name)).logits(cases.cutout())[:, ::3, ::3, ::3]
    assert np.ptp(logits) > 0.1
    assert np.abs(logits - golden[f"instance_{name}"]).max() <= 1e-4
