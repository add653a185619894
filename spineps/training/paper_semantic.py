"""``--recipe paper`` for the semantic model and for the baseline: nnU-Net v2, three folds, their outputs averaged.

SPINEPS paper, appendix A: patch 256 x 256 x 64 at 0.75 x 0.75 x 1.65 mm, no mirroring, 1000 epochs, batch 2, three folds;
everything else is what nnU-Net finds by itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from spineps.errors import ErrorCode, ResourceError, UsageError
from spineps.geometry import Shape, Spacing
from spineps.io import atomic
from spineps.training.own_cases import CaseFiles
from spineps.training.paper_dataset import DATASET, PAPER_SPACING_MM, write_dataset
from spineps.zoo.export import write_card
from spineps.zoo.published.config import CONFIG
from spineps.zoo.published.convert import convert
from spineps.zoo.store import read_card

PAPER_PATCH: Final[Shape] = (256, 256, 64)
"""Along (P, I, R); in nnU-Net's axis order 64 x 256 x 256."""
PAPER_EPOCHS: Final = 1000
PAPER_FOLDS: Final = 3
PAPER_BATCH: Final = 2
NNUNET_ITERATIONS: Final = 250
"""Batches that nnU-Net calls an epoch."""
_RESULT: Final = f"{DATASET}/nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres"
_LAST_LINES: Final = 3
_DECIDE: Final = ("folds", "epochs", "iterations", "patch", "spacing_mm", "batch", "baseline", "n4")
"""Settings that a training keeps to its end."""
_AUGMENTING: Final = 8
"""Processes that augment for a GPU; beside a network on the CPU they would only take its cores."""


@dataclass(frozen=True, slots=True)
class PaperSemantic:
    """Settings of the recipe; the defaults are the paper's.

    Parameters
    ----------
    out : Path
        Folder for nnU-Net's own folders and the model.
    splits : Path
        nnU-Net's ``splits_final.json``, patient-wise.
    baseline : bool
        nnU-Net on the instance labels.
    patch, spacing_mm
        Along (P, I, R).
    """

    out: Path
    splits: Path
    baseline: bool = False
    folds: int = PAPER_FOLDS
    epochs: int = PAPER_EPOCHS
    iterations: int = NNUNET_ITERATIONS
    patch: Shape = PAPER_PATCH
    spacing_mm: Spacing = PAPER_SPACING_MM
    batch: int = PAPER_BATCH
    n4: bool = True
    device: str = "cpu"
    threads: int = 1


def train_paper_semantic(
    cases: Sequence[CaseFiles], config: PaperSemantic, report: Callable[[str], None], training: dict[str, Any]
) -> Path:
    """Train all folds and export them as one model.

    Parameters
    ----------
    cases : sequence of CaseFiles
        All scans of the split.
    config : PaperSemantic
        Settings.
    report : callable
        Told what is done.
    training : dict
        Facts for the card.

    Returns
    -------
    Path
        Folder of the model; for the baseline nnU-Net's own result folder, for its labels are no structures.

    Raises
    ------
    ResourceError
        TRAINING_WORKER where nnU-Net ended with an error, with its last lines.
    UsageError
        Where the folder holds a training with other settings.
    """
    folder = config.out / "nnunet"
    settings = _settings(config, folder)
    _keep(settings, folder / "settings.json")
    prepared = folder / "classes.json"
    if not prepared.is_file():
        report(f"writing {len(cases)} scans as an nnU-Net dataset")
        classes = write_dataset(cases, folder / "raw", baseline=config.baseline, spacing_mm=config.spacing_mm, n4=config.n4)
        atomic.write_json(prepared, {str(k): v for k, v in classes.items()})
    report(f"nnU-Net trains {config.folds} folds; its own log lies in {folder.name}/results")
    _run(config, folder, folder / "settings.json")
    result = folder / "results" / _RESULT
    if config.baseline:
        return result
    return _export(result, config, prepared, training)


def _settings(config: PaperSemantic, folder: Path) -> dict[str, Any]:
    """What :mod:`spineps.training.paper_process` is given."""
    p, i, r = config.patch
    sp, si, sr = config.spacing_mm
    return {
        "preprocessed": str(folder / "preprocessed"),
        "results": str(folder / "results"),
        "splits": str(config.splits),
        "folds": config.folds,
        "epochs": config.epochs,
        "iterations": config.iterations,
        "patch": [r, i, p],
        "spacing_mm": [sr, si, sp],
        "batch": config.batch,
        "baseline": config.baseline,
        "n4": config.n4,
        "device": config.device,
        "threads": config.threads,
        "workers": 0 if config.device == "cpu" else _AUGMENTING,
    }


def _keep(settings: dict[str, Any], path: Path) -> None:
    """Write the settings; a folder that was begun with others would mix two trainings."""
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        other = [name for name in _DECIDE if before.get(name) != settings[name]]
        if other:
            raise UsageError(
                ErrorCode.USAGE,
                f"The folder holds a training with another setting of: {', '.join(other)}.",
                remedy="Give another --out folder, or the settings that it began with.",
            )
    atomic.write_json(path, settings)


def _run(config: PaperSemantic, folder: Path, settings: Path) -> None:
    own = {f"nnUNet_{name}": str(folder / name) for name in ("raw", "preprocessed", "results")}
    done = subprocess.run(
        [sys.executable, "-m", "spineps.training.paper_process", str(settings)],
        env={**os.environ, **own, "OMP_NUM_THREADS": str(config.threads)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = " ".join(line.strip() for line in done.stderr.strip().splitlines()[-_LAST_LINES:])
        raise ResourceError(
            ErrorCode.TRAINING_WORKER, f"nnU-Net ended with an error: {said}", remedy="Mend it and run the same command again."
        )


def _export(result: Path, config: PaperSemantic, prepared: Path, training: dict[str, Any]) -> Path:
    """A published semantic folder from the results, converted to one of ours, its origin on the card."""
    labels = json.loads(prepared.read_text(encoding="utf-8"))
    about = {
        "log_name": "spineps-semantic-paper-own",
        "modality": ["T2w"],
        "acquisition": "sag",
        "modeltype": "nnunet",
        "model_expected_orientation": ["P", "I", "R"],
        "available_folds": config.folds,
        "inference_augmentation": False,
        "resolution_range": list(config.spacing_mm),
        "default_step_size": 0.5,
        "labels": labels,
    }
    atomic.write_json(result / CONFIG, about)
    model = config.out / "model"
    shutil.rmtree(model, ignore_errors=True)
    convert(result, model)
    card = read_card(model)
    prepared_as = card.elsewhere.model_copy(update={"n4": config.n4}) if card.elsewhere else None
    facts = training | {"folds": config.folds, "epochs": config.epochs}
    card = card.model_copy(update={"training": facts, "elsewhere": prepared_as})
    write_card(model, card)
    return model
