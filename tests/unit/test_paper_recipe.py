"""The recipe of the paper: the instance network, and what nnU-Net is given. The nnU-Net route itself is in tests/e2e."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from own_dataset import write_dataset

from spineps.cli import main
from spineps.config import ComputeConfig, Device, Precision
from spineps.inference.load import load_instance
from spineps.labels import LEFT_RIGHT_PAIRS, Structure
from spineps.networks.classes import SEMANTIC_CLASSES
from spineps.training import paper_dataset
from spineps.training.own_cases import find_cases, read_case
from spineps.training.own_samples import own_volume
from spineps.training.paper_instance import PAPER_CUTOUT, PaperInstance, paper_cutout, rate_of
from spineps.training.paper_semantic import PAPER_EPOCHS, PAPER_FOLDS, PAPER_PATCH, PaperSemantic

CPU = ComputeConfig(Device.CPU, Precision.FP32, 1)
SMALL = ["--patch", "32", "32", "24", "--spacing", "3", "3", "3", "--device", "cpu", "--threads", "1", "--no-n4"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    write_dataset(folder, 3)
    return folder


def test_the_numbers_are_the_paper_s():
    paper = PaperSemantic(Path(), Path())
    assert (paper.patch, paper.spacing_mm) == ((256, 256, 64), (0.75, 0.75, 1.65))
    assert (paper.epochs, paper.folds, paper.batch) == (1000, 3, 2)
    assert (paper.patch, paper.epochs, paper.folds) == (PAPER_PATCH, PAPER_EPOCHS, PAPER_FOLDS)
    assert (PAPER_CUTOUT, PaperInstance(Path()).epochs) == ((248, 304, 64), 300)
    rates = [rate_of(epoch, 300) for epoch in range(300)]
    assert (rates[0], rates[-1]) == (pytest.approx(1e-4), pytest.approx(1e-6))
    assert np.allclose(np.diff(rates), rates[1] - rates[0])


def test_a_mirrored_cutout_swaps_all_three_pairs_and_the_target_keeps_its_place(dataset: Path):
    case = read_case(find_cases(dataset)[0])
    volume = own_volume(case, case.labelled(), (2.0, 2.0, 2.0), 0)
    vertebra = sorted(volume.masks.centres_vox)[0]
    config = PaperInstance(Path(), cutout=(80, 64, 64), spacing_mm=(2.0, 2.0, 2.0))
    seen, centre = set(), set()
    for seed in range(24):
        labels, target = paper_cutout(volume, vertebra, config, np.random.default_rng(seed))
        assert not target[labels == 0].any()
        body = np.argwhere(labels == Structure.CORPUS)
        centre.add(int(np.bincount(target[36:44, 28:36, 28:36].reshape(-1), minlength=4).argmax()))
        for left, right in LEFT_RIGHT_PAIRS:
            for structure in (left, right):
                part = np.argwhere(labels == structure)
                if len(part) > 40 and len(body) > 300:
                    seen.add((structure, bool(part[:, 2].mean() < body[:, 2].mean())))
    assert seen == {(left, True) for left, _ in LEFT_RIGHT_PAIRS} | {(right, False) for _, right in LEFT_RIGHT_PAIRS}
    assert centre <= {0, 2}


def test_the_instance_recipe_trains_resumes_and_runs(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    command = ["train", "instance", "--recipe", "paper", "--data", str(dataset), "--out", str(tmp_path), *SMALL]
    assert main([*command, "--epochs", "1"]) == 0
    card = json.loads((tmp_path / "model" / "card.json").read_text())
    assert card["network"] == "Unet3D"
    assert card["training"]["recipe"] == "SPINEPS paper, appendix A"
    assert main([*command, "--epochs", "2"]) == 0
    said = capsys.readouterr().err
    assert "epoch 1 of 1" in said
    assert "epoch 2 of 2" in said
    assert "epoch 1 of 2" not in said
    other = [*command[: command.index("--spacing")], "--spacing", "2", "3", "3", *command[command.index("--spacing") + 4 :]]
    assert main([*other, "--epochs", "3"]) == 2
    assert "another setting of: spacing_mm" in capsys.readouterr().err
    predictor = load_instance(CPU, tmp_path / "model")
    found = predictor(np.full((1, 32, 32, 24), Structure.CORPUS, np.uint8))
    assert found.shape == (1, 32, 32, 24)


def test_what_nnunet_is_given(dataset: Path, tmp_path: Path):
    cases = find_cases(dataset)
    classes = paper_dataset.write_dataset(cases, tmp_path, baseline=False, spacing_mm=(2.0, 2.0, 3.0), n4=False)
    folder = tmp_path / paper_dataset.DATASET
    facts = json.loads((folder / "dataset.json").read_text())
    assert sorted(classes.values()) == list(classes.values())
    assert set(classes.values()) <= {int(s) for s in SEMANTIC_CLASSES}
    assert sorted(facts["labels"].values()) == list(range(len(classes) + 1))
    image = nib.load(folder / "imagesTr" / "sub-00_T2w_0000.nii.gz")
    labels = nib.load(folder / "labelsTr" / "sub-00_T2w.nii.gz")
    assert nib.aff2axcodes(image.affine) == ("P", "I", "R")
    assert image.shape == labels.shape
    assert np.allclose(image.header.get_zooms(), (2, 2, 3))
    truth = read_case(cases[0]).semantic
    body = [number for number, ours in classes.items() if ours == Structure.CORPUS]
    share = (np.asarray(labels.dataobj) == body[0]).mean() / (truth == Structure.CORPUS).mean()
    assert 0.8 < share < 1.5  # cropped by some 6 % along each axis


def test_a_folder_keeps_the_settings_that_its_training_began_with(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    begun = {"folds": 3, "epochs": 1000, "iterations": 250, "patch": [16, 16, 16], "batch": 2, "baseline": False, "n4": True}
    (tmp_path / "nnunet").mkdir()
    (tmp_path / "nnunet" / "settings.json").write_text(json.dumps(begun | {"spacing_mm": [1.65, 0.75, 0.75]}))
    assert main(["train", "semantic", "--recipe", "paper", "--data", str(dataset), "--out", str(tmp_path), "--no-n4"]) == 2
    assert "another setting of: patch, n4" in capsys.readouterr().err


def test_the_baseline_has_the_instance_labels(dataset: Path, tmp_path: Path):
    cases = find_cases(dataset)
    classes = paper_dataset.write_dataset(cases, tmp_path, baseline=True, spacing_mm=(2.0, 2.0, 3.0), n4=False)
    wanted = set().union(*(np.unique(read_case(case).instance).tolist() for case in cases)) - {0}
    assert set(classes.values()) == wanted


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["semantic"], "Give --data"),
        (["labeling", "--data", "x"], "no labeling network"),
        (["semantic", "--data", "x", "--hours", "1"], "epochs, not hours"),
        (["instance", "--data", "x", "--patch", "30", "32", "32"], "multiples of 8"),
        (["semantic", "--data", "x", "--epochs", "-1"], "too small"),
    ],
)
def test_what_the_recipe_cannot_do_is_refused(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["train", *options, "--recipe", "paper", "--out", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err


def test_the_paper_s_cutout_fits_the_network():
    assert all(n % 8 == 0 for n in PAPER_CUTOUT)
    assert torch.tensor(PAPER_CUTOUT).prod() > 0
