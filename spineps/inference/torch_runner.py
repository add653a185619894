"""Networks run by PyTorch."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from spineps.geometry import FloatArray
from spineps.inference.machine import Engine

_NO_MEMORY: Final = "can't allocate memory"


class TorchRunner:
    """A network on its device, in its precision, with the channels-last layout that CPU and GPU kernels prefer (see
    :class:`spineps.inference.runner.Runner`).

    A network that is not exact in that layout says so (``plain_layout``) and keeps PyTorch's own.
    """

    def __init__(self, network: nn.Module, engine: Engine, threads: int) -> None:
        self._device, self._dtype, self._threads = engine.device, engine.dtype, threads
        placed = network.to(device=self._device, dtype=self._dtype)
        plain = getattr(network, "plain_layout", False)
        self._layout = torch.contiguous_format if plain else torch.channels_last_3d
        self._network = placed if plain else placed.to(memory_format=torch.channels_last_3d)

    def logits(self, batch: FloatArray) -> FloatArray:
        """Outputs of the network in fp32, shape (N, classes, ...)."""
        found: FloatArray = self._forward(batch).cpu().numpy()
        return found

    def probabilities(self, batch: FloatArray) -> FloatArray:
        """Softmax of the logits over the classes."""
        found: FloatArray = torch.softmax(self._forward(batch), dim=1).cpu().numpy()
        return found

    def classes(self, batch: FloatArray) -> NDArray[np.uint8]:
        """Most probable class, shape (N, ...)."""
        found: NDArray[np.uint8] = self._forward(batch).argmax(dim=1).to(torch.uint8).cpu().numpy()
        return found

    def release(self) -> None:
        """PyTorch holds nothing between batches on a CPU; on a GPU it gives its reserve back."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _forward(self, batch: FloatArray) -> torch.Tensor:
        if self._device.type == "cpu" and torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)  # sums depend on it in their last bits, and others in the process may set it
        given = torch.from_numpy(np.ascontiguousarray(batch)).to(device=self._device, dtype=self._dtype)
        try:
            logits: torch.Tensor = self._network(given.contiguous(memory_format=self._layout)).float()
        except RuntimeError as error:  # torch.OutOfMemoryError is one; the CPU's allocator has none of its own
            if isinstance(error, torch.OutOfMemoryError) or _NO_MEMORY in str(error):
                raise MemoryError("a network found no memory") from error
            raise
        return logits
