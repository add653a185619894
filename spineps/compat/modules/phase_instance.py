"""Published name for the instance phase."""

from __future__ import annotations

from spineps.compat.phases import predict_instance_mask

__all__ = ["predict_instance_mask"]
