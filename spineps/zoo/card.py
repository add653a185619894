"""Model cards: what binds a file of weights to its preprocessing, its labels and its origin."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from spineps.zoo.elsewhere import InstanceModel, LabelingModel, NnunetModel, Size, Triple
from spineps.zoo.kind import Kind

__all__ = ["Golden", "Kind", "ModelCard"]


class Golden(BaseModel):
    """Expected output for a fixed input, checked when a model is loaded.

    The input is :func:`spineps.zoo.golden.probe`; ``logits`` are the means of its output channels in fp32.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: tuple[int, int, int]
    logits: tuple[float, ...]
    tolerance: float = 5e-3


class ModelCard(BaseModel):
    """Everything that is needed to run a model, and everything that is known of its making.

    Spacings and sizes are along (P, I, R); spacings in mm, sizes in voxels. ``elsewhere`` is set for a model that was not made
    by this package and says how it is run. ``temperature`` is what logits are divided by for calibrated probabilities; 1 where
    nobody found it (``bench/calibration.py`` does). ``good_for`` and ``fails_at`` are for people: what was measured on real
    scans, and where not to trust the model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    version: str
    network: str
    network_settings: dict[str, Any] = Field(default_factory=dict)
    spacing_mm: Triple
    patch_size: Size
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    labels: tuple[int, ...]
    step_size: float = 0.5
    mirror: bool = False
    temperature: float = Field(default=1.0, gt=0)
    weights_sha256: str
    golden: Golden
    training: dict[str, Any] = Field(default_factory=dict)
    good_for: str = ""
    fails_at: str = ""
    elsewhere: NnunetModel | InstanceModel | LabelingModel | None = Field(default=None, discriminator="form")
