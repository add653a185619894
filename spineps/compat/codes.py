"""Enumerations of the published package. A member equals its name as text, so that scripts may compare with either."""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import Final

from spineps.errors import ErrorCode, NoSpineError, SpinepsError


class NamedEnum(Enum):
    """Enumeration whose members equal their name."""

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return self.name == other
        return self is other

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    __repr__ = __str__


class ErrCode(NamedEnum):
    """How the segmentation of one scan ended.

    ``OK`` done, ``ALL_DONE`` all files were there already, ``COMPATIBILITY`` the scan does not suit the model, ``EMPTY``
    there is nothing to segment, ``SHAPE`` the image is not one 3D volume. Everything else that ends a run is raised.
    """

    OK = 1
    ALL_DONE = 2
    COMPATIBILITY = 3
    UNKNOWN = 4
    EMPTY = 5
    SHAPE = 6


class Modality(NamedEnum):
    """Kind of image."""

    T2w = 1
    T1w = 2
    Vibe = 3
    CT = 4
    SEG = 5
    MPR = 6
    PD = 7
    FLAIR = 8

    @classmethod
    def format_keys(cls, modalities: Modality | list[Modality]) -> list[str]:
        """BIDS suffixes of files of these modalities."""
        wanted = modalities if isinstance(modalities, list) else [modalities]
        return [suffix for modality in wanted for suffix in _SUFFIXES[modality.name]]

    @classmethod
    def known_format_keys(cls) -> list[str]:
        """BIDS suffixes of all modalities."""
        return cls.format_keys(list(cls))


class Acquisition(NamedEnum):
    """Plane of an image."""

    sag = 1
    cor = 2
    ax = 3
    iso = 4

    @classmethod
    def format_keys(cls, acquisition: Acquisition) -> list[str]:
        """Values of the BIDS entity ``acq`` that name this plane."""
        return list(_PLANES[acquisition.name])


class SpinepsPhase(NamedEnum):
    """Phase that a model serves."""

    SEMANTIC = 1
    INSTANCE = 2
    LABELING = 3


class ModelType(NamedEnum):
    """Family of a model's network."""

    nnunet = 1
    unet = 2
    classifier = 3


class InputType(NamedEnum):
    """What an input channel of a model shows."""

    img = 1
    seg = 2
    ip = 3
    oop = 4
    water = 5
    fat = 6


class OutputType(NamedEnum):
    """What a model gives."""

    seg = 1
    softmax_logits = 2


_SUFFIXES: Final = MappingProxyType(
    {
        "T2w": ("T2w", "dixon", "mr", "t2", "T2", "T2c"),
        "T1w": ("T1w", "t1", "T1", "T1c"),
        "Vibe": ("t1dixon", "vibe", "mevibe", "GRE"),
        "CT": ("CT", "ct"),
        "SEG": ("msk", "seg"),
        "MPR": ("mpr", "MPR", "Mpr"),
        "PD": ("PD", "pd", "PDw"),
        "FLAIR": ("FLAIR", "flair"),
    }
)
_PLANES: Final = MappingProxyType(
    {"sag": ("sagittal", "sag"), "cor": ("coronal", "cor"), "ax": ("axial", "ax", "axl"), "iso": ("iso", "ISO")}
)
_NOTHING_THERE: Final = frozenset({ErrorCode.INPUT_CONSTANT, ErrorCode.INPUT_NONFINITE, ErrorCode.INPUT_EMPTY})


def err_code_of(error: SpinepsError) -> ErrCode | None:
    """The published code for an error, or None where there was none: the published package would have raised."""
    if isinstance(error, NoSpineError) or error.code in _NOTHING_THERE:
        return ErrCode.EMPTY
    return {ErrorCode.COMPAT: ErrCode.COMPATIBILITY, ErrorCode.INPUT_SHAPE: ErrCode.SHAPE}.get(error.code)
