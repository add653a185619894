"""Published enumerations."""

from __future__ import annotations

from spineps.compat.codes import Acquisition, ErrCode, InputType, Modality, ModelType, OutputType, SpinepsPhase

__all__ = ["Acquisition", "ErrCode", "InputType", "Modality", "ModelType", "OutputType", "SpinepsPhase"]
