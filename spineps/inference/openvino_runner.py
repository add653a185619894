"""Networks run by OpenVINO on the CPU: several times faster than PyTorch there, in a fraction of the memory."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from spineps.config import Precision
from spineps.geometry import FloatArray
from spineps.inference.conversion import graph_of
from spineps.inference.openvino_graph import Run, Stem, cut_off, side_by_side
from spineps.zoo.store import AnyModel

_PRECISIONS: Final = {Precision.BF16: "bf16", Precision.FP32: "f32"}

_NO_MEMORY: Final = ("bad_alloc", "allocate")


class OpenvinoRunner:
    """A converted network, compiled for the shape of the batches that it is given (see
    :class:`spineps.inference.runner.Runner`).

    Samples of a batch run one after the other: on a CPU as fast, in less memory, and with the same answer whatever the batch.
    """

    def __init__(self, model: AnyModel, precision: Precision, threads: int) -> None:
        self._graph = graph_of(model)
        self._settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # several processes may share the machine's cores
        }
        self._compiled = lru_cache(maxsize=1)(self._compile)

    def logits(self, batch: FloatArray) -> FloatArray:
        """Outputs of the network in fp32, shape (N, classes, ...)."""
        return np.concatenate([self._one(sample).copy() for sample in batch])

    def probabilities(self, batch: FloatArray) -> FloatArray:
        """Softmax of the logits over the classes."""
        found: FloatArray = softmax(self.logits(batch), axis=1)
        return found

    def classes(self, batch: FloatArray) -> NDArray[np.uint8]:
        """Most probable class, shape (N, ...)."""
        return np.stack([_first_of_the_largest(self._one(sample)[0]) for sample in batch])

    def release(self) -> None:
        """Give back the compiled network; it is compiled anew for the next batch."""
        self._compiled.cache_clear()

    def _one(self, sample: FloatArray) -> FloatArray:
        """Outputs for one sample; they last until the next."""
        try:
            return self._compiled(sample.shape)(np.ascontiguousarray(sample[None]))
        except RuntimeError as error:
            if any(words in str(error) for words in _NO_MEMORY):
                raise MemoryError("a network found no memory") from error
            raise

    def _compile(self, shape: tuple[int, ...]) -> Run:
        """The network, ready for samples of a shape."""
        graph = self._graph.clone()
        stem = cut_off(graph)
        graph.reshape([1, *shape] if stem is None else [1, stem.channels, *shape[1:]])
        side_by_side(graph)
        request = self._request(graph)
        return _runs(request) if stem is None else _behind(stem, _runs(self._request(stem.graph)), request)

    def _request(self, graph: Any) -> Any:
        import openvino

        return openvino.Core().compile_model(graph, "CPU", self._settings).create_infer_request()


def _runs(request: Any) -> Run:
    """A compiled graph."""

    def run(batch: FloatArray) -> FloatArray:
        found: FloatArray = request.infer({0: batch}, share_inputs=True, share_outputs=True)[0]
        return found

    return run


def _behind(stem: Stem, first: Run, request: Any) -> Run:
    """A compiled graph whose input are the features that a stem gives."""

    def run(batch: FloatArray) -> FloatArray:
        stem.fill(request.get_input_tensor().data[0], batch[0], first)
        found: FloatArray = request.infer(share_outputs=True)[0]
        return found

    return run


def _first_of_the_largest(scores: FloatArray) -> NDArray[np.uint8]:
    """Most probable class, shape (...), of scores of shape (classes, ...); many times faster than ``argmax``."""
    largest, found = scores[0], np.zeros(scores.shape[1:], np.uint8)
    for number, of_class in enumerate(scores[1:], start=1):
        np.maximum(found, (of_class > largest) * np.uint8(number), out=found)
        largest = np.maximum(largest, of_class)
    return found
