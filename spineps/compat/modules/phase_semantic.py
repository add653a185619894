"""Published name for the semantic phase."""

from __future__ import annotations

from spineps.compat.phases import predict_semantic_mask

__all__ = ["predict_semantic_mask"]
