"""A semantic model folder as the published SPINEPS has them: nnU-Net's plain network, 30.8 million random weights.

usage: PUBLISHED_PYTHON bench/plain_model.py OUT [--patch R I P]

Run by an environment with the published package (it needs nnU-Net's architectures and PyTorch). bench/vs_published.py times it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet

LABELS = [41, 42, 43, 44, 45, 46, 47, 48, 49, 26, 60, 61, 62, 100]
SPACING = [1.65, 0.75, 0.75]
FEATURES = [32, 64, 128, 256, 320, 320]
STRIDES = [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2]]


def architecture() -> dict[str, Any]:
    """Arguments of the network, classes by their names."""
    return {
        "n_stages": len(FEATURES),
        "features_per_stage": FEATURES,
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * len(FEATURES),
        "strides": STRIDES,
        "n_conv_per_stage": [2] * len(FEATURES),
        "n_conv_per_stage_decoder": [2] * (len(FEATURES) - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }


def plans(patch: list[int]) -> dict[str, Any]:
    """What nnU-Net planned for the model."""
    resampling = "resample_data_or_seg_to_shape"
    image = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    scores, labels = image | {"order": 1}, image | {"order": 1, "is_seg": True}
    planned = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": patch,
        "median_image_size_in_voxels": [float(n) for n in patch],
        "spacing": SPACING,
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": resampling,
        "resampling_fn_data_kwargs": image,
        "resampling_fn_seg": resampling,
        "resampling_fn_seg_kwargs": labels,
        "resampling_fn_probabilities": resampling,
        "resampling_fn_probabilities_kwargs": scores,
        "batch_dice": False,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": architecture(),
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }
    intensities = dict.fromkeys(("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std"), 1.0)
    return {
        "dataset_name": "Dataset998_plain",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": SPACING,
        "original_median_shape_after_transp": patch,
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": planned},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": intensities},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--patch", nargs=3, type=int, default=[64, 128, 128])
    args = parser.parse_args()
    torch.manual_seed(0)
    classes = {"conv_op": torch.nn.Conv3d, "norm_op": torch.nn.InstanceNorm3d, "nonlin": torch.nn.LeakyReLU}
    network = PlainConvUNet(1, num_classes=len(LABELS) + 1, **(architecture() | classes))
    planned = plans(args.patch)
    described = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0} | {str(label): i + 1 for i, label in enumerate(LABELS)},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    init = {"configuration": "3d_fullres", "fold": 0, "plans": planned, "dataset_json": described}
    config = {
        "log_name": args.out.name,
        "modality": ["T2w"],
        "acquisition": "sag",
        "modeltype": "nnunet",
        "model_expected_orientation": ["P", "I", "R"],
        "available_folds": 1,
        "inference_augmentation": False,
        "resolution_range": SPACING[::-1],
        "default_step_size": 0.5,
        "labels": {str(i + 1): label for i, label in enumerate(LABELS)},
    }
    (args.out / "fold_0").mkdir(parents=True, exist_ok=True)
    for name, content in (("plans", planned), ("dataset", described), ("inference_config", config)):
        (args.out / f"{name}.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    checkpoint = {"network_weights": network.state_dict(), "trainer_name": "nnUNetTrainer", "init_args": init}
    checkpoint |= {"inference_allowed_mirroring_axes": None, "current_epoch": 1}
    torch.save(checkpoint, args.out / "fold_0/checkpoint_final.pth")  # noqa: TID251  the published format
    print(f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} million parameters")


if __name__ == "__main__":
    main()
