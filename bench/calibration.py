"""How sure is the semantic model, how sure should it be, and how much does the temperature on its card mend?

    python bench/calibration.py [--count 8] [--model FOLDER] [--write]

Held-out phantoms are segmented. Of voxels within 10 mm of the true spine, half of the phantoms give the temperature at which
the true labels are likeliest; on the other half the likelihood, the calibration error, and how well the uncertainty finds wrong
voxels (area under the ROC curve) are measured, without and with it. ``--write`` puts it on the model's card; its weights and
their hash stay as they are.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage, stats

from spineps.config import ComputeConfig, PipelineConfig
from spineps.inference.calibration import calibration_error, fit_temperature, negative_log_likelihood, tempered
from spineps.inference.load import load_semantic
from spineps.labels import ENDPLATES, Structure
from spineps.phantom.phantom import make_phantom
from spineps.pipeline import prepare_scan
from spineps.stages.extras import ScoreKeeper
from spineps.stages.semantic import predict_semantic
from spineps.zoo.card import Kind
from spineps.zoo.export import write_card
from spineps.zoo.store import bundled_folder

FIRST_SEED = 71_000
REACH_MM = 10.0
VOXELS = 40_000


@dataclass(frozen=True, slots=True)
class Voxels:
    """Probabilities, shape (N, C), and true classes, shape (N,), of voxels near the spine."""

    probabilities: np.ndarray
    truth: np.ndarray


def voxels_of(seed: int, engine: object) -> Voxels:
    """A phantom's voxels, drawn evenly from those near its spine."""
    phantom = make_phantom(seed, spacing_mm=(0.9, 0.9, 3.3))
    scan = phantom.scan
    prepared = prepare_scan(scan, PipelineConfig())
    keeper = ScoreKeeper(prepared, engine, softmax=True)
    predict_semantic(prepared, engine, on_scores=keeper)
    softmax = keeper.softmax
    assert softmax is not None
    labels = phantom.semantic.labels.astype(np.uint8)
    labels[np.isin(labels, [int(plate) for plate in ENDPLATES])] = Structure.ENDPLATE
    distance = ndimage.distance_transform_edt(labels == 0, sampling=scan.geometry.spacing_mm)
    near = np.flatnonzero((distance.reshape(-1) < REACH_MM) & np.isin(labels.reshape(-1), softmax.labels))
    drawn = np.random.default_rng(seed).choice(near, min(VOXELS, len(near)), replace=False)
    columns = [softmax.channel(index).reshape(-1)[drawn] for index in range(len(softmax.labels))]
    classes = np.argsort(softmax.labels)[
        np.searchsorted(softmax.labels, labels.reshape(-1)[drawn], sorter=np.argsort(softmax.labels))
    ]
    return Voxels(np.stack(columns, axis=1), classes)


def joined(parts: list[Voxels]) -> Voxels:
    return Voxels(np.concatenate([part.probabilities for part in parts]), np.concatenate([part.truth for part in parts]))


def finds_errors(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Area under the ROC curve of entropy as a sign of a wrong label."""
    entropy = -(probabilities * np.log(np.clip(probabilities, 1e-12, 1))).sum(axis=1)
    wrong = probabilities.argmax(axis=1) != truth
    if not wrong.any() or wrong.all():
        return float("nan")
    ranks = stats.rankdata(entropy)
    return float((ranks[wrong].sum() - wrong.sum() * (wrong.sum() + 1) / 2) / (wrong.sum() * (~wrong).sum()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=8, help="phantoms (default 8)")
    parser.add_argument("--model", type=Path, default=None, help="model folder (default: the bundled one)")
    parser.add_argument("--write", action="store_true", help="put the temperature on the card")
    args = parser.parse_args()
    folder = args.model or bundled_folder(Kind.SEMANTIC)
    engine = load_semantic(ComputeConfig(), folder)
    parts = [voxels_of(FIRST_SEED + number, engine) for number in range(max(2, args.count))]
    fitted, held_out = joined(parts[::2]), joined(parts[1::2])
    temperature = round(fit_temperature(fitted.probabilities, fitted.truth), 3)
    print(f"{len(parts)} phantoms, {len(fitted.truth)} voxels for the temperature, {len(held_out.truth)} to measure")
    print(f"temperature {temperature} (on the card: {engine.card.temperature})")
    print("| temperature | negative log-likelihood | calibration error | wrong voxels found (AUC) |\n|---|---|---|---|")
    for value in (1.0, temperature):
        scaled = tempered(held_out.probabilities, value)
        likelihood, error = negative_log_likelihood(scaled, held_out.truth), calibration_error(scaled, held_out.truth)
        print(f"| {value} | {likelihood:.4f} | {error:.4f} | {finds_errors(scaled, held_out.truth):.3f} |")
    if args.write:
        write_card(folder, engine.card.model_copy(update={"temperature": temperature}))
        print("written to the card")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
