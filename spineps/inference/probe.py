"""Which engines this machine has, and how fast each runs a model: for a recommendation, never for the choice."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np

from spineps.config import ComputeConfig, Device, EngineName, Precision
from spineps.errors import UsageError
from spineps.inference.machine import choose_engine

_RUNS: Final = 3


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way of running networks.

    Parameters
    ----------
    config : ComputeConfig
        The settings that ask for it.
    name : str
        As in the record of a run.
    lacks : str
        Why this machine cannot; empty where it can.
    seconds : float or None
        Of one tile, where it was measured.
    """

    config: ComputeConfig
    name: str
    lacks: str = ""
    seconds: float | None = None


def candidates(threads: int = 0) -> list[Candidate]:
    """Every way of running networks, and what this machine lacks for it."""
    ways = [
        *product([EngineName.OPENVINO, EngineName.TORCH], [Device.CPU], [Precision.BF16, Precision.FP32]),
        *product([EngineName.TORCH], [Device.CUDA], [Precision.BF16, Precision.FP32]),
    ]
    return [_candidate(ComputeConfig(device, precision, threads, engine=engine)) for engine, device, precision in ways]


def probe(candidate: Candidate, folder: Path | None = None) -> Candidate:
    """The candidate with the least time of some runs of one tile of a semantic model, by default the bundled one."""
    from spineps.inference.load import load_semantic
    from spineps.inference.published import NnunetEngine

    engine = load_semantic(candidate.config, folder)
    tile = np.random.default_rng(0).standard_normal(engine.card.patch_size).astype(np.float32)
    if isinstance(engine, NnunetEngine):
        tile = np.resize(tile, engine.model.patch)
    seconds = []
    for _ in range(_RUNS + 1):  # the first prepares the network for the shape
        begin = time.perf_counter()
        engine.runner.logits(tile[None, None])
        seconds.append(time.perf_counter() - begin)
    return replace(candidate, seconds=min(seconds[1:]))


def _candidate(config: ComputeConfig) -> Candidate:
    name = f"{config.engine.value}-{config.device.value}-{config.precision.value}"
    try:
        choose_engine(config)
    except UsageError as error:
        return Candidate(config, name, error.message)
    return Candidate(config, name)
