"""Training of the instance network on what a semantic network says of phantoms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spineps.cli import main
from spineps.config import ComputeConfig, Device, Precision
from spineps.inference.load import load_semantic
from spineps.labels import Structure
from spineps.phantom.anatomy import build_anatomy, spec_for_vertebrae
from spineps.training.instance_samples import draw_instance_sample
from spineps.training.pool import Volume, load_volume, save_volume, volume_of
from spineps.training.predictions import owned, predictions_pool, relabelled
from spineps.training.tasks import InstanceTask

MODEL = Path(__file__).parents[1] / "data" / "models" / "semantic"
CPU = ComputeConfig(Device.CPU, Precision.FP32, 1)
SEED = 1_000_002


@pytest.fixture(scope="module")
def truth() -> Volume:
    rng = np.random.default_rng(SEED)
    return volume_of(build_anatomy(rng, spec_for_vertebrae(rng, 3, (2.0, 2.0, 2.0))), seed=SEED)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_a_phantom_shows_what_the_network_says_of_it(truth: Volume) -> None:
    seen = relabelled(truth, load_semantic(CPU, MODEL))
    body, found = truth.semantic == Structure.CORPUS, seen.semantic == Structure.CORPUS
    assert seen.predicted
    assert 0.5 < dice(body, found) < 0.99  # a network's labels: right for the most part, and not the truth
    for vertebra in seen.centres_vox:
        assert dice(body & (truth.instance == vertebra), found & (seen.instance == vertebra)) > 0.4
    assert seen.order == truth.order
    again = relabelled(truth, load_semantic(CPU, MODEL))
    assert np.array_equal(again.semantic, seen.semantic)


def test_the_pool_keeps_the_labels_and_samples_show_them_as_they_are(truth: Volume, tmp_path: Path) -> None:
    save_volume(tmp_path, truth)
    [path] = InstanceTask(MODEL).phantoms(tmp_path, SEED, 1)
    assert path.parent == predictions_pool(tmp_path, MODEL)
    seen = load_volume(path)
    assert seen.predicted
    assert not np.array_equal(seen.semantic, truth.semantic)
    labels, target = draw_instance_sample(seen, np.random.default_rng(1))
    plain, same = draw_instance_sample(seen, np.random.default_rng(1), corrupt=False)
    assert np.array_equal(labels, plain)
    assert np.array_equal(target, same)
    assert set(np.unique(target)) >= {0, 2}


def test_a_phantom_of_an_odd_seed_keeps_its_true_labels(truth: Volume, tmp_path: Path) -> None:
    odd = Volume(truth.tissue, truth.semantic, truth.instance, truth.spacing_mm, SEED + 1, truth.centres_vox, truth.order)
    save_volume(tmp_path, odd)
    [path] = InstanceTask(MODEL).phantoms(tmp_path, SEED + 1, 1)
    seen = load_volume(path)
    assert not seen.predicted
    assert np.array_equal(seen.semantic, truth.semantic)


def test_who_owns_a_predicted_voxel() -> None:
    instance = np.zeros((30, 12, 4), np.uint8)
    instance[8:12, 1:5], instance[8:12, 7:11], instance[8:12, 5:7] = 20, 21, 120
    semantic = np.where(instance > 0, np.uint8(Structure.CORPUS), np.uint8(0))
    semantic[12:14, 1:5], semantic[25:28, 1:5] = Structure.ARCUS, Structure.SPINOUS
    semantic[6, 9] = Structure.DISC
    found = owned(semantic, instance, (1.0, 1.0, 2.0))
    assert (found[8:14, 1:5] == 20).all()  # what was painted beyond the bone is the bone's
    assert not found[8:12, 5:7].any()  # a disc taken for bone keeps its neighbours apart
    assert not found[25:28].any()  # an island is nobody's
    assert not found[6].any()


def test_predictions_are_for_the_instance_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "semantic", "--out", str(tmp_path), "--hours", "1", "--on-predictions", str(MODEL)]) == 2
    assert "spineps train instance" in capsys.readouterr().err
