"""Published name for the naming of levels."""

from __future__ import annotations

from spineps.compat.phases import perform_labeling_step

__all__ = ["perform_labeling_step"]
