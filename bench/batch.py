"""Are several tiles at once faster than one after the other, and are their answers the same?

usage: python bench/batch.py [--count N] [--device cpu|cuda] [--precision P] [--threads N] [--runs N]

The bundled networks run ``N`` tiles of random numbers with PyTorch, together and one at a time; the least of some runs after a
first one. Seconds are those of the processor on a CPU, those that pass on a GPU.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from limit import least
from report import table

from spineps.config import ComputeConfig, Device, EngineName, Precision
from spineps.geometry import FloatArray
from spineps.inference.machine import choose_engine, thread_count
from spineps.inference.torch_runner import TorchRunner
from spineps.zoo.card import Kind
from spineps.zoo.store import bundled_folder, open_model


def row(kind: Kind, config: ComputeConfig, count: int, runs: int) -> list[object]:
    """Of the table: a bundled network, its seconds both ways, their ratio, and whether the answers have the same bits."""
    model, engine = open_model(bundled_folder(kind)), choose_engine(config)
    runner = TorchRunner(model.network, engine, thread_count(config))
    shape = (count, model.network.input_channels, *model.card.patch_size)
    tiles = np.random.default_rng(0).standard_normal(shape).astype(np.float32)

    def together() -> FloatArray:
        return runner.logits(tiles)

    def by_itself() -> FloatArray:
        return np.concatenate([runner.logits(tile[None]) for tile in tiles])

    clock = time.process_time if engine.device.type == "cpu" else time.perf_counter
    first, second = (least(work, 1, runs, clock) for work in (together, by_itself))
    same = "yes" if np.array_equal(together(), by_itself()) else "no"
    return [kind.value, f"{first:.2f}", f"{second:.2f}", f"{first / second:.2f}", same]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--device", default="cpu", choices=[device.value for device in Device])
    parser.add_argument("--precision", default="auto", choices=[precision.value for precision in Precision])
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    config = ComputeConfig(Device(args.device), Precision(args.precision), args.threads, engine=EngineName.TORCH)
    rows = [row(kind, config, args.count, args.runs) for kind in (Kind.SEMANTIC, Kind.INSTANCE)]
    print(table(["network", f"{args.count} together, s", "one at a time, s", "ratio", "same bits"], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
