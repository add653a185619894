"""Published name for the command line."""

from __future__ import annotations

from spineps.compat.program import entry_point

__all__ = ["entry_point"]
