"""Names of a network's tensors where several modules hold the same one."""

from __future__ import annotations

from typing import Any

from torch import nn


def tensor_names(network: nn.Module) -> set[str]:
    """Names of a network's tensors, each tensor once even where modules share it."""
    return {name for name, _ in network.named_parameters()} | {name for name, _ in network.named_buffers()}


def aliases(network: nn.Module) -> dict[str, str]:
    """Every name that a network knows a tensor by, to the first of them."""
    first: dict[int, str] = {}
    known: dict[str, str] = {}
    every: list[tuple[str, Any]] = [
        *network.named_parameters(remove_duplicate=False),
        *network.named_buffers(remove_duplicate=False),
    ]
    for name, tensor in every:
        known[name] = first.setdefault(id(tensor), name)
    return known
