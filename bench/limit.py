"""How near does each layer of a network come to what the machine can compute at all?

usage: python bench/limit.py [MODEL ...] [--engine E] [--precision P] [--threads N] [--runs N] [--out FILE.json]

``MODEL`` is ``semantic`` or ``instance`` for those of this package (the default), or the folder of any semantic or instance
model. The machine's peak is what a multiplication of large matrices reaches with the same engine, numbers and threads; its
memory's is that of a copy. A network then runs on one tile; OpenVINO tells the time of each of its operations, with PyTorch
each layer is timed in place. A published instance network gets a cutout with a column of classes, for its first convolution
is computed only around it; all of its operations are counted. Everything is the least of some runs, for other programs can
only take time away. The table is sorted by time. Its last lines: the layers together, how long they would take if all of it
ran at the peak, and a whole run in seconds of the processor over threads. Where that is much less than the layers together,
other programs were in the way.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from report import table
from step_side import cutout

from spineps.config import ComputeConfig, Device, EngineName, Precision
from spineps.inference.load import load_instance, load_semantic
from spineps.inference.machine import Engine, thread_count
from spineps.inference.openvino_runner import OpenvinoRunner
from spineps.inference.published import NnunetEngine, PublishedInstanceEngine
from spineps.inference.torch_runner import TorchRunner
from spineps.zoo.card import Kind
from spineps.zoo.published import import_folder, is_published
from spineps.zoo.store import AnyModel, bundled_folder, open_model

MATRIX: Final = 2048
COPIED_BYTES: Final = 200_000_000
REPEATS: Final = 10
SHOWN: Final = 25
"""Layers of the table; the rest is one line."""
NUMBER_BYTES: Final = {"bf16": 2, "f16": 2, "f32": 4, "fp32": 4, "i8": 1, "u8": 1, "i32": 4, "i64": 8}


@dataclass(frozen=True)
class Layer:
    """One operation of a network: what it computes, what it reads and writes, and how long it takes."""

    name: str
    kind: str
    gflop: float
    gigabytes: float
    seconds: float


@dataclass(frozen=True)
class Limits:
    """Of the machine."""

    gflops: float
    gigabytes_per_second: float


class Timed(Protocol):
    """A runner that tells what its layers took in the last run."""

    def logits(self, batch: Any) -> Any:
        """Run the network."""

    def layers(self) -> list[Layer]:
        """In the order of the network."""


class TimedOpenvino(OpenvinoRunner):
    """OpenVINO, counting."""

    def __init__(self, model: AnyModel, precision: Precision, threads: int) -> None:
        super().__init__(model, precision, threads)
        self._settings["PERF_COUNT"] = True
        self._requests: list[Any] = []

    def _compile(self, shape: tuple[int, ...]) -> Any:
        graph = self._graph.clone()
        graph.reshape([1, *shape])
        self._gflop = {op.get_friendly_name(): graph_gflop(op) for op in graph.get_ops()}
        return super()._compile(shape)

    def _request(self, graph: Any) -> Any:
        self._requests.append(super()._request(graph))
        return self._requests[-1]

    def layers(self) -> list[Layer]:
        """Operations as the plugin has fused them; of a part that runs more than once, the last run."""
        found = []
        for request in self._requests:
            nodes = {node.get_friendly_name(): node for node in request.get_compiled_model().get_runtime_model().get_ops()}
            found += [self._layer(told, nodes[told.node_name]) for told in request.profiling_info if told.node_name in nodes]
        return found

    def _layer(self, told: Any, node: Any) -> Layer:
        facts = node.get_rt_info()
        fused = facts["originalLayersNames"].astype(str).split(",") if "originalLayersNames" in facts else []
        moved = sum(_bytes(port) for port in (*(p.get_source_output() for p in node.inputs()), *node.outputs()))
        gflop = sum(self._gflop.get(name, 0.0) for name in fused)
        return Layer(told.node_name, f"{told.node_type} {told.exec_type}", gflop, moved / 1e9, told.real_time.total_seconds())


def _bytes(port: Any) -> int:
    """Of a tensor between operations."""
    facts = port.get_node().get_rt_info()
    numbers = facts["outputPrecisions"].astype(str).split(",")[0].lower() if "outputPrecisions" in facts else "f32"
    shape = port.get_partial_shape()
    return math.prod(shape.to_shape()) * NUMBER_BYTES.get(numbers, 4) if shape.is_static else 0  # a stem has no fixed shape


def graph_gflop(op: Any) -> float:
    """Multiplications and additions of a convolution or product of an OpenVINO graph; 0 of anything else."""
    if op.get_type_name() in {"Convolution", "ConvolutionBackpropData"}:
        places = op.output(0) if op.get_type_name() == "Convolution" else op.input(0).get_source_output()
        kernel = op.input(1).get_source_output().get_shape()
        return 2e-9 * math.prod(kernel) * math.prod(places.get_shape()[2:])
    return 0.0


class TimedTorch(TorchRunner):
    """PyTorch, each layer timed in place."""

    def __init__(self, model: AnyModel, engine: Engine, threads: int) -> None:
        super().__init__(model.network, engine, threads)
        self._found: list[Layer] = []
        self._begin = 0.0
        for name, module in model.network.named_modules():
            if _is_layer(module):
                module.register_forward_pre_hook(lambda *_: self._start())
                module.register_forward_hook(lambda module, given, found, name=name: self._stop(name, module, given[0], found))

    def logits(self, batch: Any) -> Any:
        """Run the network; what is no layer of its own is one line."""
        self._found = []
        begin = time.perf_counter()
        found = super().logits(batch)
        rest = time.perf_counter() - begin - sum(layer.seconds for layer in self._found)
        self._found.append(Layer("between the layers", "additions, activations", 0.0, 0.0, rest))
        return found

    def layers(self) -> list[Layer]:
        """Modules without parts."""
        return self._found

    def _start(self) -> None:
        self._begin = time.perf_counter()

    def _stop(self, name: str, module: Any, given: Any, found: Any) -> None:
        seconds = time.perf_counter() - self._begin
        moved = sum(t.numel() * t.element_size() for t in (given, found, *module.parameters()))
        self._found.append(Layer(name, type(module).__name__, module_gflop(module, given, found), moved / 1e9, seconds))


def _is_layer(module: Any) -> bool:
    return not any(module.children()) and (next(module.parameters(), None) is not None or "Norm" in type(module).__name__)


def module_gflop(module: Any, given: Any, found: Any) -> float:
    """Multiplications and additions of a convolution of PyTorch; 0 of anything else."""
    if not hasattr(module, "kernel_size"):
        return 0.0
    places = given if getattr(module, "transposed", False) else found
    return 2e-9 * module.weight.numel() * math.prod(places.shape[2:])


def least(
    work: Callable[[], object], threads: int, runs: int = REPEATS, clock: Callable[[], float] = time.process_time
) -> float:
    """Seconds of the processor, or of another clock, over threads of the fastest run after a first one."""
    seconds = []
    for _ in range(runs + 1):
        begin = clock()
        work()
        seconds.append(clock() - begin)
    return min(seconds[1:]) / threads


def limits_of(engine: Engine, threads: int) -> Limits:
    """What the machine reaches with an engine, in its precision."""
    product = (
        _openvino_product(engine.precision, threads)
        if engine.runs_on is EngineName.OPENVINO
        else _torch_product(engine, threads)
    )
    part = COPIED_BYTES // threads // 8
    pairs = [(np.ones(part), np.zeros(part)) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        copied = least(lambda: list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), pairs)), threads)
    return Limits(2e-9 * MATRIX**3 / least(product, threads), 2e-9 * 8 * part * threads / copied)


def _torch_product(engine: Engine, threads: int) -> Callable[[], object]:
    import torch

    torch.set_num_threads(threads)
    a, b = (torch.ones((MATRIX, MATRIX), dtype=engine.dtype) for _ in range(2))
    return lambda: a @ b


def _openvino_product(precision: Precision, threads: int) -> Callable[[], object]:
    import openvino
    from openvino import opset13 as ops

    given = ops.parameter([MATRIX, MATRIX], np.float32)
    graph = openvino.Model([ops.matmul(given, ops.constant(np.ones((MATRIX, MATRIX), np.float32)), False, False)], [given])
    kind = "bf16" if precision is Precision.BF16 else "f32"
    settings = {"INFERENCE_PRECISION_HINT": kind, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERF_COUNT": True}
    request = openvino.Core().compile_model(graph, "CPU", settings).create_infer_request()
    data = np.ones((MATRIX, MATRIX), np.float32)
    return lambda: request.infer({0: data}, share_inputs=True, share_outputs=True)


def network_of(name: str, config: ComputeConfig) -> tuple[Engine, Timed, np.ndarray]:
    """The engine of a network, the network telling the time of its layers, and a tile for it."""
    folder = bundled_folder(Kind(name)) if name in {Kind.SEMANTIC.value, Kind.INSTANCE.value} else Path(name)
    model = open_model(import_folder(folder) if is_published(folder) else folder)
    load = load_semantic if model.card.kind is Kind.SEMANTIC else load_instance
    loaded, threads = load(config, folder), thread_count(config)
    patch = loaded.model.patch if isinstance(loaded, NnunetEngine) else model.card.patch_size
    openvino = loaded.engine.runs_on is EngineName.OPENVINO
    timed = TimedOpenvino(model, loaded.engine.precision, threads) if openvino else TimedTorch(model, loaded.engine, threads)
    channels = model.network.input_channels
    if isinstance(loaded, PublishedInstanceEngine):
        return loaded.engine, timed, cutout(channels)
    return loaded.engine, timed, np.random.default_rng(0).standard_normal((1, channels, *patch)).astype(np.float32)


def fastest(timed: Timed, tile: np.ndarray, threads: int, runs: int) -> tuple[list[Layer], float]:
    """The layers, each as in its fastest run after a first one, and the seconds of a whole run."""
    found: dict[str, Layer] = {}

    def run() -> None:
        timed.logits(tile)
        for layer in timed.layers():
            known = found.get(layer.name)
            found[layer.name] = layer if known is None or layer.seconds < known.seconds else known

    whole = least(run, threads, runs)
    return sorted(found.values(), key=lambda layer: -layer.seconds), whole


def lines(layers: list[Layer], limits: Limits, seconds: float) -> Iterable[list[object]]:
    """The table."""
    whole = total("all layers", layers)
    rest = layers[SHOWN:]
    for layer in [*layers[:SHOWN], *([total(f"{len(rest)} more", rest)] if rest else []), whole]:
        rate, speed = layer.gflop / layer.seconds, layer.gigabytes / layer.seconds
        shares = [f"{rate / limits.gflops:.2f}", f"{speed / limits.gigabytes_per_second:.2f}"]
        yield [
            layer.name,
            layer.kind,
            f"{layer.gflop:.2f}",
            f"{1000 * layer.seconds:.1f}",
            f"{layer.seconds / whole.seconds:.3f}",
            *shares,
        ]
    at_peak = whole.gflop / limits.gflops
    ends = {"all layers at the peak": at_peak, "whole run, processor": seconds}
    for name, took in ends.items():
        yield [
            name,
            "",
            f"{whole.gflop:.2f}",
            f"{1000 * took:.1f}",
            f"{took / whole.seconds:.3f}",
            f"{at_peak / took:.2f}",
            "-",
        ]


def total(name: str, layers: list[Layer]) -> Layer:
    """Some layers together."""
    sums = [sum(getattr(layer, what) for layer in layers) for what in ("gflop", "gigabytes", "seconds")]
    return Layer(name, "", *sums)


HEAD: Final = ["layer", "kind", "GFLOP", "ms", "of all time", "of the matmul peak", "of the copy's GB/s"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["semantic", "instance"])
    parser.add_argument("--engine", default="auto", choices=[name.value for name in EngineName])
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("bench/out/limit.json"))
    args = parser.parse_args()
    config = ComputeConfig(Device.CPU, Precision(args.precision), args.threads, engine=EngineName(args.engine))
    threads = thread_count(config)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    limits: dict[str, Limits] = {}
    kept = []
    for name in args.models:
        engine, timed, tile = network_of(name, config)
        limits.setdefault(engine.name, limits_of(engine, threads))
        here = limits[engine.name]
        layers, seconds = fastest(timed, tile, threads, args.runs)
        peaks = f"{here.gflops:.0f} GFLOP/s in a matrix product, {here.gigabytes_per_second:.1f} GB/s in a copy"
        print(f"\n{Path(name).name}, a tile of {tile.shape[1:]}, {engine.name} on {threads} threads: {peaks}\n")
        print(table(HEAD, lines(layers, here, seconds)), flush=True)
        facts = {
            "network": name,
            "tile": tile.shape[1:],
            "engine": engine.name,
            "threads": threads,
            "machine": asdict(here),
            "seconds": seconds,
        }
        kept.append(facts | {"layers": [asdict(layer) for layer in layers]})
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
