"""Hardware of an operated spine: a screw through each pedicle of some neighbours, and a rod behind each row of them.

Metal is tissue, not a structure: inside of bone the labels stay those of the bone, as a reader would draw it, and what the
painted image loses around metal is the business of :func:`spineps.phantom.artefacts.metal_void`. Screws are 5.5 to 7 mm thick
and end in the front half of the body, rods 5.5 mm, as systems for the thoracic and lumbar spine are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.phantom.canvas import Canvas
from spineps.phantom.fields import Point, capsule
from spineps.phantom.morphometry import L5, Sizes
from spineps.phantom.tissues import Tissue

SHARE: Final = 0.02
"""Of phantoms, where nothing else is asked for."""
_FIRST_LEVEL: Final = 10
"""T4: above it pedicles are too thin for such screws."""
_MOST_LEVELS: Final = 4
_SCREW_MM: Final = (2.75, 3.5)
_ROD_MM: Final = 2.75
_BEHIND_ENTRY_MM: Final = 6.0
_MARGIN_MM: Final = 12.0

Placed = tuple[Sizes, float]
"""Sizes of a vertebra, and the middle of its body along the curve."""


def draw_implant(rng: np.random.Generator, positions: NDArray[np.float64], share: float) -> tuple[int, ...]:
    """Places in the spine of the vertebrae that hold screws, from above; none with a probability of ``1 - share``."""
    present = rng.random() < share
    able = np.flatnonzero((positions >= _FIRST_LEVEL) & (positions <= L5 + 1))
    count = int(rng.integers(2, _MOST_LEVELS + 1))
    start = int(rng.integers(len(able) - count + 1))
    return tuple(int(k) for k in able[start : start + count]) if present else ()


def paint_implant(rng: np.random.Generator, canvas: Canvas, placed: Sequence[Placed]) -> None:
    """Paint screws and rods into these vertebrae; the anatomy and its labels stay."""
    radius = float(rng.uniform(*_SCREW_MM))
    inwards = float(rng.uniform(0.5, 0.8))
    for side in (-1, 1):
        heads = []
        for sizes, centre in placed:
            lateral = side * (sizes.canal_width + sizes.pedicle_width) / 2
            entry = sizes.canal_centre + 0.5 * sizes.canal_depth + _BEHIND_ENTRY_MM
            heads.append((entry, lateral, centre - 0.1 * sizes.height))
            tip: Point = (float(rng.uniform(-0.35, 0.0)) * sizes.depth, lateral * inwards, -0.12 * sizes.height)
            _fill(canvas, centre, ((entry, lateral, -0.1 * sizes.height), tip), radius)
        for upper, lower in pairwise(heads):
            origin = (upper[2] + lower[2]) / 2
            ends = ((upper[0], upper[1], upper[2] - origin), (lower[0], lower[1], lower[2] - origin))
            _fill(canvas, origin, ends, _ROD_MM)


def _fill(canvas: Canvas, origin: float, ends: tuple[Point, Point], radius: float) -> None:
    """A rod of metal between two points (posterior, right, and inferior of ``origin`` along the curve; mm)."""
    low, high = np.min(ends, axis=0) - _MARGIN_MM, np.max(ends, axis=0) + _MARGIN_MM
    s, u, v = ((float(low[axis]), float(high[axis])) for axis in (2, 0, 1))
    patch = canvas.patch((s[0] + origin, s[1] + origin), u, v, origin)
    if patch.index.size:
        canvas.fill(patch.where(capsule(patch.points, ends, (radius, radius)) < 0), Tissue.METAL)
