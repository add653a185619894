"""Probabilities kept from a run, the image of uncertainty, and the mask on the network's own grid."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spineps.config import ExtraConfig, PipelineConfig, PreprocessConfig
from spineps.geometry import Box, Geometry, Reorientation
from spineps.inference.sliding import Slab
from spineps.labels import Structure
from spineps.outputs.extras import StageKeeper
from spineps.outputs.save import save
from spineps.pipeline import Models, prepare_scan, segment_scan
from spineps.stages.extras import ScoreKeeper, model_mask, uncertainty
from spineps.volume import Scan, Softmax
from tests.spines import Oracle, make_spine
from tests.unit.test_pipeline import LABELS, Reader, _scan

EXTRAS = ExtraConfig(softmax=True, uncertainty=True, model_mask=True)


def softmax_of(scores: np.ndarray, scale: int = 1) -> Softmax:
    """Scores on a grid, seen through one that is ``scale`` times finer."""
    grid = Geometry.from_spacing(scores.shape[1:], (2.0, 2.0, 2.0))
    seen = grid.resampled([2.0 / scale] * 3)
    labels = np.arange(len(scores), dtype=np.uint8)
    turn = Reorientation.between(("P", "I", "R"), ("L", "A", "S"))
    return Softmax(scores.astype(np.float16), labels, grid, seen, Box.whole(seen.shape), seen.shape, turn)


def random_scores(classes: int = 5, shape: tuple[int, int, int] = (6, 8, 4)) -> np.ndarray:
    raw = np.random.default_rng(0).random((classes, *shape)) ** 6
    return raw / raw.sum(axis=0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_uncertainty_is_the_entropy_of_tempered_probabilities(temperature: float) -> None:
    scores = random_scores()
    softmax = softmax_of(scores)
    p = softmax.scores.astype(np.float64) ** (1 / temperature)
    p /= p.sum(axis=0)
    entropy = -(p * np.log(p, where=p > 0, out=np.zeros_like(p))).sum(axis=0) / np.log(5)
    np.testing.assert_allclose(uncertainty(softmax, temperature), softmax.turn.apply(entropy), atol=2e-3)


def test_sure_voxels_are_0_and_undecided_ones_1() -> None:
    scores = np.zeros((4, 3, 3, 3))
    scores[1] = 1
    assert uncertainty(softmax_of(scores)).max() == 0
    assert uncertainty(softmax_of(np.full((4, 3, 3, 3), 0.25)), 1.3).min() == pytest.approx(1, abs=1e-3)


def test_channels_lie_on_the_grid_of_the_scan_and_sum_to_one() -> None:
    softmax = softmax_of(random_scores(), scale=3)
    whole = Box((2, 1, 3), (2 + softmax.seen.shape[0], 1 + softmax.seen.shape[1], 3 + softmax.seen.shape[2]))
    shape = tuple(stop + 4 for stop in whole.stop)
    part = replace(softmax, box=whole, shape=shape)
    channels = [part.channel(k) for k in range(5)]
    assert channels[0].shape == (shape[2], shape[0], shape[1])
    np.testing.assert_allclose(np.sum(channels, axis=0), 1, atol=2e-3)
    back = part.turn.inverse().apply(channels[0])
    assert (back[:2] == 1).all()
    assert back[whole.slices].min() < 0.9


@pytest.fixture(scope="module")
def run():
    spine = make_spine(4)
    scan = _scan(spine)
    config = PipelineConfig(preprocess=PreprocessConfig(crop=False), extras=EXTRAS)
    return scan, segment_scan(scan, Models(Reader(), Oracle(spine)), config)


def test_a_run_gives_what_was_asked_for_and_the_same_masks(run) -> None:
    scan, result = run
    assert result.extras is not None
    assert result.extras.uncertainty.shape == scan.geometry.shape
    assert result.extras.uncertainty.dtype == np.float32
    assert result.provenance["seconds"]["extras"] >= 0
    spine = make_spine(4)
    plain = segment_scan(scan, Models(Reader(), Oracle(spine)), PipelineConfig(preprocess=PreprocessConfig(crop=False)))
    assert plain.extras is None
    assert np.array_equal(plain.semantic.labels, result.semantic.labels)
    assert np.array_equal(plain.instance.labels, result.instance.labels)


def test_only_what_was_asked_for_is_kept(run) -> None:
    scan, _ = run
    spine = make_spine(4)
    config = PipelineConfig(preprocess=PreprocessConfig(crop=False), extras=ExtraConfig(model_mask=True))
    extras = segment_scan(scan, Models(Reader(), Oracle(spine)), config).extras
    assert extras.softmax is None
    assert extras.uncertainty is None
    assert extras.model_mask is not None


def test_the_most_probable_channel_is_the_mask(run) -> None:
    _, result = run
    softmax = result.extras.softmax
    corpus = softmax.channel(int(np.flatnonzero(LABELS == Structure.CORPUS)[0])) > 0.5
    found = result.semantic.labels == Structure.CORPUS
    assert 2 * (corpus & found).sum() / (corpus.sum() + found.sum()) > 0.97


def test_the_mask_of_the_network_lies_where_the_scan_does(run) -> None:
    _, result = run
    mask = result.extras.model_mask
    np.testing.assert_allclose(mask.geometry.spacing_mm, Reader.spacing_mm, rtol=1e-3)
    assert mask.geometry.axes == ("P", "I", "R")
    for structure in (Structure.CORPUS, Structure.DISC, Structure.SPINOUS):
        centres = [
            volume.geometry.to_mm(np.argwhere(volume.labels == structure).mean(axis=0)) for volume in (mask, result.semantic)
        ]
        assert np.linalg.norm(centres[0] - centres[1]) < 2.5


def test_a_turned_patient_moves_the_mask_of_the_network_along(run) -> None:
    scan, result = run
    affine = scan.geometry.affine.copy()
    angle = np.deg2rad(20)
    affine[:3] = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]) @ affine[:3]
    turned = model_mask(result.extras.softmax, Scan(scan.image, Geometry(scan.geometry.shape, affine), scan.source))
    straight = result.extras.model_mask
    assert np.array_equal(turned.labels, straight.labels)
    voxel = np.argwhere(straight.labels == Structure.CORPUS).mean(axis=0)
    at = scan.geometry.to_vox(straight.geometry.to_mm(voxel))
    np.testing.assert_allclose(Geometry(scan.geometry.shape, affine).to_vox(turned.geometry.to_mm(voxel)), at, atol=0.05)


def test_files_of_extras(run, tmp_path: Path) -> None:
    scan, result = run
    saved = save(result, tmp_path, prefix="sub-1_mod-T2w")
    raw = tmp_path / "output_raw_T2w"
    assert saved.extras == {
        "softmax": raw / "sub-1_mod-T2w_seg-spine_logit.npz",
        "uncertainty": raw / "sub-1_mod-T2w_seg-spine_unc.nii.gz",
        "model_mask": raw / "sub-1_mod-T2w_seg-spine-modelres_msk.nii.gz",
    }
    assert sorted(raw.iterdir()) == sorted(saved.extras.values())
    outputs = json.loads(saved.record.read_text())["outputs"]
    for role, path in saved.extras.items():
        assert outputs[role] == hashlib.sha256(path.read_bytes()).hexdigest()
    with np.load(saved.extras["softmax"]) as file:
        assert file["softmax"].dtype == np.float16
        assert file["softmax"].shape == (len(LABELS), *scan.geometry.shape)
        assert np.array_equal(file["labels"], LABELS)
        for index in (0, 3):
            assert np.array_equal(file["softmax"][index], result.extras.softmax.channel(index).astype(np.float16))
    image = nib.load(saved.extras["uncertainty"])
    assert np.array_equal(np.asarray(image.dataobj), result.extras.uncertainty)
    again = save(result, tmp_path / "again", prefix="sub-1_mod-T2w")
    assert again.extras["softmax"].read_bytes() == saved.extras["softmax"].read_bytes()


def test_nothing_extra_is_written_unasked(run, tmp_path: Path) -> None:
    _, result = run
    saved = save(replace(result, extras=None), tmp_path, prefix="sub-1_mod-T2w")
    assert saved.extras == {}
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_stages_are_kept_in_the_grid_of_the_scan(tmp_path: Path) -> None:
    spine = make_spine(4)
    scan = _scan(spine)
    keeper = StageKeeper(scan)
    result = segment_scan(scan, Models(Reader(), Oracle(spine)), on_stage=keeper)
    folder = keeper.save(tmp_path, prefix="sub-1_mod-T2w")
    assert folder == tmp_path / "debug_T2w"
    names = {"preprocess", "semantic", "clean", "instance", "postprocess-semantic", "postprocess-instance"}
    assert {path.name for path in folder.iterdir()} >= {f"{name}_T2w.nii.gz" for name in names}
    for path in folder.iterdir():
        assert nib.load(path).shape == scan.geometry.shape
    last = np.asarray(nib.load(folder / "postprocess-instance_T2w.nii.gz").dataobj)
    assert np.array_equal(last > 0, result.instance.labels > 0)


def test_background_is_what_no_region_is_sure_of() -> None:
    spine = make_spine(4)
    prepared = prepare_scan(_scan(spine), PipelineConfig())
    regions = np.zeros((2, *prepared.geometry.shape), np.float32)
    regions[0, 2] = 0.9
    regions[1, 3] = 0.4

    class Regions:
        labels = np.array([Structure.CORPUS, Structure.DISC], np.uint8)

    keeper = ScoreKeeper(prepared, Regions(), softmax=True)
    keeper(Slab(regions, Box.whole(prepared.geometry.shape)), prepared.geometry)
    kept = keeper.softmax
    assert kept.labels.tolist() == [0, Structure.CORPUS, Structure.DISC]
    np.testing.assert_allclose(kept.scores.sum(axis=0), 1, atol=2e-3)
    found = kept.labels[kept.scores.argmax(axis=0)]
    assert (found[2] == Structure.CORPUS).all()
    assert (found[3] == 0).all()
