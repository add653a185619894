"""One protocol for whatever runs a network, and the runner that an engine stands for."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spineps.config import ComputeConfig, EngineName
from spineps.geometry import FloatArray
from spineps.inference.machine import Engine, thread_count
from spineps.zoo.store import AnyModel


class Runner(Protocol):
    """Runs a network on batches of shape (N, channels, X, Y, Z), fp32."""

    def logits(self, batch: FloatArray) -> FloatArray:
        """Outputs of the network in fp32, shape (N, classes, ...)."""

    def probabilities(self, batch: FloatArray) -> FloatArray:
        """Softmax of the logits over the classes."""

    def classes(self, batch: FloatArray) -> NDArray[np.uint8]:
        """Most probable class, shape (N, ...)."""

    def release(self) -> None:
        """Give back the memory that is held between batches."""


def open_runner(model: AnyModel, engine: Engine, config: ComputeConfig) -> Runner:
    """A model's network, ready to run on an engine.

    Raises
    ------
    ModelError
        Where the model is damaged.
    """
    threads = thread_count(config)
    if engine.runs_on is EngineName.OPENVINO:
        from spineps.inference.openvino_runner import OpenvinoRunner

        return OpenvinoRunner(model, engine.precision, threads)
    from spineps.inference.torch_runner import TorchRunner

    return TorchRunner(model.network, engine, threads)
