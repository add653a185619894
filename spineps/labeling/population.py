"""What a size measured in masks is expected to be at each level, and how people and levels scatter around it.

The expectations are the population's means of :mod:`spineps.phantom.morphometry` (its sources stand there), brought to what
:mod:`spineps.labeling.features` measures by a factor a size: masks end inside the cortex and between endplates, a dural sac
is narrower than its bony canal, and moments make round things shorter than they are. The factors and the scatter between
levels were read off masks of phantoms (seeds 1 900 000 on); the scatter is wider than that of phantoms' true masks, most of
all behind the bodies: what a network paints there is coarse, and people differ more than phantoms do.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.geometry import Matrix
from spineps.labeling.features import SIZES
from spineps.labeling.sequence import NAMES
from spineps.phantom.morphometry import C2, C7, L1, L5, SACRUM_LEVEL, T12, TABLE

SCALE_SD: Final = 0.1
"""Of the logarithm of a person's size."""


@dataclass(frozen=True, slots=True)
class Scatter:
    """Standard deviations of a size around its expectation (of its logarithm for lengths that are always positive).

    Parameters
    ----------
    level : float
        Between the levels of one person.
    person : float
        Between people of the same stature, common to all levels.
    trend : float
        Between people, growing evenly along the spine: at twelve levels from the middle of the field of view.
    logarithm : bool
        Whether the logarithm is meant.
    """

    level: float
    person: float
    trend: float
    logarithm: bool = True


SCATTER: Final = MappingProxyType(
    {
        "depth": Scatter(0.045, 0.06, 0.06),
        "height": Scatter(0.055, 0.06, 0.06),
        "width": Scatter(0.05, 0.06, 0.06),
        "pitch": Scatter(0.06, 0.06, 0.06),
        "canal_depth": Scatter(0.08, 0.15, 0.1),
        "canal_width": Scatter(0.08, 0.15, 0.1),
        "transverse_span": Scatter(0.08, 0.15, 0.06),
        "transverse_back": Scatter(2.5, 3.0, 2.0, logarithm=False),
        "spinous_length": Scatter(0.1, 0.2, 0.1),
        "spinous_angle": Scatter(6.0, 8.0, 5.0, logarithm=False),
    }
)
_FACTOR: Final = MappingProxyType(
    {
        "depth": 0.88,
        "height": 0.86,
        "width": 0.84,
        "pitch": 0.94,
        "canal_depth": 0.95,
        "canal_width": 0.83,
        "transverse_span": 1.0,
        "spinous_length": 1.07,
    }
)
_DENS_HEIGHT: Final = 1.65
"""The body of C2 is taller by this with its dens."""
_DENS_PITCH: Final = 1.14
_SHOWN_LUMBAR_SPAN: Final = 0.85
"""Of lumbar transverse processes only short ones lie whole in the narrow field of view of a sagittal scan."""
_BACK_MM: Final = -1.0
_ANGLES: Final = ((C7, C7 + 4, T12, L1), (0.0, 5.0, 5.0, -3.0))
"""What a line through a spinous process's voxels is steeper than the process, in degrees, at some levels."""


def position_of(name: str) -> float:
    """Where a level stands in the tables of morphometry: C1 0, L5 23, S1 24; T13 and L6 between their neighbours."""
    if name == "S1":
        return float(SACRUM_LEVEL)
    if name in ("T13", "L6"):
        return (T12 if name == "T13" else L5) + 0.5
    first = {"C": 0, "T": C7 + 1, "L": L1}[name[0]]
    return float(first + int(name[1:]) - 1)


POSITIONS: Final[NDArray[np.float64]] = np.array([position_of(name) for name in NAMES])
"""Of each of :data:`~spineps.labeling.sequence.NAMES`."""


def expected_sizes() -> Matrix:
    """Expected size of each level, shape (len(NAMES), len(SIZES)); logarithms of lengths that are always positive."""
    rows = {name: np.asarray(values, np.float64) for name, values in TABLE.items()}
    height, disc = rows["height"].copy(), rows["disc"]
    rows["pitch"] = (height + np.append(height[1:], height[-1])) / 2 + disc
    height[C2] *= _DENS_HEIGHT
    rows["pitch"][C2] *= _DENS_PITCH
    rows["height"] = height
    levels = np.arange(SACRUM_LEVEL)
    rows["transverse_span"] = rows["transverse_span"] * np.where(levels >= L1, _SHOWN_LUMBAR_SPAN, 1.0)
    rows["transverse_back"] = rows["depth"] / 2 + rows["canal_depth"] / 2 + rows["transverse_back"] + _BACK_MM
    rows["spinous_angle"] = rows["spinous_angle"] + np.interp(levels, *_ANGLES)
    columns = [np.log(rows[name] * _FACTOR[name]) if SCATTER[name].logarithm else rows[name] for name in SIZES]
    return np.stack([np.interp(POSITIONS, levels, column) for column in columns], axis=1)
