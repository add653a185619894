"""Checkpoints: everything that a training needs to go on as if it had not stopped, in one safetensors file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from spineps.errors import ErrorCode, ModelError
from spineps.io import atomic


def write_checkpoint(
    path: Path, *, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, facts: dict[str, Any]
) -> None:
    """Write network, averaged network, optimizer and plain facts (step, seconds, random states) to ``path``."""
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
    tensors["torch_random"] = torch.get_rng_state()
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    atomic.write_bytes(path, save(plain, metadata={"facts": json.dumps(facts)}))


def read_checkpoint(path: Path, *, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Restore what :func:`write_checkpoint` wrote, in place, and return its facts.

    Raises
    ------
    ModelError
        MODEL_CORRUPT where the file is not a checkpoint of this network.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
            facts: dict[str, Any] = json.loads(file.metadata()["facts"])
        network.load_state_dict(_part(tensors, "network."))
        average.load_state_dict(_part(tensors, "average."))
        states: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in _part(tensors, "optimizer.").items():
            index, _, key = name.partition(".")
            states.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
        torch.set_rng_state(tensors["torch_random"])
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            ErrorCode.MODEL_CORRUPT,
            f"{path.name} is not a checkpoint of this network.",
            remedy="Start the training without --resume, or give another --out folder.",
        ) from error
    return facts


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
