"""The paper's recipe with nnU-Net itself, as a user runs it: three folds on phantoms, small enough for a CPU."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from own_dataset import write_dataset

from spineps.cli import main
from spineps.config import ComputeConfig, Device, Precision
from spineps.inference.load import load_semantic
from spineps.io.nifti import read_scan
from spineps.labels import Structure
from spineps.training.paper_dataset import DATASET
from spineps.zoo.store import load_model

SMALL = ["--patch", "32", "32", "16", "--spacing", "2", "2", "2.5", "--device", "cpu", "--threads", "1", "--no-n4"]
BRIEF = ["--epochs", "1", "--iterations", "2"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    write_dataset(folder, 3)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_folds_differ_and_the_model_is_their_average(dataset: Path, tmp_path: Path):
    command = ["train", "semantic", "--recipe", "paper", "--data", str(dataset), "--out", str(tmp_path), *SMALL, *BRIEF]
    assert main(command) == 0
    splits = json.loads((tmp_path / "splits_final.json").read_text())
    held_out = [set(split["val"]) for split in splits]
    assert len(splits) == 3
    assert all(a.isdisjoint(b) for a, b in combinations(held_out, 2))
    card = json.loads((tmp_path / "model" / "card.json").read_text())
    assert card["training"]["folds"] == 3
    assert card["elsewhere"]["n4"] is False

    plans = json.loads((tmp_path / "nnunet" / "preprocessed" / DATASET / "nnUNetPlans.json").read_text())
    plan = plans["configurations"]["3d_fullres"]
    assert (plan["patch_size"], plan["batch_size"], plan["spacing"]) == ([16, 32, 32], 2, [2.5, 2.0, 2.0])
    assert plans["transpose_forward"] == [0, 1, 2]

    ensemble = load_model(tmp_path / "model").network
    tile = torch.randn(1, 1, 16, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        outputs = [fold(tile) for fold in ensemble.folds]
        together = ensemble(tile)
    assert len(outputs) == 3
    assert all((a - b).abs().max() > 0.01 for a, b in combinations(outputs, 2))
    assert torch.allclose(together, sum(outputs) / 3, atol=1e-5)
    network = load_semantic(ComputeConfig(Device.CPU, Precision.FP32, 1), tmp_path / "model")
    image = read_scan(dataset / "sub-00" / "sub-00_T2w.nii.gz").image
    found = network.label(image, (2.0, 2.0, 2.5), step_share=0.5, mirror=False)
    assert found.shape == image.shape
    assert {0, int(Structure.CORPUS)} < {int(label) for label in card["labels"]}
    assert set(np.unique(found).tolist()) <= set(card["labels"])
