"""Networks run by PyTorch."""

from __future__ import annotations

from collections.abc import Callable
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
        found: FloatArray = self._answer(batch, torch.Tensor.float).numpy()
        return found

    def probabilities(self, batch: FloatArray) -> FloatArray:
        """Softmax of the logits over the classes."""
        found: FloatArray = self._answer(batch, _softmax).numpy()
        return found

    def classes(self, batch: FloatArray) -> NDArray[np.uint8]:
        """Most probable class, shape (N, ...)."""
        found: NDArray[np.uint8] = self._answer(batch, _first_of_the_largest).numpy()
        return found

    def release(self) -> None:
        """PyTorch holds nothing between batches on a CPU; on a GPU it gives its reserve back."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _answer(self, batch: FloatArray, of: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """What is made of the logits, which have the engine's own precision, on the CPU."""
        if self._device.type == "cpu" and torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)  # sums depend on it in their last bits, and others in the process may set it
        given = torch.from_numpy(np.ascontiguousarray(batch)).to(device=self._device, dtype=self._dtype)
        try:
            return of(self._network(given.contiguous(memory_format=self._layout))).cpu()
        except RuntimeError as error:  # torch.OutOfMemoryError is one; the CPU's allocator has none of its own
            if isinstance(error, torch.OutOfMemoryError) or _NO_MEMORY in str(error):
                raise MemoryError("a network found no memory") from error
            raise


def _softmax(logits: torch.Tensor) -> torch.Tensor:
    """In fp32; classes come first before that, for then there are half the bytes to move that softmax itself would move."""
    return torch.softmax(logits.contiguous().float(), dim=1)


def _first_of_the_largest(logits: torch.Tensor) -> torch.Tensor:
    return logits.float().argmax(dim=1).to(torch.uint8)
