"""How models that were made elsewhere want to be run: what their folders say beyond the fields that every card has."""

from __future__ import annotations

import math
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

FINEST_MM: Final = 0.1
COARSEST_MM: Final = 20.0
"""Spacings that a scanner of patients has lie well between these."""
LONGEST_SIDE: Final = 1024
LARGEST_PATCH: Final = 1 << 26
"""Voxels; the features of a larger patch fit into no machine. nnU-Net plans some 10^6."""


def _fits_a_machine(size: tuple[int, int, int]) -> tuple[int, int, int]:
    if math.prod(size) > LARGEST_PATCH:
        raise ValueError(f"more than {LARGEST_PATCH} voxels")
    return size


def _each_axis_once(order: tuple[int, int, int]) -> tuple[int, int, int]:
    if sorted(order) != [0, 1, 2]:
        raise ValueError("not each of the axes 0, 1 and 2 once")
    return order


Millimetres = Annotated[float, Field(ge=FINEST_MM, le=COARSEST_MM)]
Triple = tuple[Millimetres, Millimetres, Millimetres]
"""Spacing along three axes."""
Side = Annotated[int, Field(ge=1, le=LONGEST_SIDE)]
Size = Annotated[tuple[Side, Side, Side], AfterValidator(_fits_a_machine)]
"""Voxels of a patch along three axes."""
Axis = Annotated[int, Field(ge=0, le=2)]
Label = Annotated[int, Field(ge=0, le=255)]


class Made(BaseModel):
    """What is the same for all models made elsewhere.

    ``zoom_low`` and ``zoom_high`` are in mm along the axes of ``orientation``: an image is sampled at its own spacing,
    limited to that range; equal ends are a fixed spacing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    orientation: tuple[str, str, str]
    zoom_low: Triple
    zoom_high: Triple
    modalities: tuple[str, ...] = ()
    acquisition: str = "sag"
    source_sha256: str

    @model_validator(mode="after")
    def _ends_in_order(self) -> Made:
        if any(low > high for low, high in zip(self.zoom_low, self.zoom_high, strict=True)):
            raise ValueError("the finest spacing is coarser than the coarsest")
        return self


class Channel(BaseModel):
    """How nnU-Net normalises an image: the scheme, and the intensities of the training images that it may need."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scheme: Literal["ZScoreNormalization", "CTNormalization", "NoNormalization", "RescaleTo01Normalization"]
    inside_mask: bool = False
    mean: float = 0.0
    std: float = Field(default=1.0, ge=0)
    low: float = 0.0
    high: float = 0.0


class NnunetModel(Made):
    """A semantic model of nnU-Net v2.

    ``spacing`` and ``patch`` are along the axes of the network's own arrays: those of ``orientation`` in reverse, then
    transposed by ``transpose``. ``mirror_axes`` are axes of those arrays. ``resampling`` is True where images of another
    spacing are resampled to ``spacing`` and the scores back, by nnU-Net's own default.
    """

    form: Literal["nnunet"] = "nnunet"
    transpose: Annotated[tuple[int, int, int], AfterValidator(_each_axis_once)] = (0, 1, 2)
    spacing: Triple
    patch: Size
    channel: Channel
    resampling: bool = True
    mirror_axes: tuple[Axis, ...] = ()
    regions: bool = False
    normalise_range: bool = True
    n4: bool = True
    has_c1: bool = False
    needs_crop: bool = False


class InstanceModel(Made):
    """An instance model: ``mapping`` is from semantic ids to classes of the cutout, ``classes`` from those of the output."""

    form: Literal["unet3d"] = "unet3d"
    mapping: dict[Label, Label]
    classes: dict[Label, Label] = Field(default_factory=lambda: {1: 1, 2: 2, 3: 3})
    least_corpus_mm3: float = Field(ge=0)
    least_vertebra_mm3: float = Field(ge=0)


class LabelingModel(Made):
    """A classifier of vertebral levels: the classes of its heads, and how a patch is cut for it."""

    form: Literal["classifier"] = "classifier"
    heads: dict[str, int]
    rotated: bool = False
