"""The file that makes a folder a published model, ``inference_config.json``, and what it leaves to defaults."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from spineps.errors import ErrorCode, ModelError
from spineps.geometry import PIR, Axes, Reorientation
from spineps.io.shown import shown_name
from spineps.labels import Structure
from spineps.zoo.elsewhere import Size, Triple

CONFIG: Final = "inference_config.json"
LARGEST_JSON: Final = 64 << 20
"""Bytes; the plans of a real model have some 20 kB, a dataset.json that lists its training cases a few MB."""

DEFAULT_MAPPING: Final[Mapping[int, int]] = {
    Structure.ARCUS: 1,
    Structure.SPINOUS: 2,
    Structure.COSTAL_LEFT: 3,
    Structure.COSTAL_RIGHT: 4,
    Structure.SUPERIOR_ARTICULAR_LEFT: 5,
    Structure.SUPERIOR_ARTICULAR_RIGHT: 6,
    Structure.INFERIOR_ARTICULAR_LEFT: 7,
    Structure.INFERIOR_ARTICULAR_RIGHT: 8,
    Structure.CORPUS: 9,
    Structure.CORPUS_INNER: 9,
    Structure.DENS: 9,
    Structure.SACRUM: 0,
}
"""Classes of a cutout for the published instance networks."""
_CT: Final = "CT"
_MOST_FOLDS: Final = 100


class InferenceConfig(BaseModel):
    """``inference_config.json``, with the published tool's defaults; keys that it does not know are ignored, as there.

    ``resolution_range`` is the finest and the coarsest spacing in mm along the axes of the expected orientation.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    log_name: str
    modality: tuple[str, ...]
    acquisition: Literal["sag", "cor", "ax", "iso"]
    modeltype: str
    model_expected_orientation: tuple[str, str, str]
    available_folds: int | str | tuple[int | str, ...]
    inference_augmentation: bool
    resolution_range: tuple[Triple, Triple]
    default_step_size: float = Field(gt=0, le=1)
    labels: dict[int, int | str]
    expected_inputs: tuple[str, ...] = ("img",)
    has_c1: bool = False
    needs_corp: bool = False
    cutout_size: Size = (248, 304, 64)
    corpus_size_cleaning: float = Field(default=100, ge=0)
    vert_size_threshold: float = Field(default=250, ge=0)
    mapping: dict[int, int] = Field(default_factory=lambda: {int(key): value for key, value in DEFAULT_MAPPING.items()})

    @field_validator("modality", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("resolution_range", mode="before")
    @classmethod
    def _both_ends(cls, value: Any) -> Any:
        one = isinstance(value, (list, tuple)) and all(isinstance(number, (int, float)) for number in value)
        return (value, value) if one else value

    @field_validator("mapping", mode="before")
    @classmethod
    def _default(cls, value: Any) -> Any:
        return dict(DEFAULT_MAPPING) if value is None else value

    @field_validator("available_folds")
    @classmethod
    def _few(cls, value: int | str | tuple[int | str, ...]) -> int | str | tuple[int | str, ...]:
        count = value if isinstance(value, int) else 1 if isinstance(value, str) else len(value)
        if not 1 <= count <= _MOST_FOLDS:
            raise ValueError(f"expected 1 to {_MOST_FOLDS} folds, found {count}")
        return value

    @field_validator("model_expected_orientation")
    @classmethod
    def _three_axes(cls, value: Axes) -> Axes:
        return checked_axes(value)

    @property
    def folds(self) -> tuple[str, ...]:
        """Names of the folds, as in ``fold_0`` or ``fold_all``."""
        if isinstance(self.available_folds, int):
            return tuple(str(k) for k in range(self.available_folds))
        named = (self.available_folds,) if isinstance(self.available_folds, str) else self.available_folds
        return tuple(str(name) for name in named)

    @property
    def ct(self) -> bool:
        """Whether it is a model for CT, whose intensities mean something and are left as they are."""
        return _CT in self.modality

    def output_labels(self) -> dict[int, int]:
        """From the classes of the network to ids: numbers as they are, names as TPTBox spells them.

        Raises
        ------
        ModelError
            MODEL_CORRUPT for a name that is none.
        """
        try:
            return {theirs: _label(ours) for theirs, ours in self.labels.items()}
        except KeyError as error:
            raise corrupt(f"its label {shown_name(str(error.args[0]))} is the name of no structure") from error


def read_config(path: Path) -> InferenceConfig:
    """Read ``inference_config.json``.

    Raises
    ------
    ModelError
        MODEL_CORRUPT where it is not one, MODEL_MISSING where it cannot be read.
    """
    try:
        return InferenceConfig.model_validate(read_json(path))
    except ValidationError as error:
        raise invalid(error, CONFIG) from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    ModelError
        MODEL_MISSING where it cannot be read, MODEL_CORRUPT where it is no JSON object.
    """
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise corrupt(f"{shown_name(path.name)} is larger than any real one")
        read = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            ErrorCode.MODEL_MISSING, f"the model folder has no readable {shown_name(path.name)}.", remedy="Give a whole folder."
        ) from error
    except (ValueError, RecursionError) as error:
        raise corrupt(f"{shown_name(path.name)} is no JSON") from error
    if not isinstance(read, dict):
        raise corrupt(f"{shown_name(path.name)} is no JSON object")
    return read


def checked_axes(codes: Sequence[str]) -> Axes:
    """Axis codes such as ``PIR``, one for each axis of the world.

    Raises
    ------
    ValueError
        Where they are something else.
    """
    try:
        a, b, c = codes
        Reorientation.between((a, b, c), PIR)
    except (KeyError, TypeError) as error:
        raise ValueError(f"expected three axis codes such as PIR, found {codes!r}") from error
    return a, b, c


def corrupt(why: str) -> ModelError:
    """The error for a model folder whose files do not fit each other."""
    return ModelError(
        ErrorCode.MODEL_CORRUPT, f"the model cannot be used: {why}.", remedy="Get it again from where it was published."
    )


def invalid(error: ValidationError, what: str) -> ModelError:
    """The error for settings with a value that makes no sense, in one line: the first such value."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "spacing"
    return corrupt(f"{what} is not valid at {where!r}: {first['msg']}")


def unsafe(where: str, name: object) -> ModelError:
    """The error for a name that no model's settings hold."""
    return ModelError(
        ErrorCode.MODEL_UNSAFE,
        f"{where} names {shown_name(str(name))}, which is not one of the parts that models are made of; nothing was executed.",
        remedy="Ask who made the model; only networks of nnU-Net v2's default planners can be imported.",
    )


def _label(value: int | str) -> int:
    """An id from a number, a location's name or a vertebra's."""
    text = str(value)
    if text.lstrip("-").isdigit():
        return int(text)
    from TPTBox import Location, v_name2idx

    return int(Location[text].value) if text in Location.__members__ else int(v_name2idx[text])
