"""Small model folders and zips in the published forms, with random weights, for tests of fetching and choosing models."""

from __future__ import annotations

import json
import zipfile
from argparse import Namespace
from pathlib import Path

import torch

from spineps.networks.published import PUBLISHED_NETWORKS

LABELS = {"1": 41, "2": 42, "3": 43, "4": 44, "5": 45, "6": 46, "7": 47, "8": 48, "9": 49, "10": 26, "11": 60, "12": 61}


def instance_folder(folder: Path, *, log_name: str = "Instance_Vertebra_test", seed: int = 0) -> Path:
    """An instance model of the second published generation."""
    torch.manual_seed(seed)
    network = PUBLISHED_NETWORKS["Unet3D"](width=8, channels=11)
    checkpoints = folder / "version_0" / "checkpoints"
    checkpoints.mkdir(parents=True)
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    settings = {"opt": Namespace(lr=1e-4), "do2D": False, "num_channels": 11, "dim": 8}
    torch.save({"state_dict": state, "hyper_parameters": settings}, checkpoints / "epoch=0-weights.ckpt")
    (folder / "inference_config.json").write_text(json.dumps(config("unet", "SEG", {"1": 1, "2": 2, "3": 3}, log_name)))
    return folder


def semantic_folder(folder: Path, *, log_name: str = "T2w_test", seed: int = 0) -> Path:
    """A tiny nnU-Net of the newer form of plans, one fold."""
    architecture = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": 2,
            "features_per_stage": [4, 8],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3], [3, 3, 3]],
            "strides": [[1, 1, 1], [2, 2, 2]],
            "n_conv_per_stage": [1, 1],
            "n_conv_per_stage_decoder": [1],
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [16, 48, 48],
        "spacing": [3.0, 2.0, 2.0],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "architecture": architecture,
        "batch_dice": False,
    }
    plans = {
        "dataset_name": "Dataset001_test",
        "plans_name": "nnUNetPlans",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration},
        "foreground_intensity_properties_per_channel": {"0": {"mean": 1, "std": 1, "percentile_00_5": 0, "percentile_99_5": 9}},
    }
    dataset = {
        "channel_names": {"0": "T2w"},
        "labels": {"background": 0, **{f"s{label}": int(label) for label in LABELS}},
        "file_ending": ".nii.gz",
        "numTraining": 1,
    }
    fold = folder / "fold_0"
    fold.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    (folder / "inference_config.json").write_text(json.dumps(config("nnunet", "T2w", LABELS, log_name)))
    torch.manual_seed(seed)
    checkpoint = {
        "network_weights": _weights(plans, configuration),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(checkpoint, fold / "checkpoint_final.pth")
    return folder


def config(kind: str, modality: str, labels: dict[str, int], log_name: str) -> dict[str, object]:
    """What ``inference_config.json`` says."""
    return {
        "log_name": log_name,
        "modality": modality,
        "acquisition": "sag",
        "modeltype": kind,
        "model_expected_orientation": ["P", "I", "R"],
        "available_folds": 1,
        "inference_augmentation": False,
        "resolution_range": [[2.0, 2.0, 3.0], [2.0, 2.0, 4.0]],
        "default_step_size": 0.5,
        "labels": labels,
        "cutout_size": [64, 80, 32],
        "expected_inputs": ["seg" if kind == "unet" else "img"],
    }


def zipped(folder: Path, target: Path) -> bytes:
    """A zip file of a folder, as it is published; the same folder gives the same bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            file.writestr(zipfile.ZipInfo(f"{folder.name}/{path.relative_to(folder).as_posix()}"), path.read_bytes())
    return target.read_bytes()


def _weights(plans: dict[str, object], configuration: dict[str, object]) -> dict[str, torch.Tensor]:
    from dynamic_network_architectures.architectures.unet import PlainConvUNet
    from torch import nn

    arguments = dict(configuration["architecture"]["arch_kwargs"])  # type: ignore[index]
    arguments |= {"conv_op": nn.Conv3d, "norm_op": nn.InstanceNorm3d, "nonlin": nn.LeakyReLU}
    network = PlainConvUNet(1, num_classes=len(LABELS) + 1, deep_supervision=False, **arguments)
    return network.state_dict()
