"""One step of a segmentation, timed on one side of bench/vs_published.py: run by the interpreter of that side.

usage: PYTHON step_side.py ours|theirs network|n4 MODEL SHAPE THREADS
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SPACING = (0.78, 0.78, 4.4)


def ours(what: str, model: Path, shape: tuple[int, ...], threads: int) -> Callable[[], Any]:
    """Our step, ready to be called."""
    if what == "n4":
        import ants  # noqa: F401  the import is no part of the step

        from spineps.geometry import Geometry
        from spineps.stages.preprocess import correct_bias_field

        grid = Geometry.from_spacing(shape, SPACING)
        return lambda: correct_bias_field(_image(shape), grid)
    from spineps.config import ComputeConfig, Device
    from spineps.inference.load import load_instance

    engine = load_instance(ComputeConfig(Device.CPU, threads=threads, amp=True).of_instances, model)
    return lambda: engine.runner.logits(_cutout(shape))


def theirs(what: str, model: Path, shape: tuple[int, ...], threads: int) -> Callable[[], Any]:
    """The published step, ready to be called."""
    if what == "n4":
        from TPTBox import NII

        from spineps.phase_pre import n4_bias

        affine = np.diag([*SPACING, 1.0])
        return lambda: n4_bias(NII.from_numpy(_image(shape), affine, seg=False))
    import torch

    from spineps.get_models import get_actual_model

    torch.set_num_threads(threads)
    network = get_actual_model(str(model), use_cpu=True).load().predictor

    def forward() -> Any:
        with torch.inference_mode():
            return network(torch.from_numpy(_cutout(shape)))

    return forward


def _cutout(shape: tuple[int, ...]) -> np.ndarray:
    cutout = np.zeros((1, *shape), np.float32)
    cutout[:, 0] = 1
    return cutout


def _image(shape: tuple[int, ...]) -> np.ndarray:
    p, i, r = np.indices(shape, dtype=np.float32)
    inside = ((p / shape[0] - 0.5) ** 2 + (i / shape[1] - 0.5) ** 2) < 0.2
    return (inside * (300 + 100 * ((p // 20 + i // 20 + r) % 2)) * (1 + p / shape[0])).astype(np.float32)


def main() -> None:
    side, what, model, shape, threads = sys.argv[1:]
    step = {"ours": ours, "theirs": theirs}[side](what, Path(model), tuple(map(int, shape.split(","))), int(threads))
    if what == "network":
        step()  # the first call prepares the network for the shape
    begin = time.perf_counter()
    step()
    print(json.dumps({"seconds": round(time.perf_counter() - begin, 3)}))


if __name__ == "__main__":
    main()
