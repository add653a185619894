"""Sizes of vertebrae and discs by level, and their variation between and within people.

The means are rounded from the literature and lie between its studies, which differ by up to 10 %: cervical, thoracic and
lumbar quantitative anatomy of Panjabi et al. (Spine 1991; 16:861-869 and 888-901; Spine 1992; 17:299-306), cervical
vertebrae of Francis (Anat Rec 1955; 122:603-609), vertebral and disc dimensions of Gilad and Nissan (J Anat 1985;
143:115-120), vertebrae T1 to L5 of Busscher et al. (Eur Spine J 2010; 19:1104-1114), thoracic disc heights after Kunkel et
al. (J Anat 2011; 219:375-387). Direct measurements are of dry or dissected bone; masks drawn in MRI include the cortex.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spineps.labels import LEVEL_NAMES, T13_INSTANCE
from spineps.phantom.fields import factor

Profile = NDArray[np.float64]

C1, C2, C7, T1, T12, L1, L5 = 0, 1, 6, 7, 18, 19, 23
"""Level indices: C1 is 0, L5 is 23; the sacrum begins at 24."""
SACRUM_LEVEL: Final = 24
L6_INSTANCE: Final = 25

# One value a level, C1 to L5, in mm (angles in degrees). Row breaks: cervical, thoracic, lumbar.
# fmt: off
TABLE: Final = MappingProxyType(
    {
        "width": (
            20, 18, 17.8, 18.4, 19.6, 21.6, 23.6,
            25, 25, 25, 25, 25.7, 27, 28.5, 30, 31.5, 33.5, 36.5, 40,
            43.5, 45.5, 47.5, 49.5, 51,
        ),
        "depth": (
            10, 15.8, 16.4, 16.6, 17, 17.5, 18.1,
            17.5, 18.5, 20.5, 22.5, 24, 25.5, 27, 28, 29, 30, 31, 32,
            34.5, 35.7, 36.5, 36.8, 36,
        ),
        "height": (
            11, 20, 14.7, 14.3, 14.1, 14.3, 15.8,
            16.2, 17, 17.4, 17.8, 18.2, 18.8, 19.4, 20, 20.8, 22, 23, 24.5,
            27.5, 28.5, 29, 29, 28.3,
        ),
        "disc": (
            1.5, 4.8, 5, 5.2, 5.3, 5.5, 5,
            4.3, 3.8, 3.6, 3.8, 4.2, 4.6, 5, 5.3, 5.8, 6.3, 6.8, 7.3,
            8.2, 9.3, 10.2, 11, 10.5,
        ),
        "canal_width": (
            27, 24, 23, 23.5, 24, 24.3, 23.5,
            21, 18.8, 17.8, 17, 17, 17.2, 17.3, 17.5, 17.8, 18.2, 19.3, 21.8,
            22.8, 23, 23.5, 24.5, 27,
        ),
        "canal_depth": (
            20, 18, 14.5, 14.2, 14.3, 14.5, 14.5,
            15, 15, 15.2, 15.4, 15.5, 15.5, 15.5, 15.6, 15.8, 15.8, 16, 16.6,
            17, 16.6, 16.2, 16.6, 17.5,
        ),
        "pedicle_width": (
            6, 8, 5.6, 5.4, 5.6, 6, 6.8,
            8.5, 7.5, 6.2, 5.6, 5.5, 5.6, 5.9, 6.3, 6.9, 7.6, 8.4, 8.2,
            8.2, 8.5, 9.8, 11.5, 13.5,
        ),
        "pedicle_height": (
            7, 9, 7.5, 7.5, 7.2, 7.3, 7.8,
            9.3, 10.8, 11.3, 11.5, 11.6, 11.8, 12, 12.4, 13.5, 14.5, 16.2, 16.2,
            15.6, 15, 14.6, 14.6, 15,
        ),
        "spinous_length": (
            4, 15, 10, 10, 12, 17, 27,
            30, 32, 33, 34, 35, 36, 36, 35, 33, 30, 27, 25,
            24, 26, 27, 26, 21,
        ),
        "spinous_angle": (
            0, 15, 20, 20, 22, 22, 25,
            28, 35, 40, 45, 52, 56, 58, 56, 48, 38, 25, 16,
            13, 12, 12, 12, 14,
        ),
        "spinous_height": (
            6, 13, 9, 9, 10, 11, 13,
            13.5, 13.5, 14, 14.5, 14.5, 14.5, 15, 16, 17, 19, 21, 24,
            25.5, 26.5, 26.5, 24, 19,
        ),
        "spinous_thickness": (
            6, 9, 8, 8, 8, 8, 8,
            7.5, 7, 6.6, 6.5, 6.5, 6.5, 6.5, 6.5, 6.6, 6.8, 7, 7.3,
            7, 7.2, 7.4, 7.4, 7.2,
        ),
        "transverse_span": (
            38, 26, 26, 27, 28, 29.5, 34,
            37, 34.5, 31.5, 30.5, 30.5, 30.5, 30.5, 30, 29.5, 28, 24.5, 23,
            34, 37.5, 41.5, 40.5, 43,
        ),
        "transverse_back": (
            -5, -6, -7, -7, -7, -6, -2,
            6, 10, 13, 14.5, 15.5, 16, 16, 16, 16, 15, 13, 10,
            7, 7, 6, 5, 3,
        ),
    }
)
# fmt: on
_ANGLES_AND_OFFSETS: Final = MappingProxyType({"spinous_angle": (5.0, 3.0), "transverse_back": (2.0, 1.0)})
"""Standard deviation between people and between levels of what may be zero or negative, so varied by addition."""
_BODY: Final = ("width", "depth", "height")
SACRUM_LENGTH_MM: Final = 105.0
STATURE: Final = (0.86, 1.17)
"""Smallest and largest factor on all sizes."""


class Variant(str, Enum):
    """Numbering variants of the spine."""

    NONE = "none"
    T13 = "t13"
    L6 = "l6"
    NO_T12 = "no_t12"
    NO_L5 = "no_l5"
    NO_T12_RIB = "no_t12_rib"


@dataclass(frozen=True, slots=True)
class Level:
    """One vertebra of a spine.

    Parameters
    ----------
    position : float
        Where it stands in the tables (C1 0 ... L5 23); T13 and L6 stand between.
    instance : int
        Its id in instance masks; 1 for C1.
    """

    position: float
    instance: int

    @property
    def name(self) -> str:
        """For example ``"L4"``."""
        return LEVEL_NAMES[self.instance]

    @property
    def cervical(self) -> bool:
        """C1 to C7."""
        return self.position < T1

    @property
    def thoracic(self) -> bool:
        """T1 to T12, and T13."""
        return T1 <= self.position < L1

    @property
    def lumbar(self) -> bool:
        """L1 to L6."""
        return self.position >= L1


def levels_of(variant: Variant) -> tuple[Level, ...]:
    """The vertebrae of a spine from C1 downwards (the sacrum not included)."""
    levels = [Level(float(index), index + 1) for index in range(SACRUM_LEVEL)]
    if variant is Variant.T13:
        levels.insert(L1, Level(T12 + 0.5, T13_INSTANCE))
    elif variant is Variant.L6:
        levels.append(Level(L5 + 0.5, L6_INSTANCE))
    elif variant is Variant.NO_T12:
        del levels[T12]
    elif variant is Variant.NO_L5:
        del levels[L5]
    return tuple(levels)


@dataclass(frozen=True, slots=True, eq=False)
class Morphometry:
    """Sizes of each vertebra of one spine, C1 downwards, in mm; arrays of one value a vertebra.

    Widths run left-right, depths antero-posterior, heights along the spine. ``disc`` is the height of the disc below,
    ``spinous_length`` starts behind the canal, ``spinous_angle`` is in degrees below the horizontal,
    ``transverse_span`` reaches from the midline to the tip, ``transverse_back`` is how far the tip lies behind the
    centre of the canal.
    """

    width: Profile
    depth: Profile
    height: Profile
    disc: Profile
    canal_width: Profile
    canal_depth: Profile
    pedicle_width: Profile
    pedicle_height: Profile
    spinous_length: Profile
    spinous_angle: Profile
    spinous_height: Profile
    spinous_thickness: Profile
    transverse_span: Profile
    transverse_back: Profile

    def of(self, vertebra: int) -> Sizes:
        """The sizes of one vertebra, by its place in the spine."""
        return Sizes(*(float(getattr(self, field.name)[vertebra]) for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of one vertebra; see :class:`Morphometry`."""

    width: float
    depth: float
    height: float
    disc: float
    canal_width: float
    canal_depth: float
    pedicle_width: float
    pedicle_height: float
    spinous_length: float
    spinous_angle: float
    spinous_height: float
    spinous_thickness: float
    transverse_span: float
    transverse_back: float

    @property
    def canal_centre(self) -> float:
        """How far behind the centre of the body the centre of the bony canal lies, in mm."""
        return self.depth / 2 + self.canal_depth / 2 - 0.4


def mean_morphometry(levels: tuple[Level, ...]) -> Morphometry:
    """The population's mean sizes of the given vertebrae."""
    positions = np.array([level.position for level in levels])
    return Morphometry(**{name: np.interp(positions, np.arange(SACRUM_LEVEL), row) for name, row in TABLE.items()})


def draw_morphometry(rng: np.random.Generator, levels: tuple[Level, ...], scale: float) -> Morphometry:
    """One person's sizes: a common scale, proportions of its own, a trend along the spine, and noise between levels.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    levels : tuple of Level
        The vertebrae.
    scale : float
        Stature relative to the mean.

    Returns
    -------
    Morphometry
    """
    mean = mean_morphometry(levels)
    count = len(levels)
    drawn = {}
    for field in fields(mean):
        values = getattr(mean, field.name)
        if field.name in _ANGLES_AND_OFFSETS:
            person, level = _ANGLES_AND_OFFSETS[field.name]
            drawn[field.name] = values + rng.normal(0, person) + rng.normal(0, level, count)
            continue
        body = field.name in _BODY
        trend = rng.normal(0, 0.04) * np.linspace(-1, 1, count)
        between = np.exp(trend + rng.normal(0, 0.025 if body else 0.05, count))
        drawn[field.name] = values * scale * factor(rng, 0.045 if body else 0.11) * between
    return Morphometry(**drawn)
