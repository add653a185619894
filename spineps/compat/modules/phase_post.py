"""Published name for post-processing."""

from __future__ import annotations

from spineps.compat.phases import phase_postprocess_combined

__all__ = ["phase_postprocess_combined"]
