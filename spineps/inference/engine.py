"""Running networks with PyTorch: device and precision by a fixed table, never by a timing."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from spineps.config import ComputeConfig, Device, Precision
from spineps.errors import ErrorCode, UsageError
from spineps.geometry import FloatArray, Shape, Spacing
from spineps.networks.classes import one_hot_groups
from spineps.zoo.card import ModelCard
from spineps.zoo.store import Model

_Network = TypeVar("_Network", bound=nn.Module)

BF16_FLAGS: Final = frozenset({"amx_bf16", "avx512_bf16"})
"""CPU features with which bf16 convolutions are several times faster than fp32; without them they are slower."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Where and how networks run."""

    device: torch.device
    dtype: torch.dtype

    @property
    def name(self) -> str:
        """For the record of the run, for example ``torch-cpu-bf16``."""
        return f"torch-{self.device.type}-{'bf16' if self.dtype == torch.bfloat16 else 'fp32'}"


def choose_engine(config: ComputeConfig, *, elsewhere: bool = False) -> Engine:
    """Choose device and precision from what was asked for and what the machine has.

    A network that was made elsewhere runs in fp32 unless another precision is asked for: it gives what it gave there.

    | device | precision auto |
    |---|---|
    | CUDA with bf16 | bf16 |
    | CUDA without | fp32 |
    | CPU with ``amx_bf16`` or ``avx512_bf16`` | bf16 |
    | any other CPU | fp32 |

    Raises
    ------
    UsageError
        Where CUDA is asked for and there is none.
    """
    cuda = torch.cuda.is_available()
    if config.device is Device.CUDA and not cuda:
        raise UsageError(ErrorCode.USAGE, "no CUDA device was found.", remedy="Use --device cpu or --device auto.")
    device = torch.device("cpu" if config.device is Device.CPU or not cuda else "cuda")
    if config.precision is Precision.AUTO and not elsewhere:
        fast_bf16 = torch.cuda.is_bf16_supported() if device.type == "cuda" else bool(BF16_FLAGS & cpu_flags())
    else:
        fast_bf16 = config.precision is Precision.BF16
    return Engine(device, torch.bfloat16 if fast_bf16 else torch.float32)


def cpu_flags() -> frozenset[str]:
    """Feature flags of this machine's CPU, as Linux names them; empty where they are not known."""
    if platform.system() != "Linux":
        return frozenset()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))


def thread_count(config: ComputeConfig) -> int:
    """Threads to run networks with: what was asked for, or every core that this process may use."""
    if config.threads > 0:
        return config.threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def channels_last(network: _Network) -> _Network:
    """Give a network the memory layout that CPU and GPU kernels prefer, in place."""
    moved: _Network = network.to(memory_format=torch.channels_last_3d)
    return moved


class TorchNetwork:
    """A network on its device, in its precision, with the channels-last layout that CPU and GPU kernels prefer.

    A network that is not exact in that layout says so (``plain_layout``) and keeps PyTorch's own.
    """

    def __init__(self, model: Model, config: ComputeConfig) -> None:
        self.card: ModelCard = model.card
        self.engine = choose_engine(config, elsewhere=model.card.elsewhere is not None)
        if self.engine.device.type == "cpu":
            torch.set_num_threads(thread_count(config))
        placed = model.network.to(device=self.engine.device, dtype=self.engine.dtype)
        plain = getattr(model.network, "plain_layout", False)
        self._layout = torch.contiguous_format if plain else torch.channels_last_3d
        self._network: nn.Module = placed if plain else channels_last(placed)

    @property
    def spacing_mm(self) -> Spacing:
        """Voxel spacing (P, I, R) that the network expects."""
        return self.card.spacing_mm

    @property
    def temperature(self) -> float:
        """What logits are divided by for calibrated probabilities."""
        return self.card.temperature

    @torch.inference_mode()
    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Logits, shape (N, C, P, I, R), of a batch, on the engine's device and in its precision."""
        batch = batch.to(device=self.engine.device, dtype=self.engine.dtype)
        logits: torch.Tensor = self._network(batch.contiguous(memory_format=self._layout))
        return logits


class SemanticEngine(TorchNetwork):
    """The semantic predictor (see :class:`spineps.inference.protocols.SemanticPredictor`)."""

    @property
    def patch_size(self) -> Shape:
        """Voxels (P, I, R) of a tile."""
        return self.card.patch_size

    @property
    def step_share(self) -> float:
        """Default step between tiles as a share of a tile."""
        return self.card.step_size

    @property
    def mirror(self) -> bool:
        """Whether the model averages with the left-right mirrored prediction by default."""
        return self.card.mirror

    @property
    def labels(self) -> NDArray[np.uint8]:
        """Semantic id of each output channel, background first."""
        return np.asarray(self.card.labels, dtype=np.uint8)

    def __call__(self, patches: FloatArray) -> FloatArray:
        """Class probabilities, shape (batch, C, P, I, R), of patches of shape (batch, P, I, R)."""
        logits = self.forward(torch.from_numpy(np.ascontiguousarray(patches))[:, None])
        scores: FloatArray = torch.softmax(logits.float(), dim=1).cpu().numpy()
        return scores


class InstanceEngine(TorchNetwork):
    """The instance predictor (see :class:`spineps.inference.protocols.InstancePredictor`)."""

    @property
    def cutout_size(self) -> Shape:
        """Voxels (P, I, R) of a cutout."""
        return self.card.patch_size

    @property
    def shift_mm(self) -> Spacing:
        """From the centre of the vertebral body to the centre of the cutout."""
        return self.card.shift_mm

    def __call__(self, cutouts: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels 0 to 3, shape (batch, P, I, R), of semantic cutouts of the same shape."""
        found = [self._one(cutout) for cutout in cutouts]
        return np.stack(found) if found else np.zeros(cutouts.shape, np.uint8)

    def _one(self, cutout: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """One cutout at a time: on a CPU as fast as a batch, and the same answer whatever the batch is."""
        one_hot = torch.from_numpy(one_hot_groups(cutout))
        labels: NDArray[np.uint8] = self.forward(one_hot[None]).argmax(dim=1)[0].to(torch.uint8).cpu().numpy()
        return labels
