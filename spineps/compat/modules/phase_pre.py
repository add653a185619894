"""Published name for preprocessing."""

from __future__ import annotations

from spineps.compat.phases import preprocess_input

__all__ = ["preprocess_input"]
