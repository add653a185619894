"""Tissues of a phantom: what the anatomy paints and the appearance turns into intensities."""

from __future__ import annotations

from enum import IntEnum


class Tissue(IntEnum):
    """Tissue ids of a phantom's tissue map (uint8)."""

    AIR = 0
    SUBCUTANEOUS_FAT = 1
    MUSCLE = 2
    CORTICAL_BONE = 3
    BODY_MARROW = 4
    POSTERIOR_MARROW = 5
    NUCLEUS = 6
    ANNULUS = 7
    CSF = 8
    CORD = 9
    NERVE_ROOT = 10
    LIGAMENT = 11
    EPIDURAL_FAT = 12
    VESSEL_DARK = 13
    VESSEL_BRIGHT = 14
    ORGAN_A = 15
    ORGAN_B = 16
    FLUID = 17
    LUNG = 18
    JOINT = 19
    SACRAL_MARROW = 20
    DEEP_FAT = 21
    ENDPLATE = 22
    LESION = 23
    BASIVERTEBRAL_VEIN = 24
    ORGAN_C = 25
    NUCLEAR_CLEFT = 26
    RIB = 27
    SKIN = 28
    METAL = 29
    CORD_GREY = 30
