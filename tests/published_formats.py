"""Model folders in every published form, with small random networks, and what a plain computation gives for them."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterable, Sequence
from itertools import combinations, product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

IDS = (41, 42, 43, 44, 45, 46, 47, 48, 49, 26, 60, 61, 62, 100)
PATCH = (8, 16, 16)
SPACING = (3.0, 2.0, 2.0)
STRIDES = [[1, 1, 1], [2, 2, 2]]


def config(**changes: Any) -> dict[str, Any]:
    """An ``inference_config.json``."""
    return {
        "log_name": "Random",
        "modality": ["T2w"],
        "acquisition": "sag",
        "modeltype": "nnunet",
        "model_expected_orientation": ["P", "I", "R"],
        "available_folds": 1,
        "inference_augmentation": False,
        "resolution_range": list(SPACING[::-1]),
        "default_step_size": 0.5,
        "labels": {str(k): label for k, label in enumerate(IDS, start=1)},
        "an unknown key": 1,
        **changes,
    }


def plans(form: str, **changes: Any) -> dict[str, Any]:
    """A ``plans.json`` of the newer or the older form; a plain convolutional network, or a residual one."""
    configuration: dict[str, Any] = {
        "patch_size": list(PATCH),
        "spacing": list(SPACING),
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
    }
    if form == "new":
        arguments = {
            "n_stages": 2,
            "features_per_stage": [4, 8],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3]] * 2,
            "strides": STRIDES,
            "n_blocks_per_stage": [1, 2],
            "n_conv_per_stage_decoder": [1],
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        }
        name = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
        requires = ["conv_op", "norm_op", "dropout_op", "nonlin"]
        configuration["architecture"] = {
            "network_class_name": name,
            "arch_kwargs": arguments,
            "_kw_requires_import": requires,
        }
    else:
        configuration |= {
            "UNet_class_name": "PlainConvUNet",
            "UNet_base_num_features": 4,
            "unet_max_num_features": 8,
            "n_conv_per_stage_encoder": [1, 1],
            "n_conv_per_stage_decoder": [1],
            "pool_op_kernel_sizes": STRIDES,
            "conv_kernel_sizes": [[3, 3, 3]] * 2,
        }
    intensities = {"mean": 300.0, "std": 150.0, "percentile_00_5": 20.0, "percentile_99_5": 900.0}
    return {
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"3d_fullres": configuration | changes},
        "foreground_intensity_properties_per_channel": {"0": intensities},
    }


def network(form: str, classes: int = len(IDS) + 1) -> nn.Module:
    """The network that :func:`plans` describe."""
    shared: dict[str, Any] = {
        "input_channels": 1,
        "n_stages": 2,
        "features_per_stage": [4, 8],
        "conv_op": nn.Conv3d,
        "kernel_sizes": [[3, 3, 3]] * 2,
        "strides": STRIDES,
        "num_classes": classes,
        "n_conv_per_stage_decoder": [1],
        "conv_bias": True,
        "norm_op": nn.InstanceNorm3d,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
        "deep_supervision": False,
    }
    if form == "new":
        return ResidualEncoderUNet(n_blocks_per_stage=[1, 2], **shared)
    return PlainConvUNet(n_conv_per_stage=[1, 1], **shared)


def write_nnunet(
    folder: Path,
    form: str = "new",
    *,
    folds: Iterable[str] = ("0",),
    checkpoint: str = "checkpoint_final.pth",
    mirror: Sequence[int] | None = None,
    settings: dict[str, Any] | None = None,
    plan: dict[str, Any] | None = None,
    labels: dict[str, Any] | None = None,
) -> list[nn.Module]:
    """A semantic folder, without ``inference_config.json`` where ``settings`` is None; returns its networks."""
    folder.mkdir(parents=True, exist_ok=True)
    named = labels or {"background": 0, **{f"s{label}": k for k, label in enumerate(IDS, start=1)}}
    (folder / "plans.json").write_text(json.dumps(plan or plans(form)))
    dataset: dict[str, Any] = {"channel_names": {"0": "MRI"}, "labels": named, "regions_class_order": [1, 2]}
    (folder / "dataset.json").write_text(json.dumps(dataset))
    if settings is not None:
        (folder / "inference_config.json").write_text(json.dumps(settings))
    classes = len(named) - 1 if any(isinstance(label, list) for label in named.values()) else len(named)
    made = []
    for k, fold in enumerate(folds):
        torch.manual_seed(k)
        made.append(network(form, classes).eval())
        with torch.no_grad():
            for tensor in made[-1].parameters():
                tensor.mul_(1.5) if tensor.ndim > 1 else tensor.add_(0.1 * torch.randn_like(tensor))
        (folder / f"fold_{fold}").mkdir()
        kept = {
            "network_weights": made[-1].state_dict(),
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": "3d_fullres", "plans": plan or plans(form), "device": torch.device("cpu")},
            "optimizer_state": {"state": {0: {"momentum_buffer": torch.zeros(2)}}, "where": Path("results")},
            "inference_allowed_mirroring_axes": None if mirror is None else tuple(mirror),
            "_best_ema": np.float64(0.5),
            "logging": {"mean_fg_dice": [np.float32(0.25), 0.5], "dice": np.zeros(3)},
        }
        torch.save(kept, folder / f"fold_{fold}" / checkpoint)
    return made


def write_instance(folder: Path, width: int, channels: int, **changes: Any) -> dict[str, torch.Tensor]:
    """An instance folder of either generation; returns its tensors."""
    from spineps.networks.published.unet3d import Unet3D

    torch.manual_seed(width)
    state = {name: tensor.clone() for name, tensor in Unet3D(width, channels).state_dict().items()}
    options = Namespace(n_epoch=300, channelwise=channels > 1, lr=1e-4, lr_end_factor=0.01, l2_reg_w=1e-4, dsc_loss_w=1.0)
    settings: dict[str, Any] = {"opt": options, "do2D": False}
    if width == 8:
        settings |= {"num_channels": 11, "dim": 8}
    place = folder / "version_0" / "checkpoints"
    place.mkdir(parents=True)
    named = {f"network.{name}": tensor for name, tensor in state.items()}
    kept = {"state_dict": named, "hyper_parameters": settings, "epoch": 0, "global_step": 0}
    torch.save(kept | {"pytorch-lightning_version": "2.1.0", "loops": {}}, place / "epoch=0-step=0-weights.ckpt")
    given = {"modeltype": "unet", "modality": "SEG", "labels": {"1": 1, "2": 2, "3": 3}, "expected_inputs": ["seg"]}
    (folder / "inference_config.json").write_text(json.dumps(config(**given) | {"cutout_size": [16, 24, 8]} | changes))
    return state


def write_labeling(folder: Path, made: nn.Module, **options: Any) -> None:
    """A labeling folder with a given network; its settings are an instance of the published class."""
    module = ModuleType("spineps.architectures.pl_densenet")
    settings_class = type("ARGS_MODEL", (), {"__module__": module.__name__})
    module.ARGS_MODEL = settings_class  # type: ignore[attr-defined]
    settings = settings_class()
    settings.__dict__.update({"backbone": "DENSENET169", "lr": 1e-4, **options})
    place = folder / "version_0" / "checkpoints"
    place.mkdir(parents=True)
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    try:
        kept = {"state_dict": made.state_dict(), "hyper_parameters": {"opt": settings, "group_2_n_channel": {}}}
        torch.save(kept, place / "epoch=1-val_f1=0.5000_valf1-weights.ckpt")
    finally:
        del sys.modules[module.__name__]
        if before is not None:
            sys.modules[module.__name__] = before
    (folder / "inference_config.json").write_text(json.dumps(config(modeltype="classifier", labels={})))


def plain_logits(image: NDArray[np.float32], networks: Sequence[nn.Module], mirror: Sequence[int] = ()) -> NDArray[Any]:
    """Logits of an image (X, Y, Z) by a sliding window written down as its description reads: slow, and nothing shared."""
    short = [max(0, tile - n) for n, tile in zip(image.shape, PATCH, strict=True)]
    padded = np.pad(image, [(n // 2, n - n // 2) for n in short])
    weight = plain_window()
    total = np.zeros((len(networks), _classes(networks[0]), *padded.shape), np.float64)
    weights = np.zeros(padded.shape, np.float64)
    starts = []
    for n, tile in zip(padded.shape, PATCH, strict=True):
        count = int(np.ceil((n - tile) / (0.5 * tile))) + 1
        starts.append([round((n - tile) / max(1, count - 1) * k) for k in range(count)])
    for start in product(*starts):
        place = tuple(slice(a, a + tile) for a, tile in zip(start, PATCH, strict=True))
        tile = torch.from_numpy(np.ascontiguousarray(padded[place]))[None, None].float()
        for k, fold in enumerate(networks):
            with torch.no_grad():
                flips = [
                    [axis + 2 for axis in flip] for count in range(len(mirror) + 1) for flip in combinations(mirror, count)
                ]
                scores = torch.stack([fold(tile.flip(flip)).flip(flip) for flip in flips]).mean(dim=0)[0]
            total[(k, slice(None), *place)] += scores.numpy() * weight
        weights[place] += weight
    logits = (total / weights).mean(axis=0)
    back = tuple(slice(n // 2, n // 2 + size) for n, size in zip(short, image.shape, strict=True))
    result: NDArray[Any] = logits[(slice(None), *back)]
    return result


def plain_window() -> NDArray[np.float64]:
    """The Gaussian of unit sum, rounded to half precision before and after it is scaled, never zero."""
    axes = []
    for n in PATCH:
        x = np.arange(n) - n // 2
        reach = int(4 * n / 8 + 0.5)
        far = np.arange(-reach, reach + 1)
        axes.append(np.exp(-0.5 * (x / (n / 8)) ** 2) / np.exp(-0.5 * (far / (n / 8)) ** 2).sum() * (np.abs(x) <= reach))
    window = torch.from_numpy(axes[0][:, None, None] * axes[1][:, None] * axes[2]).half()
    window = (window / window.max() * 1000).half()
    window[window == 0] = window[window > 0].min()
    return window.double().numpy()


def plain_unet(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The published instance network, operation by operation."""

    def block(name: str, x: torch.Tensor) -> torch.Tensor:
        x = functional.conv3d(x, state[f"{name}.proj.weight"], state[f"{name}.proj.bias"], padding=1)
        return functional.leaky_relu(functional.group_norm(x, 8, state[f"{name}.norm.weight"], state[f"{name}.norm.bias"]))

    def pair(name: str, x: torch.Tensor) -> torch.Tensor:
        beside = x
        if f"{name}.res_conv.weight" in state:
            beside = functional.conv3d(x, state[f"{name}.res_conv.weight"], state[f"{name}.res_conv.bias"])
        return block(f"{name}.block2", block(f"{name}.block1", x)) + beside

    stem = functional.conv3d(x, state["init_conv.weight"], state["init_conv.bias"], padding=3)
    x, kept = stem, []
    for k in range(4):
        x = pair(f"downs.{k}.1", pair(f"downs.{k}.0", x))
        kept.append(x)
        if k < 3:
            x = functional.conv3d(x, state[f"downs.{k}.2.weight"], state[f"downs.{k}.2.bias"], stride=2, padding=1)
    x = pair("mid_block2", pair("mid_block1", x))
    for k in range(4):
        x = pair(f"ups.{k}.1", pair(f"ups.{k}.0", (x + kept[3 - k]) / 2))
        if k < 3:
            x = functional.conv_transpose3d(x, state[f"ups.{k}.2.weight"], state[f"ups.{k}.2.bias"], stride=2, padding=1)
    x = pair("final_res_block", torch.cat([x, stem], dim=1))
    return functional.conv3d(x, state["final_conv.weight"], state["final_conv.bias"])


def _classes(made: nn.Module) -> int:
    with torch.no_grad():
        return int(made(torch.zeros(1, 1, *PATCH)).shape[1])
