"""Checkpoints of the published instance and labeling networks: what they are follows from the shapes of their tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from spineps.zoo.published.checkpoint import read_checkpoint, tensors_of
from spineps.zoo.published.config import corrupt

if TYPE_CHECKING:
    import torch

PATCH: Final = (152, 168, 32)
"""Patch of the published classifiers, (P, I, R) voxels, where the checkpoint does not say."""
ROTATED: Final = "v4corpus"
"""Classifiers trained on patches that were turned to the spine's axis say so in the name of their data set."""
_HEADS: Final = "classification_heads."
_BACKBONE: Final = "net."


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A network in a checkpoint.

    Parameters
    ----------
    tensors : dict
        Weights by the names that our network knows them by.
    settings : dict
        Arguments of our network's class.
    options : dict
        Settings of the training that are in the checkpoint.
    """

    tensors: dict[str, torch.Tensor]
    settings: dict[str, Any]
    options: dict[str, Any]


def instance_checkpoint(folder: Path) -> Path:
    """The one checkpoint of an instance model.

    Raises
    ------
    ModelError
        MODEL_CORRUPT where there is none, or more than one.
    """
    found = sorted(folder.rglob("*weights*.ckpt"))
    if len(found) != 1:
        raise corrupt(f"it has {len(found)} checkpoints '*weights*.ckpt', expected one")
    return found[0]


def labeling_checkpoint(folder: Path) -> Path:
    """The checkpoint of a labeling model: the last by name, as published.

    Raises
    ------
    ModelError
        MODEL_CORRUPT where there is none.
    """
    found = sorted(folder.rglob("*val_f1=*valf1-weights.ckpt"))
    if not found:
        raise corrupt("it has no checkpoint '*val_f1=*valf1-weights.ckpt'")
    return found[-1]


def read_instance(path: Path) -> Found:
    """Read an instance network of either published generation.

    Raises
    ------
    ModelError
        As :func:`spineps.zoo.published.checkpoint.read_checkpoint`; MODEL_CORRUPT where it is another network.
    """
    tensors, options = _state(path)
    named = {name.removeprefix("network."): tensor for name, tensor in tensors.items() if name.startswith("network.")}
    stem = named.get("init_conv.weight")
    if len(named) != len(tensors) or stem is None or stem.ndim != 5:
        raise corrupt("its checkpoint is not of a published instance network")
    return Found(named, {"width": int(stem.shape[0]), "channels": int(stem.shape[1])}, options)


def read_labeling(path: Path) -> Found:
    """Read a labeling network, whatever its backbone and heads.

    Raises
    ------
    ModelError
        As :func:`read_instance`.
    """
    tensors, options = _state(path)
    used = {name: tensor for name, tensor in tensors.items() if name.startswith((_BACKBONE, _HEADS))}
    heads, hidden = _heads(used)
    return Found(used, {**_backbone(used), "heads": heads, "hidden": hidden}, options)


def _state(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    read = read_checkpoint(path)
    settings = read.get("hyper_parameters")
    options = settings.get("opt") if isinstance(settings, Mapping) else None
    return tensors_of(read.get("state_dict"), path), dict(options) if isinstance(options, Mapping) else {}


def _heads(tensors: Mapping[str, torch.Tensor]) -> tuple[dict[str, int], bool]:
    """Classes of each head in the order of the checkpoint, and whether heads have a hidden layer."""
    weights: dict[str, dict[int, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if match := re.fullmatch(re.escape(_HEADS) + r"([A-Za-z0-9_]+)\.(\d)\.weight", name):
            weights.setdefault(match[1], {})[int(match[2])] = tensor
    layers = {tuple(sorted(found)) for found in weights.values()}
    if layers not in ({(0,)}, {(0, 2)}) or any(w.ndim != 2 for found in weights.values() for w in found.values()):
        raise corrupt("its classification heads are not of a published labeling network")
    return {name: int(found[max(found)].shape[0]) for name, found in weights.items()}, layers == {(0, 2)}


def _backbone(tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Family and number of blocks, by counting."""
    dense = _counts(tensors, r"net\.features\.denseblock(\d)\.denselayer(\d+)\.layers\.conv1\.weight", first=1)
    if dense:
        return {"family": "densenet", "blocks": dense}
    blocks = _counts(tensors, r"net\.layer(\d)\.(\d+)\.conv1\.weight", first=0)
    if len(blocks) != 4:
        raise corrupt("its backbone is neither a DenseNet nor a ResNet of four stages")
    return {"family": "resnet", "blocks": blocks, "bottleneck": "net.layer1.0.conv3.weight" in tensors}


def _counts(tensors: Mapping[str, torch.Tensor], pattern: str, *, first: int) -> list[int]:
    """Members of each numbered block; empty where the blocks are not numbered through."""
    found: dict[int, list[int]] = {}
    for name in tensors:
        if match := re.fullmatch(pattern, name):
            found.setdefault(int(match[1]), []).append(int(match[2]))
    whole = all(sorted(members) == list(range(first, first + len(members))) for members in found.values())
    return [len(found[k]) for k in sorted(found)] if whole and sorted(found) == list(range(1, len(found) + 1)) else []
