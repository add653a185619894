"""Are several tiles at once faster than one after the other, and are their answers the same?

usage: python bench/batch.py [--count N] [--device cpu|cuda] [--precision P] [--threads N] [--runs N]

The bundled networks run ``N`` tiles of random numbers with PyTorch, by turns together and one at a time; the least of some runs
after a first one. Seconds are those of the processor on a CPU, those that pass on a GPU.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
from report import table

from spineps.config import ComputeConfig, Device, EngineName, Precision
from spineps.geometry import FloatArray
from spineps.inference.load import load_instance, load_semantic
from spineps.inference.machine import thread_count
from spineps.inference.torch_runner import TorchRunner
from spineps.zoo.store import bundled_folder, open_model


def least(clock: Callable[[], float], runs: int, *works: Callable[[], FloatArray]) -> list[float]:
    """Seconds of the fastest run of each, by turns, after a first one."""
    rounds = [[_seconds(clock, work) for work in works] for _ in range(runs + 1)]
    return [min(column) for column in zip(*rounds[1:], strict=True)]


def _seconds(clock: Callable[[], float], work: Callable[[], FloatArray]) -> float:
    begin = clock()
    work()
    return clock() - begin


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--device", default="cpu", choices=[device.value for device in Device])
    parser.add_argument("--precision", default="auto", choices=[precision.value for precision in Precision])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    config = ComputeConfig(Device(args.device), Precision(args.precision), args.threads, engine=EngineName.TORCH)
    rows = []
    for load in (load_semantic, load_instance):
        loaded = load(config)
        model = open_model(bundled_folder(loaded.card.kind))
        runner = TorchRunner(model.network, loaded.engine, thread_count(config))
        shape = (args.count, model.network.input_channels, *model.card.patch_size)
        tiles = np.random.default_rng(0).standard_normal(shape).astype(np.float32)

        def together(runner: TorchRunner = runner, tiles: FloatArray = tiles) -> FloatArray:
            return runner.logits(tiles)

        def by_itself(runner: TorchRunner = runner, tiles: FloatArray = tiles) -> FloatArray:
            return np.concatenate([runner.logits(tile[None]) for tile in tiles])

        clock = time.perf_counter if loaded.engine.device.type != "cpu" else time.process_time
        first, second = least(clock, args.runs, together, by_itself)
        same = "yes" if np.array_equal(together(), by_itself()) else "no"
        rows.append([loaded.card.kind.value, f"{first:.2f}", f"{second:.2f}", f"{first / second:.2f}", same])
    print(table(["network", f"{args.count} together, s", "one at a time, s", "ratio", "same bits"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
