"""The part of the paper's recipe that nnU-Net runs: planning, preprocessing, one training a fold.

A program of its own (``python -m spineps.training.paper_process SETTINGS.json``), because nnU-Net takes its folders from the
environment when it is imported.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Final

import torch

from spineps.training.paper_dataset import DATASET

TRAINER: Final = "nnUNetTrainerNoMirroring"
PLANS: Final = "nnUNetPlans"
CONFIGURATION: Final = "3d_fullres"
_SAVE_EVERY: Final = 10
_WORKERS: Final = "nnUNet_n_proc_DA"


def main(settings: dict[str, Any]) -> None:
    """Do all steps that are not done yet.

    Parameters
    ----------
    settings : dict
        ``preprocessed``, ``results`` (nnU-Net's folders), ``splits`` (file), ``folds``, ``epochs``, ``iterations``, ``patch``
        (along R, I, P), ``spacing_mm`` (same), ``batch``, ``device``, ``threads``, ``workers`` (that augment).
    """
    torch.set_num_threads(settings["threads"])
    preprocessed = Path(settings["preprocessed"]) / DATASET
    if not (preprocessed / "splits_final.json").is_file():
        os.environ[_WORKERS] = "1"  # the planner takes it for a number of threads, which must not be 0
        _prepare(settings, preprocessed)
        shutil.copy(settings["splits"], preprocessed / "splits_final.json")
    os.environ[_WORKERS] = str(settings["workers"])
    for fold in range(settings["folds"]):
        _train(fold, settings)


def _prepare(settings: dict[str, Any], preprocessed: Path) -> None:
    """Fingerprint, plans with the paper's patch, batch and spacing, and the images as the trainer reads them."""
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprint_dataset, preprocess_dataset

    number = int(DATASET[7:10])
    extract_fingerprint_dataset(number, num_processes=1, verbose=False, show_progress_bar=False)
    planner = ExperimentPlanner(number, overwrite_target_spacing=settings["spacing_mm"], suppress_transpose=True)
    plans = planner.plan_experiment()
    plans["configurations"] = {CONFIGURATION: _with_patch(plans, planner, settings)}
    (preprocessed / f"{PLANS}.json").unlink()
    planner.save_plans(plans)
    preprocess_dataset(number, PLANS, (CONFIGURATION,), (1,), show_progress_bar=False)


def _with_patch(plans: dict[str, Any], planner: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """The automatic plan of the full resolution, with the network that nnU-Net derives from the paper's patch."""
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

    plan: dict[str, Any] = plans["configurations"][CONFIGURATION]
    _, strides, kernels, patch, _ = get_pool_and_conv_props(
        settings["spacing_mm"], settings["patch"], planner.UNet_featuremap_min_edge_length, 999999
    )
    stages = len(strides)
    widths = [min(planner.UNet_max_features_3d, planner.UNet_base_num_features * 2**k) for k in range(stages)]
    network = plan["architecture"]["arch_kwargs"] | {
        "n_stages": stages,
        "strides": strides,
        "kernel_sizes": kernels,
        "features_per_stage": widths,
        "n_conv_per_stage": planner.UNet_blocks_per_stage_encoder[:stages],
        "n_conv_per_stage_decoder": planner.UNet_blocks_per_stage_decoder[: stages - 1],
    }
    return plan | {
        "patch_size": [int(n) for n in patch],
        "batch_size": settings["batch"],
        "spacing": settings["spacing_mm"],
        "architecture": plan["architecture"] | {"arch_kwargs": network},
    }


def _train(fold: int, settings: dict[str, Any]) -> None:
    """One fold, from its last checkpoint on."""
    from nnunetv2.run.run_training import get_trainer_from_args

    folder = Path(settings["results"]) / DATASET / f"{TRAINER}__{PLANS}__{CONFIGURATION}" / f"fold_{fold}"
    if (folder / "checkpoint_final.pth").is_file():
        return
    torch.manual_seed(fold)
    trainer = get_trainer_from_args(DATASET, CONFIGURATION, fold, TRAINER, PLANS, device=torch.device(settings["device"]))
    trainer.num_epochs = settings["epochs"]
    trainer.num_iterations_per_epoch = settings["iterations"]
    trainer.num_val_iterations_per_epoch = max(1, settings["iterations"] // 5)
    trainer.save_every = _SAVE_EVERY
    latest = folder / "checkpoint_latest.pth"
    if latest.is_file():
        trainer.load_checkpoint(str(latest))
    trainer.run_training()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
