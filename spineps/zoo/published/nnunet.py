"""nnU-Net v2 result folders: plans of both generations, checkpoints of the folds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from spineps.io.shown import shown_name
from spineps.zoo.elsewhere import Channel, Triple
from spineps.zoo.published.checkpoint import read_checkpoint, tensors_of
from spineps.zoo.published.config import corrupt, invalid, read_json, unsafe

if TYPE_CHECKING:
    import torch

PLANS: Final = "plans.json"
DATASET: Final = "dataset.json"
CHECKPOINTS: Final = ("checkpoint_final.pth", "checkpoint_best.pth")
"""The second where the first is missing: a published model has the second alone."""

_CLASS_PREFIX: Final = "dynamic_network_architectures.architectures."
_CLASSES: Final = frozenset({"PlainConvUNet", "ResidualEncoderUNet", "ResidualUNet"})
_OPERATIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "conv_op": {"torch.nn.modules.conv.Conv3d": "Conv3d", "torch.nn.Conv3d": "Conv3d"},
    "norm_op": {
        "torch.nn.modules.instancenorm.InstanceNorm3d": "InstanceNorm3d",
        "torch.nn.InstanceNorm3d": "InstanceNorm3d",
        "torch.nn.modules.batchnorm.BatchNorm3d": "BatchNorm3d",
        "torch.nn.BatchNorm3d": "BatchNorm3d",
    },
    "nonlin": {
        "torch.nn.LeakyReLU": "LeakyReLU",
        "torch.nn.modules.activation.LeakyReLU": "LeakyReLU",
        "torch.nn.ReLU": "ReLU",
        "torch.nn.modules.activation.ReLU": "ReLU",
    },
}
"""The names that plans may hold in the place of code; nothing is imported by name."""
_PLAIN: Final = (
    "n_stages",
    "features_per_stage",
    "kernel_sizes",
    "strides",
    "n_conv_per_stage",
    "n_blocks_per_stage",
    "n_conv_per_stage_decoder",
    "conv_bias",
    "norm_op_kwargs",
    "nonlin_kwargs",
    "nonlin_first",
    "bottleneck_channels",
    "stem_channels",
)
_UNUSED: Final = ("dropout_op", "dropout_op_kwargs", "deep_supervision")
_SCHEMES: Final = frozenset({"ZScoreNormalization", "CTNormalization", "NoNormalization", "RescaleTo01Normalization"})
_DEFAULT_RESAMPLING: Final = "resample_data_or_seg_to_shape"
_MAX_STAGES: Final = 12
_MOST: Final[Mapping[str, int]] = {
    "features_per_stage": 2048,
    "stem_channels": 2048,
    "bottleneck_channels": 2048,
    "kernel_sizes": 7,
    "strides": 4,
    "n_conv_per_stage": 16,
    "n_blocks_per_stage": 32,
    "n_conv_per_stage_decoder": 16,
}
"""Beyond what planners of nnU-Net plan, and what still fits into a machine."""


@dataclass(frozen=True, slots=True, eq=False)
class Plans:
    """What plans and dataset say.

    Parameters
    ----------
    architecture : dict
        Arguments of :func:`spineps.networks.published.nnunet.make_nnunet`.
    classes : tuple of int
        Label of each output channel, in the numbers of ``dataset.json``; of regions, without the background.
    regions : bool
        Whether the channels are overlapping regions.
    transpose : tuple of 3 int
        Axis of the image that each axis of the network's arrays is.
    spacing, patch : tuple of 3
        Along the axes of the network's arrays.
    channel : Channel
        Normalisation.
    """

    architecture: dict[str, Any]
    classes: tuple[int, ...]
    regions: bool
    transpose: tuple[int, int, int]
    spacing: Triple
    patch: tuple[int, int, int]
    channel: Channel


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """The part of a checkpoint that is used."""

    tensors: dict[str, torch.Tensor]
    configuration: str
    mirror_axes: tuple[int, ...]


def checkpoint_of(folder: Path, fold: str) -> Path:
    """File of the weights of a fold.

    Raises
    ------
    ModelError
        MODEL_CORRUPT for a name that no fold has or without a checkpoint.
    """
    if fold != "all" and not fold.isdigit():
        raise corrupt(f"{shown_name(fold)} is no fold")
    found = next((path for name in CHECKPOINTS if (path := folder / f"fold_{fold}" / name).is_file()), None)
    if found is None:
        raise corrupt(f"fold {fold} has neither {CHECKPOINTS[0]} nor {CHECKPOINTS[1]}")
    return found


def read_fold(path: Path) -> Fold:
    """Read the checkpoint of one fold.

    Raises
    ------
    ModelError
        As :func:`spineps.zoo.published.checkpoint.read_checkpoint`.
    """
    read = read_checkpoint(path)
    try:
        configuration = str(read["init_args"]["configuration"])
        tensors = tensors_of(read["network_weights"], path)
        axes = tuple(int(axis) for axis in read.get("inference_allowed_mirroring_axes") or ())
    except (KeyError, TypeError, ValueError) as error:
        raise corrupt(f"{shown_name(path.name)} is no checkpoint of nnU-Net v2") from error
    return Fold({name.removeprefix("module."): tensor for name, tensor in tensors.items()}, configuration, axes)


def read_plans(folder: Path, configuration: str) -> Plans:
    """Read ``plans.json`` and ``dataset.json``.

    Parameters
    ----------
    folder : Path
        Result folder of nnU-Net v2.
    configuration : str
        The one that was trained, for example ``3d_fullres``.

    Raises
    ------
    ModelError
        MODEL_UNSAFE where the plans name code that no planner of nnU-Net names; MODEL_CORRUPT where they do not make sense.
    """
    plans, dataset = read_json(folder / PLANS), read_json(folder / DATASET)
    try:
        chosen = _inherited(plans["configurations"], configuration)
        _check_one_image(chosen, dataset)
        classes, regions = _classes(dataset)
        architecture = _architecture(chosen)
        patch = _three(chosen["patch_size"], int)
        _check_patch(patch, architecture["strides"])
        return Plans(
            architecture=architecture,
            classes=classes,
            regions=regions,
            transpose=_three(plans.get("transpose_forward", (0, 1, 2)), int),
            spacing=_three(chosen["spacing"], float),
            patch=patch,
            channel=_channel(plans, chosen),
        )
    except ValidationError as error:
        raise invalid(error, PLANS) from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise corrupt(f"its plans do not describe a network ({type(error).__name__}: {error})") from error


def _inherited(configurations: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A configuration with what it takes over from others."""
    own = configurations[name]
    parent = own.get("inherits_from")
    return {**(_inherited(configurations, parent) if parent else {}), **own}


def _check_one_image(configuration: Mapping[str, Any], dataset: Mapping[str, Any]) -> None:
    channels = dataset.get("channel_names") or dataset.get("modality") or {}
    if len(channels) != 1:
        raise corrupt(f"it expects {len(channels)} images of each patient, and there is one")
    if configuration.get("previous_stage"):
        raise corrupt("it is the second stage of a cascade")


def _classes(dataset: Mapping[str, Any]) -> tuple[tuple[int, ...], bool]:
    labels = {str(name): value for name, value in dataset["labels"].items() if name != "ignore"}
    if any(isinstance(value, (list, tuple)) and len(value) > 1 for value in labels.values()):
        return tuple(int(label) for label in dataset["regions_class_order"]), True
    numbers = sorted(int(value[0] if isinstance(value, (list, tuple)) else value) for value in labels.values())
    if numbers != list(range(len(numbers))):
        raise ValueError("labels do not run from 0")
    return tuple(numbers), False


def _architecture(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the network, of plans with an ``architecture`` (nnU-Net 2.4 and newer) or of older ones."""
    given = configuration.get("architecture")
    found = _newer(given) if given is not None else _older(configuration)
    stages = found["n_stages"]
    if not 1 < stages <= _MAX_STAGES or len(found["features_per_stage"]) != stages:
        raise ValueError(f"{stages} stages")
    for key, most in _MOST.items():
        if any(not isinstance(n, int) or not 1 <= n <= most for n in _leaves(found.get(key))):
            raise ValueError(f"expected numbers from 1 to {most} for {key}")
    return found


def _leaves(value: Any) -> Iterator[Any]:
    """All values in nested lists; none of None."""
    if isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    elif value is not None:
        yield value


def _check_patch(patch: Sequence[int], strides: Sequence[Any]) -> None:
    """Refuse a patch that the network cannot divide as often as it has stages."""
    steps = [step if isinstance(step, list) else [step] * len(patch) for step in strides]
    parts = [math.prod(step[axis] for step in steps) for axis in range(len(patch))]
    if any(n < 1 or n % part for n, part in zip(patch, parts, strict=True)):
        raise ValueError(f"a patch of {tuple(patch)} voxels cannot be divided by {tuple(parts)}")


def _newer(given: Mapping[str, Any]) -> dict[str, Any]:
    name = str(given["network_class_name"])
    own = name.rpartition(".")[2]
    if not name.startswith(_CLASS_PREFIX) or own not in _CLASSES:
        raise unsafe(PLANS, name)
    arguments = dict(given["arch_kwargs"])
    for key in _UNUSED:
        value = arguments.pop(key, None)
        if key == "dropout_op" and value is not None:
            raise unsafe(PLANS, value)
    found: dict[str, Any] = {"class": own}
    for key, value in arguments.items():
        if key in _OPERATIONS:
            if value not in _OPERATIONS[key]:
                raise unsafe(PLANS, value)
            if key != "conv_op":
                found[key.removesuffix("_op")] = _OPERATIONS[key][value]
        elif key in _PLAIN:
            found[key] = _plain(value)
        else:
            raise unsafe(PLANS, key)
    return found


def _older(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Plans of nnU-Net 2.0 to 2.3 name the class and leave the rest to the program."""
    own = str(configuration["UNet_class_name"])
    if own not in _CLASSES - {"ResidualUNet"}:
        raise unsafe(PLANS, own)
    kernels = configuration["conv_kernel_sizes"]
    if len(kernels[0]) != 3:
        raise corrupt("it is two-dimensional")
    base, most = int(configuration["UNet_base_num_features"]), int(configuration["unet_max_num_features"])
    blocks = "n_blocks_per_stage" if own == "ResidualEncoderUNet" else "n_conv_per_stage"
    return {
        "class": own,
        "norm": "InstanceNorm3d",
        "nonlin": "LeakyReLU",
        "n_stages": len(kernels),
        "features_per_stage": [min(base * 2**k, most) for k in range(len(kernels))],
        "kernel_sizes": _plain(kernels),
        "strides": _plain(configuration["pool_op_kernel_sizes"]),
        blocks: _plain(configuration["n_conv_per_stage_encoder"]),
        "n_conv_per_stage_decoder": _plain(configuration["n_conv_per_stage_decoder"]),
        "conv_bias": True,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin_kwargs": {"inplace": True},
    }


def _plain(value: Any) -> Any:
    """A value made of numbers, lists and mappings of them; anything else is refused."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    raise unsafe(PLANS, value)


def _channel(plans: Mapping[str, Any], configuration: Mapping[str, Any]) -> Channel:
    scheme = str(configuration["normalization_schemes"][0])
    if scheme not in _SCHEMES:
        raise unsafe(PLANS, scheme)
    for key in ("resampling_fn_data", "resampling_fn_probabilities"):
        if configuration.get(key, _DEFAULT_RESAMPLING) != _DEFAULT_RESAMPLING:
            raise unsafe(PLANS, configuration[key])
    seen = plans.get("foreground_intensity_properties_per_channel") or plans.get("foreground_intensity_properties_by_modality")
    seen = (seen or {}).get("0", {})
    return Channel.model_validate(
        {
            "scheme": scheme,
            "inside_mask": bool(configuration["use_mask_for_norm"][0]),
            "mean": seen.get("mean", 0.0),
            "std": seen.get("std", 1.0),
            "low": seen.get("percentile_00_5", 0.0),
            "high": seen.get("percentile_99_5", 0.0),
        }
    )


def _three(values: Sequence[Any], kind: type) -> Any:
    if len(values) != 3:
        raise corrupt("it is not three-dimensional")
    return tuple(kind(value) for value in values)
