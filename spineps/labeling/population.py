"""What a size measured in masks is expected to be at each level, and how people and levels scatter around it.

Both were read off masks of phantoms, true ones and ones with a network's errors, by what measures them in scans too:
``python bench/population.py`` (seeds that nothing is reported on) draws, measures and fits. The sources of the phantoms' sizes
stand in :mod:`spineps.phantom.morphometry`; masks end inside the cortex and between endplates, a dural sac is narrower than its
bony canal, and moments make round things shorter than they are. The scatter is that of phantoms or wider: people differ more
than phantoms do, and what a network paints behind the bodies is coarse.
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
from spineps.phantom.morphometry import C2, C7, L1, L5, SACRUM_LEVEL, T12

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
        "depth": Scatter(0.05, 0.09, 0.07),
        "height": Scatter(0.055, 0.06, 0.06),
        "width": Scatter(0.06, 0.08, 0.09),
        "pitch": Scatter(0.065, 0.06, 0.06),
        "canal_depth": Scatter(0.08, 0.15, 0.1),
        "canal_width": Scatter(0.08, 0.15, 0.1),
        "transverse_span": Scatter(0.15, 0.2, 0.2),
        "transverse_back": Scatter(4.0, 4.0, 5.5, logarithm=False),
        "spinous_length": Scatter(0.18, 0.25, 0.16),
        "spinous_angle": Scatter(9.0, 8.0, 8.5, logarithm=False),
    }
)
"""As the masks of phantoms scatter, but of heights, where fractured bodies count as what lies far off; and behind the bodies
about half as wide again, so that what a network paints there alike at all levels does not outvote the bodies."""

# One value a level, C2 to L5, in mm (angles in degrees). Row breaks: cervical, thoracic, lumbar.
# fmt: off
TABLE: Final = MappingProxyType(
    {
        "depth": (
            13.6, 14.2, 14.4, 14.8, 15.1, 16.1,
            15.5, 16.4, 18.3, 20.2, 21.8, 23.1, 24.7, 25.2, 26.2, 27.7, 28.8, 29.8,
            32.3, 33.1, 33.8, 33.9, 33.6,
        ),
        "height": (
            28.9, 12.7, 12.2, 12.1, 11.9, 13.5,
            13.5, 14.7, 14.6, 15.0, 15.4, 16.2, 16.3, 17.1, 17.5, 18.4, 19.9, 21.3,
            23.2, 24.4, 24.5, 24.7, 24.2,
        ),
        "width": (
            14.9, 14.9, 15.4, 16.2, 17.9, 19.6,
            22.8, 21.3, 20.9, 21.0, 21.5, 22.6, 23.9, 25.1, 26.3, 28.0, 31.0, 34.1,
            37.5, 39.1, 41.4, 42.7, 45.0,
        ),
        "pitch": (
            24.8, 18.8, 18.4, 18.6, 19.4, 20.6,
            20.4, 20.8, 20.9, 20.9, 21.7, 23.1, 24.2, 25.0, 26.1, 26.9, 29.7, 32.2,
            35.3, 36.2, 38.3, 38.1, 38.1,
        ),
        "canal_depth": (
            17.2, 13.8, 13.3, 13.8, 13.6, 13.6,
            14.0, 14.1, 14.4, 14.3, 14.4, 14.2, 14.1, 14.6, 14.0, 13.9, 14.5, 14.7,
            15.0, 14.5, 13.4, 13.0, 13.2,
        ),
        "canal_width": (
            23.5, 21.4, 22.0, 22.5, 23.0, 22.2,
            19.9, 17.8, 16.8, 16.2, 16.6, 16.8, 16.9, 16.8, 17.5, 18.0, 18.3, 20.9,
            21.6, 20.8, 19.9, 19.7, 20.8,
        ),
        "transverse_span": (
            25.6, 25.7, 27.3, 27.8, 28.9, 33.3,
            36.8, 35.8, 32.6, 32.3, 29.9, 30.3, 30.4, 29.5, 29.3, 28.4, 25.3, 24.0,
            32.4, 35.8, 38.7, 38.4, 40.2,
        ),
        "transverse_back": (
            10.7, 8.4, 8.3, 9.2, 10.5, 14.4,
            22.6, 27.3, 30.9, 33.4, 36.3, 37.8, 38.1, 38.4, 38.5, 38.4, 37.3, 35.4,
            32.1, 32.3, 31.3, 30.8, 29.3,
        ),
        "spinous_length": (
            18.9, 12.9, 13.5, 15.5, 20.9, 28.9,
            30.5, 33.0, 33.6, 33.7, 35.6, 38.2, 37.1, 35.8, 35.2, 30.6, 28.5, 26.7,
            26.4, 28.8, 29.6, 28.6, 23.4,
        ),
        "spinous_angle": (
            13.2, 14.0, 13.5, 17.0, 19.1, 23.9,
            27.0, 35.3, 41.7, 48.5, 56.7, 60.5, 62.0, 58.2, 52.4, 42.6, 30.4, 19.9,
            17.2, 13.9, 10.5, 9.1, 9.0,
        ),
    }
)
# fmt: on
"""Mean of each of :data:`~spineps.labeling.features.SIZES` in masks."""


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
    levels = np.arange(C2, SACRUM_LEVEL)
    columns = [np.log(TABLE[name]) if SCATTER[name].logarithm else np.array(TABLE[name]) for name in SIZES]
    return np.stack([np.interp(POSITIONS, levels, column) for column in columns], axis=1)
