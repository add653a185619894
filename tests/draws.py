"""Functions that worker processes of a stream import by name, so they live in a module that those find."""

from __future__ import annotations

import numpy as np

from spineps.training.stream import Volume


def failing_draw(volume: Volume, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A draw that fails, as a bug would make it."""
    raise RuntimeError(f"no sample from {volume.seed}")
