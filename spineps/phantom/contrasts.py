"""How bright each tissue is in each kind of MR image.

The ranges of the T2w turbo spin echo prior follow the usual order of T2 times (fluid, fat, marrow, cord, muscle, ligament,
cortical bone) and were set wide, so that a network learns shapes and neighbourhoods rather than values. Intensities are
relative: cerebrospinal fluid in a T2w image is about 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

import numpy as np

from spineps.geometry import FloatArray, Matrix
from spineps.phantom.tissues import Tissue

TISSUES: Final = len(Tissue)
_CALIBRATION_SIGMA: Final = 0.015
"""Standard deviation of what is added to every tissue's mean, so that no two tissues are ever exactly alike."""


class Contrast(str, Enum):
    """Kinds of MR images that a phantom can be painted as."""

    T2W = "t2w"
    T1W = "t1w"
    STIR = "stir"
    WATER = "water"
    FAT = "fat"
    RANDOM = "random"


@dataclass(frozen=True, slots=True, eq=False)
class TissueSignal:
    """Signal of every tissue in one image.

    Parameters
    ----------
    mean : ndarray of float32, shape (tissues,)
        Mean intensity, indexed by :class:`~spineps.phantom.tissues.Tissue`.
    spread : ndarray of float32, shape (tissues,)
        Standard deviation of the texture within a tissue.
    """

    mean: FloatArray
    spread: FloatArray


_T2W_RANGE: Final = MappingProxyType(
    {
        Tissue.AIR: (0.0, 0.04),
        Tissue.SUBCUTANEOUS_FAT: (0.45, 1.1),
        Tissue.MUSCLE: (0.06, 0.3),
        Tissue.CORTICAL_BONE: (0.0, 0.12),
        Tissue.BODY_MARROW: (0.18, 0.65),
        Tissue.POSTERIOR_MARROW: (0.18, 0.65),
        Tissue.NUCLEUS: (0.2, 0.9),
        Tissue.ANNULUS: (0.03, 0.3),
        Tissue.CSF: (0.75, 1.3),
        Tissue.CORD: (0.3, 0.65),
        Tissue.NERVE_ROOT: (0.25, 0.6),
        Tissue.LIGAMENT: (0.02, 0.2),
        Tissue.EPIDURAL_FAT: (0.45, 1.1),
        Tissue.VESSEL_DARK: (0.0, 0.12),
        Tissue.VESSEL_BRIGHT: (0.3, 0.9),
        Tissue.ORGAN_A: (0.1, 0.5),
        Tissue.ORGAN_B: (0.2, 0.7),
        Tissue.FLUID: (0.6, 1.2),
        Tissue.LUNG: (0.0, 0.12),
        Tissue.JOINT: (0.3, 1.0),
        Tissue.SACRAL_MARROW: (0.18, 0.65),
        Tissue.DEEP_FAT: (0.3, 0.8),
        Tissue.ENDPLATE: (0.0, 0.15),
        Tissue.LESION: (0.3, 1.0),
        Tissue.BASIVERTEBRAL_VEIN: (0.3, 1.0),
        Tissue.ORGAN_C: (0.05, 0.4),
        Tissue.NUCLEAR_CLEFT: (0.05, 0.3),
        Tissue.RIB: (0.1, 0.5),
        Tissue.SKIN: (0.1, 0.6),
        Tissue.METAL: (0.0, 0.02),
        Tissue.CORD_GREY: (0.35, 0.7),
    }
)
_T2W_LOW: Final = np.array([_T2W_RANGE[t][0] for t in Tissue])
_T2W_HIGH: Final = np.array([_T2W_RANGE[t][1] for t in Tissue])
_FATS: Final = (Tissue.SUBCUTANEOUS_FAT, Tissue.EPIDURAL_FAT, Tissue.DEEP_FAT)
_MARROWS: Final = (Tissue.BODY_MARROW, Tissue.POSTERIOR_MARROW, Tissue.SACRAL_MARROW, Tissue.RIB)


def draw_signal(rng: np.random.Generator, contrast: Contrast) -> TissueSignal:
    """Draw the signal of every tissue for one image.

    Parameters
    ----------
    rng : numpy Generator
        Source of all randomness.
    contrast : Contrast
        Kind of image.

    Returns
    -------
    TissueSignal
        Means and textures, not negative.
    """
    mean = _DRAW[contrast](rng) + rng.normal(0, _CALIBRATION_SIGMA, TISSUES)
    mean[Tissue.METAL] = 0.0
    spread = rng.uniform(0.005, 0.05, TISSUES) * (0.4 + np.abs(mean))
    spread[Tissue.METAL] = 0.0
    return TissueSignal(np.maximum(mean, 0).astype(np.float32), spread.astype(np.float32))


def _draw_t2w(rng: np.random.Generator) -> Matrix:
    mean = _base(rng)
    _set_fat(mean, rng, rng.uniform(0.4, 1.15))
    mean[Tissue.EPIDURAL_FAT] = min(mean[Tissue.EPIDURAL_FAT], mean[Tissue.CSF] * rng.uniform(0.6, 0.95))
    _set_marrow(mean, rng, rng.uniform(0.13, 0.65))
    mean[Tissue.BASIVERTEBRAL_VEIN] = mean[Tissue.BODY_MARROW] * rng.uniform(0.9, 2.2)
    mean[Tissue.LESION] = mean[Tissue.BODY_MARROW] * rng.uniform(0.4, 2.2)
    if rng.random() < 0.12:  # discs whose nucleus can no longer be told from the annulus
        mean[Tissue.NUCLEUS] = mean[Tissue.ANNULUS] * rng.uniform(0.8, 1.5)
    return mean


def _draw_t1w(rng: np.random.Generator) -> Matrix:
    mean = _draw_t2w(rng)
    _set_fat(mean, rng, rng.uniform(0.7, 1.2))
    _set_marrow(mean, rng, rng.uniform(0.3, 0.75))
    fluid = rng.uniform(0.05, 0.25)
    mean[[Tissue.CSF, Tissue.FLUID, Tissue.JOINT]] = fluid
    cord = rng.uniform(0.2, 0.45)
    mean[[Tissue.CORD, Tissue.CORD_GREY]] = cord, cord * rng.uniform(0.85, 1.0)
    mean[Tissue.NERVE_ROOT] = fluid * rng.uniform(1, 1.8)
    disc = rng.uniform(0.2, 0.45)
    mean[[Tissue.NUCLEUS, Tissue.NUCLEAR_CLEFT]] = disc
    mean[Tissue.ANNULUS] = disc * rng.uniform(0.6, 1.05)
    mean[Tissue.MUSCLE] = rng.uniform(0.15, 0.45)
    mean[Tissue.BASIVERTEBRAL_VEIN] = mean[Tissue.BODY_MARROW] * rng.uniform(0.4, 1)
    mean[Tissue.LESION] = mean[Tissue.BODY_MARROW] * rng.uniform(0.3, 1.3)
    return mean


def _draw_stir(rng: np.random.Generator) -> Matrix:
    """Fat-suppressed T2w or STIR: fat and fatty marrow dark, fluid and oedema bright."""
    mean = _draw_t2w(rng)
    left = rng.uniform(0.03, 0.35)
    mean[list(_FATS)] *= left
    marrow = rng.uniform(0.05, 0.3)
    _set_marrow(mean, rng, marrow)
    mean[Tissue.MUSCLE] = rng.uniform(0.12, 0.45)
    mean[Tissue.LESION] = marrow * rng.uniform(0.5, 4)
    mean[Tissue.BASIVERTEBRAL_VEIN] = marrow * rng.uniform(1, 3)
    mean[Tissue.NUCLEUS] = rng.uniform(0.2, 1.0)
    mean[Tissue.SKIN] = rng.uniform(0.3, 1.0)
    return mean


def _draw_water(rng: np.random.Generator) -> Matrix:
    """Gradient echo with fat suppressed, or Dixon water: discs, fluid and vessels bright, marrow mid to dark."""
    mean = _base(rng)
    _set_fat(mean, rng, rng.uniform(0.02, 0.3))
    _set_marrow(mean, rng, rng.uniform(0.08, 0.5))
    csf = rng.uniform(0.55, 1.2)
    mean[Tissue.CSF] = csf
    cord = csf * rng.uniform(0.55, 1.05)
    mean[[Tissue.CORD, Tissue.CORD_GREY]] = cord, cord * rng.uniform(0.95, 1.15)
    mean[Tissue.NERVE_ROOT] = csf * rng.uniform(0.7, 1.0)
    disc = rng.uniform(0.5, 1.2)
    mean[Tissue.NUCLEUS] = disc
    mean[Tissue.ANNULUS] = disc * rng.uniform(0.55, 1.0)
    mean[Tissue.NUCLEAR_CLEFT] = disc * rng.uniform(0.8, 1.0)
    mean[Tissue.MUSCLE] = rng.uniform(0.3, 0.75)
    mean[Tissue.JOINT] = rng.uniform(0.4, 1.1)
    mean[Tissue.VESSEL_BRIGHT] = rng.uniform(0.6, 1.3)
    mean[Tissue.VESSEL_DARK] = rng.uniform(0.0, 0.9)
    mean[Tissue.BASIVERTEBRAL_VEIN] = mean[Tissue.BODY_MARROW] * rng.uniform(1, 2.5)
    mean[[Tissue.ORGAN_A, Tissue.ORGAN_B, Tissue.ORGAN_C]] = rng.uniform(0.2, 0.8, 3)
    mean[Tissue.SKIN] = rng.uniform(0.4, 1.2)
    return mean


def _draw_fat(rng: np.random.Generator) -> Matrix:
    """Dixon fat: fat and fatty marrow bright, and of everything else what the separation leaves."""
    mean = _base(rng) * rng.uniform(0.01, 0.15)
    _set_fat(mean, rng, rng.uniform(0.7, 1.2))
    marrow = rng.uniform(0.2, 0.75)
    _set_marrow(mean, rng, marrow)
    mean[Tissue.MUSCLE] = rng.uniform(0.02, 0.2)
    mean[Tissue.BASIVERTEBRAL_VEIN] = marrow * rng.uniform(0.2, 0.9)
    mean[Tissue.LESION] = marrow * rng.uniform(0.1, 1.6)
    mean[Tissue.SKIN] = rng.uniform(0.05, 0.4)
    return mean


def _draw_random(rng: np.random.Generator) -> Matrix:
    """Every tissue uniform (Billot et al. 2023, SynthSeg), but air and metal without signal."""
    mean = rng.uniform(0, 1, TISSUES)
    mean[Tissue.AIR] = rng.uniform(0, 0.05)
    return mean


def _base(rng: np.random.Generator) -> Matrix:
    """T2w ranges, with bone, endplates and ligament all about equally dark, as short T2 makes them."""
    mean = rng.uniform(_T2W_LOW, _T2W_HIGH)
    dark = rng.uniform(0, 0.1)
    mean[Tissue.CORTICAL_BONE] = dark
    mean[Tissue.ENDPLATE] = dark + rng.uniform(0, 0.05)
    mean[Tissue.LIGAMENT] = dark + rng.uniform(0, 0.1)
    mean[Tissue.CORD_GREY] = mean[Tissue.CORD] * rng.uniform(1.0, 1.25)
    return mean


def _set_fat(mean: Matrix, rng: np.random.Generator, fat: float) -> None:
    """Give all fats one brightness, deep fat a little less (it holds vessels and septa). In place."""
    mean[Tissue.SUBCUTANEOUS_FAT] = fat
    mean[Tissue.EPIDURAL_FAT] = fat * rng.uniform(0.7, 1.2)
    mean[Tissue.DEEP_FAT] = fat * rng.uniform(0.4, 1)


def _set_marrow(mean: Matrix, rng: np.random.Generator, marrow: float) -> None:
    """Give the marrow of all bones about one brightness. In place."""
    factors = (1.0, rng.uniform(0.65, 1.35), rng.uniform(0.8, 1.25), rng.uniform(0.5, 1.2))
    for tissue, factor in zip(_MARROWS, factors, strict=True):
        mean[tissue] = marrow * factor


_DRAW: Final[MappingProxyType[Contrast, Callable[[np.random.Generator], Matrix]]] = MappingProxyType(
    {
        Contrast.T2W: _draw_t2w,
        Contrast.T1W: _draw_t1w,
        Contrast.STIR: _draw_stir,
        Contrast.WATER: _draw_water,
        Contrast.FAT: _draw_fat,
        Contrast.RANDOM: _draw_random,
    }
)
