"""How models that were made elsewhere want to be run: what their folders say beyond the fields that every card has."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Triple = tuple[float, float, float]


class Made(BaseModel):
    """What is the same for all models made elsewhere.

    ``zoom_low`` and ``zoom_high`` are in mm along the axes of ``orientation``: an image is sampled at its own spacing,
    limited to that range; equal ends are a fixed spacing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    orientation: tuple[str, str, str]
    zoom_low: Triple
    zoom_high: Triple
    modalities: tuple[str, ...] = ()
    acquisition: str = "sag"
    source_sha256: str


class Channel(BaseModel):
    """How nnU-Net normalises an image: the scheme, and the intensities of the training images that it may need."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheme: Literal["ZScoreNormalization", "CTNormalization", "NoNormalization", "RescaleTo01Normalization"]
    inside_mask: bool = False
    mean: float = 0.0
    std: float = 1.0
    low: float = 0.0
    high: float = 0.0


class NnunetModel(Made):
    """A semantic model of nnU-Net v2.

    ``spacing`` and ``patch`` are along the axes of the network's own arrays: those of ``orientation`` in reverse, then
    transposed by ``transpose``. ``mirror_axes`` are axes of those arrays. ``resampling`` is True where images of another
    spacing are resampled to ``spacing`` and the scores back, by nnU-Net's own default.
    """

    form: Literal["nnunet"] = "nnunet"
    transpose: tuple[int, int, int] = (0, 1, 2)
    spacing: Triple
    patch: tuple[int, int, int]
    channel: Channel
    resampling: bool = True
    mirror_axes: tuple[int, ...] = ()
    regions: bool = False
    normalise_range: bool = True
    n4: bool = True
    has_c1: bool = False
    needs_crop: bool = False


class InstanceModel(Made):
    """An instance model: ``mapping`` is from semantic ids to classes of the cutout, ``classes`` from those of the output."""

    form: Literal["unet3d"] = "unet3d"
    mapping: dict[int, int]
    classes: dict[int, int] = Field(default_factory=lambda: {1: 1, 2: 2, 3: 3})
    least_corpus_mm3: float
    least_vertebra_mm3: float


class LabelingModel(Made):
    """A classifier of vertebral levels: the classes of its heads, and how a patch is cut for it."""

    form: Literal["classifier"] = "classifier"
    heads: dict[str, int]
    rotated: bool = False
